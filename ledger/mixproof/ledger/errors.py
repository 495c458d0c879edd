"""Errors that a user can act on. Each says what was found, what was expected and what to do.

A command exits with the error's `exit_code`: 1 when a check failed, 2 when the request is wrong.
Any other exception is a bug in mixproof and keeps its traceback.
"""

from __future__ import annotations


class MixproofError(Exception):
    """Base of every error that is meant for the user and printed without a traceback."""

    exit_code = 1
    leaves_threads = False
    """Whether a thread is left in a call that may never return; Python would wait for it, or crash, when it ends."""


class RequestError(MixproofError):
    """The spec, the files or the arguments are wrong; raised before any work where that can be known."""

    exit_code = 2


class DamagedFileError(MixproofError):
    """A file cannot be read completely: it is truncated, corrupt, or not in the declared format."""

    def __init__(self, file: str, where: str, reason: str) -> None:
        super().__init__(f"{file}: {where}: {reason}")
        self.file = file
        self.where = where
        self.reason = reason

    def __reduce__(self) -> tuple[type[DamagedFileError], tuple[str, str, str]]:
        """Rebuild from the three parts, so that the error can be sent back from a Ray worker."""
        return type(self), (self.file, self.where, self.reason)


class BadRecordsError(MixproofError):
    """A source has more unusable records than `on_bad_record` allows."""


class ProcessDiedError(MixproofError):
    """A worker process crashed repeatedly and no input explains it; the usual cause is a lack of memory."""


class NodeError(MixproofError):
    """The machine on which the error was raised is faulty; another machine of the cluster may do the same work."""

    node: str = ""
    """Ray's id of the machine; empty outside of Ray's tasks."""


class StorageError(NodeError):
    """A disk cannot be written: it is full, its quota is used up, it is read-only, or permission is denied."""


class ClockError(NodeError, RequestError):
    """An object store refuses the requests of this machine because its clock is wrong."""


class TrainingError(MixproofError):
    """A run cannot continue: its loss or gradient is NaN or infinite."""


class SupersededError(MixproofError):
    """A later attempt has taken over a run; this one stops and writes nothing more."""


class AccountError(MixproofError):
    """An equation of the account does not close; the error names source, stage and unit.

    `unit` is the part of the stage in which the equation fails: a shard, a dataset part, a phase, an epoch or a run.
    The message calls it `shard`.
    """

    def __init__(
        self,
        equation: str,
        expected: object,
        found: object,
        *,
        source: str = "",
        stage: str = "",
        unit: str = "",
    ) -> None:
        named = (("source", source), ("stage", stage), ("shard", unit))
        where = ", ".join(f"{name} {value}" for name, value in named if value)
        super().__init__(f"{equation} does not close ({where}): expected {expected}, found {found}")
        self.equation, self.expected, self.found = equation, expected, found
        self.source, self.stage, self.unit = source, stage, unit

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Rebuild with keywords, so that the error can be sent back from a Ray worker."""
        return _account_error, (self.equation, self.expected, self.found, self.source, self.stage, self.unit)


def _account_error(equation: str, expected: object, found: object, source: str, stage: str, unit: str) -> AccountError:
    return AccountError(equation, expected, found, source=source, stage=stage, unit=unit)
