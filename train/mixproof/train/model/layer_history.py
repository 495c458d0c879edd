"""Which layer backends trained a run and why others were rejected, as JSON in `circumstances.json` and `files.json`.

    {"backend": "compiled",
     "rejected": [{"backend": "transformer_engine 2.9.0", "reason": "the loss differs ..."}],
     "earlier": [{"backend": "plain", "until_sample": 4096}]}

Early versions packed all of this into one string (`compiled; transformer_engine 2.9.0: ...; up to sample 4096: plain`).
That form is still read: its backends exactly, its reasons as one text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PLAIN_BACKEND = "plain"
_OLD_EARLIER = re.compile(r"; up to sample (\d+): ([^;:]+)")


@dataclass(frozen=True)
class RejectedBackend:
    """A backend that the current attempt did not use."""

    backend: str
    reason: str


@dataclass(frozen=True)
class EarlierBackend:
    """A backend that an earlier attempt used, until a checkpoint from which another backend continued."""

    backend: str
    until_sample: int
    """Samples consumed at that checkpoint."""


@dataclass(frozen=True)
class LayerHistory:
    """The backends of a run."""

    backend: str = PLAIN_BACKEND
    """Of the current attempt."""
    rejected: tuple[RejectedBackend, ...] = ()
    earlier: tuple[EarlierBackend, ...] = ()
    """Newest first."""

    @property
    def backends(self) -> list[str]:
        """All backends that trained the run, the current one first."""
        return [self.backend, *(earlier.backend for earlier in self.earlier)]

    def resumed(self, saved: LayerHistory, samples: int) -> LayerHistory:
        """Return this attempt's history when it resumes from a checkpoint.

        Args:
            saved: the history in the checkpoint.
            samples: consumed at the checkpoint.
        """
        changed = (EarlierBackend(saved.backend, samples),) if saved.backend != self.backend else ()
        return LayerHistory(self.backend, self.rejected, (*changed, *saved.earlier))

    def describe(self) -> str:
        """Describe the history in one line, for people."""
        earlier = [f"until sample {one.until_sample}: {one.backend}" for one in self.earlier]
        rejected = [f"{one.backend} rejected: {one.reason}" for one in self.rejected]
        return "; ".join([self.backend, *earlier, *rejected])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        stated = asdict(self)
        return {**stated, "rejected": list(stated["rejected"]), "earlier": list(stated["earlier"])}


def read_layer_history(stated: object) -> LayerHistory | None:
    """Read what `circumstances.json` or `files.json` states under `layers`; None where it states no known form."""
    if isinstance(stated, str):
        return _read_old_form(stated)
    if not isinstance(stated, Mapping):
        return None
    try:
        return LayerHistory(
            stated["backend"],
            tuple(RejectedBackend(**rejected) for rejected in stated["rejected"]),
            tuple(EarlierBackend(**earlier) for earlier in stated["earlier"]),
        )
    except (KeyError, TypeError):
        return None


def _read_old_form(stated: str) -> LayerHistory:
    """Read `<backend>[; or : <reasons>][; up to sample <n>: <earlier backend>]...`."""
    earlier = tuple(EarlierBackend(found[2], int(found[1])) for found in _OLD_EARLIER.finditer(stated))
    backend, *reasons = re.split("[;:] ", _OLD_EARLIER.split(stated)[0], maxsplit=1)
    return LayerHistory(backend, tuple(RejectedBackend("others", reason) for reason in reasons), earlier)
