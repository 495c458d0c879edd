"""The log of the command itself, on stderr: warnings by default, events with `-v`, details with `-vv`.

Events are also written to the log file of the command in its store (`progress/log_file.py`).

The level travels to the workers with each task (`mixproof.pipeline.cluster.task_logs`); their lines go to Ray's own log
files, whose folder `-v` prints.
"""

from __future__ import annotations

import logging

from rich.markup import escape

from mixproof.pipeline.cluster.task_logs import LOGGER, LineFormatter

from .output import stderr

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""By the number of `-v`."""


class ConsoleHandler(logging.Handler):
    """Prints log lines above the progress bars, which a plain stream would break."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        stderr.print(escape(self.format(record)), soft_wrap=True)


def set_verbosity(verbosity: int) -> int:
    """Log to stderr, and return `verbosity`, the number of `-v` on the command line."""
    root = logging.getLogger(LOGGER)
    level = LEVELS[min(verbosity, len(LEVELS) - 1)]
    root.setLevel(min(level, logging.INFO))  # events go to the log file in the store in any case
    for old in [handler for handler in root.handlers if isinstance(handler, ConsoleHandler)]:
        root.removeHandler(old)
    handler = ConsoleHandler(level)
    handler.setFormatter(
        LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s" if verbosity else "%(message)s", "%H:%M:%S")
    )
    root.addHandler(handler)
    return verbosity
