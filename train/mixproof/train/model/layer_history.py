"""The layer backends that a run states it was trained through: the current one first, then earlier ones."""

from __future__ import annotations

import re

_EARLIER = re.compile(r"; up to sample \d+: ([^;:]+)")


def kinds_of(stated: str) -> list[str]:
    """The kinds in what a run states of its layers, the last first, without what spoke against others."""
    return [re.split("[;:]", stated)[0], *(found[1] for found in _EARLIER.finditer(stated))]


def continued(now: str, then: str, samples: int) -> str:
    """What a run states that goes on, through `now`, from a checkpoint after `samples` that states `then`."""
    earlier = "".join(found[0] for found in _EARLIER.finditer(then))
    kind = kinds_of(then)[0]
    return now + (f"; up to sample {samples}: {kind}" if kind != kinds_of(now)[0] else "") + earlier
