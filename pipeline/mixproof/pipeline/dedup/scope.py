"""Which sources are deduplicated against each other, and in which order of priority."""

from __future__ import annotations

from collections.abc import Sequence

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.dedup import Dedup


def dedup_groups(dedup: Dedup, sources: Sequence[str]) -> list[list[str]]:
    """Return the groups of sources that are deduplicated against each other, each in order of priority.

    A source that is in none of the groups named in `scope` forms a group of its own.

    Raises:
        RequestError: when `scope` or `keep` names an unknown source, or names a source twice.
    """
    _check_names("dedup.keep", dedup.keep, sources)
    priority = {name: number for number, name in enumerate(dedup.keep)}
    ranked = sorted(sources, key=lambda name: (priority.get(name, len(priority)), name))
    if dedup.scope == "all":
        return [ranked]
    if dedup.scope == "source":
        return [[name] for name in ranked]
    grouped = [name for members in dedup.scope.values() for name in members]
    _check_names("dedup.scope", grouped, sources)
    groups = [[name for name in ranked if name in members] for members in dedup.scope.values() if members]
    return groups + [[name] for name in ranked if name not in grouped]


def _check_names(key: str, names: Sequence[str], sources: Sequence[str]) -> None:
    for number, name in enumerate(names):
        if name not in sources:
            raise RequestError(f"{key}: there is no source {name!r}; the sources are {', '.join(sources)}")
        if name in names[:number]:
            raise RequestError(f"{key}: source {name!r} is named twice")
