"""Keys of builds and runs, given whole or by their first digits."""

from __future__ import annotations

from collections.abc import Sequence

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store

SHORTEST = 4
"""Digits below which a prefix names too much to be meant."""


def full_key(store: Store, stage: str, given: str, what: str) -> str:
    """Find the only key of a stage that starts with `given`.

    Args:
        store: where the stage is.
        stage: its folder.
        given: a key, or its first digits.
        what: how errors call it: "build" or "run".

    Raises:
        RequestError: when the stage has no such key, or several.
    """
    keys = [key for key in store.keys(stage) if key.startswith(given)] if len(given) >= SHORTEST else []
    if len(keys) == 1:
        return keys[0]
    raise RequestError(_no_key(given, what, keys, store))


def _no_key(given: str, what: str, found: Sequence[str], store: Store) -> str:
    if found:
        shown = ", ".join(key[: len(given) + SHORTEST] for key in found[:5])
        return f"{what} {given!r}: {len(found)} {what}s of {store} start with it ({shown}); give more digits"
    if len(given) < SHORTEST:
        return f"{what} {given!r}: give at least {SHORTEST} digits of its key"
    return f"{what} {given!r}: {store} has none of this key; `.{what}s` lists what it has"
