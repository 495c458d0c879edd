"""The log file of a command in its store: `logs/<date>-<command>.log`, with what it was called with and how it went.

It is written from the first task on, so a command that finds everything finished writes none. In an object store it is
uploaded when the command ends. It is in no checksum, and nothing reads it.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from io import TextIOWrapper

from mixproof.ledger.files import open_no_link
from mixproof.ledger.store import Store
from mixproof.ledger.version import VERSION
from mixproof.pipeline.cluster.task_logs import LOGGER, LineFormatter

FOLDER = "logs"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class LogFile:
    """The log file of one command; nothing is written before `open`."""

    def __init__(self, store: Store, command: str) -> None:
        self._store, self._command = store, command
        self._handler: logging.StreamHandler[TextIOWrapper] | None = None
        self._name = ""

    def open(self) -> None:
        """Begin the file, unless it is open."""
        if self._handler is not None:
            return
        self._name = f"{FOLDER}/{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{self._command}.log"
        path = self._store.root / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_no_link(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._handler = logging.StreamHandler(os.fdopen(descriptor, "a", encoding="utf-8"))
        self._handler.setFormatter(LineFormatter(_FORMAT))
        logging.getLogger(LOGGER).addHandler(self._handler)
        self.write(f"mixproof {VERSION}: {' '.join(sys.argv)}")

    def write(self, line: str) -> None:
        """Add a line about progress, with its time; nothing if the file is not open."""
        if self._handler is not None:
            self._handler.handle(logging.LogRecord(LOGGER, logging.INFO, "", 0, line, None, None))

    def close(self, error: BaseException | None) -> None:
        """End the file, with the error that ended the command."""
        if self._handler is None:
            return
        self.write("finished" if error is None else f"{type(error).__name__}: {error}")
        logging.getLogger(LOGGER).removeHandler(self._handler)
        self._handler.stream.close()
        self._handler = None
        self._store.upload(self._name)
