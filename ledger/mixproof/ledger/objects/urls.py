"""URLs of stores: which names are URLs of an object store, and where this machine keeps its copies of one."""

from __future__ import annotations

import os
from pathlib import Path

from mixproof.ledger.fingerprint import sha256_of

CACHE = "MIXPROOF_CACHE"
"""Environment variable: the folder for this machine's copies. Default: ~/.cache/mixproof."""
LOCATION_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Environment variables that say where objects are. Those with credentials are each machine's own."""


def is_remote(url: str) -> bool:
    """Whether a store's name is the URL of something other than a local folder."""
    return "://" in url and not url.startswith("file://")


def cache_folder(url: str) -> Path:
    """The folder in which this machine keeps its copies of the store at `url`."""
    base = os.environ.get(CACHE)
    folder = Path(base).expanduser() if base else Path.home() / ".cache" / "mixproof"
    return folder.resolve() / sha256_of(url)[:16]
