"""Builds and runs named by their key, or by its first digits, in place of a path."""

from __future__ import annotations

import re
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import RUNS
from mixproof.ledger.manifest import BUILDS
from mixproof.ledger.objects import is_remote
from mixproof.ledger.store import Store

KEY_START = re.compile("[0-9a-f]{4,64}")
SHORT = 12
"""Digits of a key in output for people; 48 bits tell any number of runs of one store apart."""
_WHAT = {BUILDS: "build", RUNS: "run"}


def short_key(key: str) -> str:
    """The first digits of a key, as output for people shows it and every command accepts it."""
    return key[:SHORT]


def named(target: str, store: str) -> str:
    """The location of the build or run that `target` names; `target` itself if it is a path, a URL or a spec.

    Args:
        target: a path or URL, or the first four or more digits of the key of a build or run.
        store: where keys are looked up.

    Raises:
        RequestError: when `store` has no such build or run, or several.
    """
    if KEY_START.fullmatch(target) is None or is_remote(target) or Path(target).exists():
        return target
    opened = Store(store)
    opened.check()
    found = [(stage, key) for stage in _WHAT for key in opened.keys(stage) if key.startswith(target)]
    if len(found) == 1:
        return opened.location("/".join(found[0]))
    if not found:
        raise RequestError(
            f"{target}: neither a file nor the key of a build or run in {store}; `mixproof store list --store {store}` "
            "shows the keys"
        )
    shown = ", ".join(f"{_WHAT[stage]} {key[: max(SHORT, len(target) + 4)]}" for stage, key in found)
    raise RequestError(f"{target}: several keys in {store} start with this: {shown}; give more digits")
