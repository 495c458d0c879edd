"""Logs of worker processes: one line per event on stderr, which Ray keeps in a file per worker.

Ray writes these files to `<session folder>/logs/worker-*.err`; `-v` prints the folder. Workers log at INFO at least,
because nobody sees these files unless they look for them; a command with `-vv` makes its workers log at DEBUG. Each
line names its task: stage, call, and, inside `log_context`, the shard.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mixproof.ledger.shown_text import one_line, redacted, visible

LOGGER = "mixproof"
"""Parent of the loggers of all modules."""
_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(task)s] %(message)s"
_task: ContextVar[str] = ContextVar("task", default="")
_handler: logging.Handler | None = None

log = logging.getLogger(__name__)


class LineFormatter(logging.Formatter):
    """One line per event; control characters and credentials in names and messages are replaced."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name in the standard library
        """The line without its traceback."""
        return one_line(redacted(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802  as above
        """The traceback."""
        return visible(redacted(super().formatException(ei)))


def log_level() -> int:
    """The level of this process' log, for the workers that it starts."""
    return logging.getLogger(LOGGER).getEffectiveLevel()


@contextmanager
def log_context(name: str) -> Iterator[None]:
    """Add `name`, such as a shard's, to the task that log lines inside this block name."""
    outer = _task.get()
    token = _task.set(f"{outer}, {name}" if outer else name)
    try:
        yield
    finally:
        _task.reset(token)


@contextmanager
def worker_log(task: str, level: int) -> Iterator[None]:
    """Log this worker's events to stderr while a task runs, its start, end and error among them.

    Args:
        task: stage and call, as `read, call 3 of 16`.
        level: the driver's `log_level()`.
    """
    _log_to_stderr(min(level, logging.INFO))
    with log_context(task):
        log.info("started")
        try:
            yield
        except Exception as error:
            log.error("failed: %s: %s", type(error).__name__, error)
            raise
        log.info("finished")


def _log_to_stderr(level: int) -> None:
    global _handler
    root = logging.getLogger(LOGGER)
    if _handler is None:
        _handler = logging.StreamHandler(sys.stderr)
        _handler.setFormatter(LineFormatter(_FORMAT))
        _handler.addFilter(_add_task)
        root.addHandler(_handler)
        root.propagate = False  # libraries that configure the root logger would write each line twice
    root.setLevel(level)


def _add_task(record: logging.LogRecord) -> bool:
    record.task = _task.get()
    return True
