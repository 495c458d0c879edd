"""Garbage: what of a store no build, run or search needs, and its removal.

Builds, runs and searches are kept, with all that they refer to; what else there is can go: outputs between raw files
and manifests, which the next build of the same spec makes again (with the same bytes), draws without a run, and
scratch folders that killed commands have left. A build or run goes only where it is asked for by name, and with it
what nothing else needs. Nothing younger than a limit is touched, because a command that runs may be about to refer
to it. An entry leaves in one rename, so a kill never leaves half an entry; on an object store its record goes first, so
that what a kill leaves counts as unfinished.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import RequestError
from .inventory import FINISHED_BY, Entry, Inventory, newest, take_inventory
from .location import RUNS
from .manifest import BUILDS
from .store import ATTEMPTS, RECEIPT, Store

DEFAULT_AGE_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Garbage:
    """What can go."""

    entries: tuple[Entry, ...]
    attempts: tuple[Path, ...]
    pointers: tuple[str, ...]
    """From specs to builds that go."""
    kept_for_age: int
    """Entries that nothing needs, too young to go."""

    @property
    def bytes(self) -> int:
        """Of all of it."""
        scratch = [path.stat().st_size for folder in self.attempts for path in folder.rglob("*") if path.is_file()]
        return sum(entry.bytes for entry in self.entries) + sum(scratch)

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof store gc --json` prints, but for whether it was done."""
        return {
            "entries": [entry.name for entry in self.entries],
            "attempts": [str(path) for path in self.attempts],
            "bytes": self.bytes,
            "kept_for_age": self.kept_for_age,
        }


def find_garbage(store: Store, *, drop: Sequence[str] = (), age_seconds: float = DEFAULT_AGE_SECONDS) -> Garbage:
    """Find what can go; nothing is changed.

    Args:
        store: where.
        drop: builds and runs that are to go as well, by key or its first digits; their age does not matter.
        age_seconds: nothing younger goes.

    Raises:
        RequestError: when one of `drop` is no build or run, or is needed by one that stays.
    """
    inventory = take_inventory(store)
    dropped = [_named(inventory, name) for name in drop]
    needed = inventory.needed_by(name for name in inventory.roots if name not in dropped)
    for name in dropped:
        if name in needed:
            users = ", ".join(user for user in inventory.referred_by[name] if user in needed)
            raise RequestError(f"--drop {name}: {users} needs it; drop that as well")
    latest = time.time() - age_seconds
    unneeded = [entry for name, entry in inventory.entries.items() if name not in needed]
    old = [entry for entry in unneeded if entry.modified <= latest or entry.name in dropped]
    return Garbage(
        entries=tuple(old),
        attempts=tuple(path for path in inventory.attempts if newest(path) <= latest),
        pointers=tuple(_pointers(store, {entry.key for entry in old if entry.stage == BUILDS})),
        kept_for_age=len(unneeded) - len(old),
    )


def remove_garbage(store: Store, garbage: Garbage) -> None:
    """Remove what `find_garbage` has found."""
    store.remove(garbage.pointers)
    scratch = store.root / ATTEMPTS
    scratch.mkdir(parents=True, exist_ok=True)
    gone = list(garbage.attempts)
    for entry in garbage.entries:
        if store.is_remote:
            store.remove([f"{entry.name}/{FINISHED_BY.get(entry.stage, RECEIPT)}"])
            store.remove([f"{entry.name}/{name}" for name in store.sizes(entry.name)])
            continue
        place = scratch / f"gc-{entry.stage}-{entry.key[:16]}-{uuid.uuid4().hex}"
        (store.root / entry.name).replace(place)
        gone.append(place)
    for path in gone:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _named(inventory: Inventory, name: str) -> str:
    key = name.rstrip("/").rpartition("/")[2]
    found = [
        entry.name
        for entry in inventory.entries.values()
        if entry.stage in (BUILDS, RUNS) and key and entry.key.startswith(key)
    ]
    if len(found) != 1:
        what = "several builds or runs have it" if found else "no build or run has it"
        raise RequestError(f"--drop {name}: {what}; `mixproof store list` names them")
    return found[0]


def _pointers(store: Store, builds: set[str]) -> list[str]:
    pointers = store.read(list(store.find(f"{BUILDS}/by-spec")))
    return sorted(name for name, raw in pointers.items() if json.loads(raw).get("build") in builds)
