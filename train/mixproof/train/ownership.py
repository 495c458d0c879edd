"""Ownership of a run's folder: only the latest attempt writes into it.

A worker that Ray gave up on may still be alive when its run is started again elsewhere. Each attempt writes its name
into `attempt.json` before it reads anything, and checks the file before every write. An attempt that is no longer the
latest stops. A write can still happen between another attempt's start and the check, so no file is changed in place:
checkpoints are renamed into their own folders, and each attempt writes a new metrics file.
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
    """The claim of one attempt on a run's folder."""

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder = folder
        self.name = name or uuid.uuid4().hex
        """Unique name of the attempt, the same on all ranks."""

    def take(self) -> None:
        """Become the latest attempt."""
        claim = {"attempt": self.name, "host": socket.gethostname(), "process": os.getpid()}
        publish_bytes(canonical_json(claim), self.folder / ATTEMPT)

    def check(self) -> None:
        """Check that this is still the latest attempt.

        Raises:
            SupersededError: when another attempt has taken over.
        """
        latest = json.loads((self.folder / ATTEMPT).read_bytes())
        if latest["attempt"] != self.name:
            raise SupersededError(
                f"{self.folder}: attempt {latest['attempt']} (process {latest['process']} on {latest['host']}) has "
                f"taken over this run, so attempt {self.name} stops without writing anything else"
            )
