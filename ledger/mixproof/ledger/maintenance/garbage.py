"""Garbage: the entries of a store that no build, run or search needs, and their removal.

Builds, runs and searches are kept, with everything they refer to. All other entries can be removed: outputs between
raw files and manifests, which the next build of the same spec makes again with the same bytes; draws without a run;
and scratch folders of killed commands. A build or run is removed only when it is named, together with entries that
nothing else needs. Entries younger than a limit are kept, because a running command may be about to refer to them. An
entry is removed by one rename, so a kill never leaves half an entry; on an object store its record is removed first,
so that after a kill the remaining files count as unfinished.

Other tools name folders by SHA-256 as well. A folder of such folders in which nothing is finished may be somebody
else's, as in a bucket that is shared, so it stays.
"""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import RUNS
from mixproof.ledger.manifest import BUILDS
from mixproof.ledger.store import ATTEMPTS, RECEIPT, Store
from mixproof.ledger.store.sealed import SEALED

from .inventory import FINISHED_BY, ROOTS, Entry, Inventory, newest, take_inventory, text_in

LOGGER = logging.getLogger(__name__)
DEFAULT_AGE_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Garbage:
    """What can be removed."""

    entries: tuple[Entry, ...]
    attempts: tuple[Path, ...]
    pointers: tuple[str, ...]
    """Pointers from specs to the builds that are removed."""
    kept_for_age: int
    """Unneeded entries that are too young to be removed."""
    unknown: tuple[str, ...] = ()
    """Folders with entries none of which is finished: they stay."""

    @property
    def bytes(self) -> int:
        """Bytes of all entries and scratch folders."""
        scratch = [path.stat().st_size for folder in self.attempts for path in folder.rglob("*") if path.is_file()]
        return sum(entry.bytes for entry in self.entries) + sum(scratch)

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof store gc --json` prints, without `removed`."""
        return {
            "entries": [entry.name for entry in self.entries],
            "attempts": [str(path) for path in self.attempts],
            "bytes": self.bytes,
            "kept_for_age": self.kept_for_age,
            "unknown": list(self.unknown),
        }


def find_garbage(store: Store, *, drop: Sequence[str] = (), age_seconds: float = DEFAULT_AGE_SECONDS) -> Garbage:
    """Find what can be removed. Nothing is changed.

    Args:
        store: the store.
        drop: builds and runs to remove as well, by key or its first digits, regardless of age.
        age_seconds: younger entries are kept.

    Raises:
        RequestError: when one of `drop` is not a build or run, or an entry that stays needs it; when folders of the
            store are links.
    """
    _check_no_links(store)
    inventory = take_inventory(store)
    dropped = [_named(inventory, name) for name in drop]
    needed = inventory.needed_by(name for name in inventory.roots if name not in dropped)
    for name in dropped:
        if name in needed:
            users = ", ".join(user for user in inventory.referred_by[name] if user in needed)
            raise RequestError(f"--drop {name}: {users} needs it; drop that too, with another --drop")
    latest = time.time() - age_seconds
    own = {entry.stage for entry in inventory.entries.values() if entry.state == "finished"} | {*ROOTS, SEALED}
    unneeded = [entry for name, entry in inventory.entries.items() if name not in needed and entry.stage in own]
    old = [entry for entry in unneeded if entry.modified <= latest or entry.name in dropped]
    return Garbage(
        entries=tuple(old),
        attempts=tuple(path for path in inventory.attempts if newest(path) <= latest),
        pointers=tuple(_pointers(store, {entry.key for entry in old if entry.stage == BUILDS})),
        kept_for_age=len(unneeded) - len(old),
        unknown=tuple(sorted({entry.stage for entry in inventory.entries.values()} - own)),
    )


def remove_garbage(store: Store, garbage: Garbage) -> None:
    """Remove what `find_garbage` found.

    Raises:
        RequestError: when folders of the store have been replaced by links.
    """
    _check_no_links(store)
    store.remove(garbage.pointers)
    scratch = store.root / ATTEMPTS
    scratch.mkdir(parents=True, exist_ok=True)
    moved = list(garbage.attempts)
    LOGGER.info("removing %d entries and %d scratch folders", len(garbage.entries), len(garbage.attempts))
    for entry in garbage.entries:
        LOGGER.debug("removing %s (%d bytes)", entry.name, entry.bytes)
        if store.is_remote:
            store.remove([f"{entry.name}/{FINISHED_BY.get(entry.stage, RECEIPT)}"])
            store.remove([f"{entry.name}/{name}" for name in store.sizes(entry.name)])
            continue
        trash = scratch / f"gc-{entry.stage}-{entry.key[:16]}-{uuid.uuid4().hex}"
        (store.root / entry.name).replace(trash)
        moved.append(trash)
    for path in moved:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _check_no_links(store: Store) -> None:
    """Refuse a store with links in place of folders: what they lead to is not the store's, and may be needed elsewhere.

    Links deeper in an entry are removed with it, and not what they lead to.
    """
    if store.is_remote:
        return
    for path in chain(store.root.glob("*"), store.root.glob("*/*")):
        if path.is_symlink() and not path.is_file():
            raise RequestError(
                f"{path}: is a link to {path.resolve()}; gc removes nothing from a store with links in place of "
                "folders: replace the link by the folder, or use the store that it leads to"
            )


def _named(inventory: Inventory, name: str) -> str:
    key = name.rstrip("/").rpartition("/")[2]
    found = [
        entry.name
        for entry in inventory.entries.values()
        if entry.stage in (BUILDS, RUNS) and key and entry.key.startswith(key)
    ]
    if len(found) != 1:
        what = "several builds or runs have keys that begin so" if found else "no build or run has this key"
        raise RequestError(f"--drop {name}: {what}; `mixproof store list` shows the keys")
    return found[0]


def _pointers(store: Store, builds: set[str]) -> list[str]:
    pointers = store.read(list(store.find(f"{BUILDS}/by-spec")))
    return sorted(name for name, raw in pointers.items() if text_in(raw, "build") in builds)
