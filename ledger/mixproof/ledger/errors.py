"""Errors a user can act on. Each says what was found, what was expected and the way out.

A command ends with the error's `exit_code`: 1 where a check failed, 2 where the request is wrong.
Anything else that is raised is a fault of mixproof itself and keeps its traceback.
"""

from __future__ import annotations


class MixproofError(Exception):
    """Base of every error that is meant for the user and printed without a traceback."""

    exit_code = 1


class RequestError(MixproofError):
    """The spec, the files or the arguments are wrong; nothing was written."""

    exit_code = 2


class DamagedFileError(MixproofError):
    """A file cannot be read to its end: truncated, corrupt, or not of the declared format."""

    def __init__(self, file: str, where: str, reason: str) -> None:
        super().__init__(f"{file}: {where}: {reason}")
        self.file = file
        self.where = where
        self.reason = reason

    def __reduce__(self) -> tuple[type[DamagedFileError], tuple[str, str, str]]:
        """Rebuild from the three parts, so that the error survives the way back from a Ray worker."""
        return type(self), (self.file, self.where, self.reason)


class BadRecordsError(MixproofError):
    """A source has more unusable records than `on_bad_record` allows."""


class ProcessDiedError(MixproofError):
    """A worker's process died again and again, and nothing it was given explains it: most often want of memory."""


class StorageError(MixproofError):
    """A disk takes no more: it is full, its quota is used up, or it is read-only."""


class TrainingError(MixproofError):
    """A run cannot go on: its loss or gradient is no number any more."""


class SupersededError(MixproofError):
    """A later attempt has taken a run over; this one stops without another write."""


class AccountError(MixproofError):
    """An equation of the account does not close; names source, stage and shard."""

    def __init__(
        self,
        equation: str,
        expected: object,
        found: object,
        *,
        source: str = "",
        stage: str = "",
        shard: str = "",
    ) -> None:
        where = ", ".join(f"{k} {v}" for k, v in (("source", source), ("stage", stage), ("shard", shard)) if v)
        super().__init__(f"{equation} does not close ({where}): expected {expected}, found {found}")
        self.equation, self.expected, self.found = equation, expected, found
        self.source, self.stage, self.shard = source, stage, shard

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Rebuild with keywords, so that the error survives the way back from a Ray worker."""
        return _account_error, (self.equation, self.expected, self.found, self.source, self.stage, self.shard)


def _account_error(equation: str, expected: object, found: object, source: str, stage: str, shard: str) -> AccountError:
    return AccountError(equation, expected, found, source=source, stage=stage, shard=shard)
