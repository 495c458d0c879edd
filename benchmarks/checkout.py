"""Importing this module puts the checkout's source folders on Python's path, where mixproof is not installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOMS = ("ledger", "mixtures", "pipeline", "tokenize", "train", "cli", "api")

if importlib.util.find_spec("mixproof") is None:
    sys.path[:0] = [str(Path(__file__).resolve().parent.parent / room) for room in ROOMS]
