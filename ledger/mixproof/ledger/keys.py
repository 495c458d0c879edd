"""Keys of builds and runs by their first digits, for every interface that takes one."""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.ledger.store import Store

from .errors import RequestError
from .location import RUNS
from .manifest import BUILDS

SHORTEST = 4
"""Digits below which a prefix could name too much."""
SHOWN = 12
"""Digits of a key in output for people; 48 bits distinguish any number of runs of one store."""
NAMES: Mapping[str, str] = {BUILDS: "build", RUNS: "run"}
"""What an entry of a stage is called."""


def short_key(key: str) -> str:
    """The first digits of a key, as output for people shows it and every command accepts it."""
    return key[:SHOWN]


def find_key(store: Store, stages: tuple[str, ...], given: str, *, absent: str) -> tuple[str, str]:
    """Find the only entry of a store whose key starts with the given digits.

    Args:
        store: where keys are looked up.
        stages: the stages that may have it, of `NAMES`.
        given: a key, or its first digits.
        absent: the error's sentence for a key that is not there.

    Returns:
        Stage and key.

    Raises:
        RequestError: when no key, or more than one, starts with them; names what was given.
    """
    if len(given) < SHORTEST:
        raise RequestError(f"{given!r}: give at least {SHORTEST} digits of a key")
    found = [(stage, key) for stage in stages for key in store.keys(stage) if key.startswith(given)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise RequestError(f"{given}: {absent}")
    shown = ", ".join(f"{NAMES[stage]} {key[: max(SHOWN, len(given) + SHORTEST)]}" for stage, key in found)
    raise RequestError(f"{given}: several keys in {store} start with this: {shown}; give more digits")
