"""Who may write into a run's folder: the latest attempt, and no other.

A worker that Ray gave up on may still be alive when its run is started again elsewhere. Each attempt leaves its
name in `attempt.json` before it reads anything, and looks there before every write; an attempt that is no longer
the latest stops. Between look and write a write can still slip through; so nothing is ever changed in place:
checkpoints are renamed into folders of their own, and the metrics file is a new file for each attempt.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from pathlib import Path

from mixproof.ledger.errors import SupersededError
from mixproof.ledger.fingerprint import canonical_json
from mixproof.ledger.store import publish_bytes

ATTEMPT = "attempt.json"


class Ownership:
    """One attempt's claim on a run's folder."""

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder = folder
        self.name = name or uuid.uuid4().hex
        """Unique name of the attempt; the same on all ranks."""

    def take(self) -> None:
        """Become the latest attempt."""
        claim = {"attempt": self.name, "host": socket.gethostname(), "process": os.getpid()}
        publish_bytes(canonical_json(claim), self.folder / ATTEMPT)

    def check(self) -> None:
        """Look whether this is still the latest attempt.

        Raises:
            SupersededError: when another one has taken over.
        """
        latest = json.loads((self.folder / ATTEMPT).read_bytes())
        if latest["attempt"] != self.name:
            raise SupersededError(
                f"{self.folder}: attempt {latest['attempt']} (process {latest['process']} on {latest['host']}) took "
                f"this run over, so attempt {self.name} stops without another write"
            )
