"""Inventory: what a store holds, how large and how old it is, and which entries refer to which.

An entry is a folder `<stage>/<key>/`. Keys are SHA-256, so an entry refers to another one exactly when one of its
records (`receipt.json`, `manifest.json`, `identity.json`, `run.json`) contains the other's key: a manifest names its
datasets, texts and tokenizer by path, a run its build and draws. This module needs to know no stage.

Receipts do not name their inputs, so nothing refers to the outputs between the raw files and a manifest (read,
deduplicated and encoded shards). They save work when the spec is built again, and are made again when missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from mixproof.ledger.files import Found
from mixproof.ledger.location import RUNS
from mixproof.ledger.manifest import BUILDS, CIRCUMSTANCES, MANIFEST
from mixproof.ledger.store import ATTEMPTS, RECEIPT, Store
from mixproof.ledger.store.sealed import SEALED, sealed_receipts

KEY = re.compile(r"[0-9a-f]{64}")
RECORDS = (RECEIPT, MANIFEST, "identity.json", "run.json")
ROOTS = (BUILDS, RUNS, "search")
"""Stages whose entries are results that a user requested, so they are kept although nothing refers to them."""
FINISHED_BY = {BUILDS: MANIFEST, RUNS: "run.json"}
"""The record that is written last, by stage; a receipt for all other stages."""


@dataclass(frozen=True)
class Entry:
    """One folder of the store."""

    stage: str
    key: str
    files: int
    bytes: int
    modified: float
    """Modification time of its newest file, in seconds since 1970."""
    state: Literal["finished", "unfinished"]
    label: str
    """For people: a run's mixture, proxy and seed; empty for other stages."""
    refers_to: tuple[str, ...]
    """Names of the entries that it refers to."""
    spec: str = ""
    """Name of the spec of a build or run; empty where it is not known."""

    @property
    def name(self) -> str:
        """Its path in the store."""
        return f"{self.stage}/{self.key}"


@dataclass(frozen=True)
class Inventory:
    """All entries of a store."""

    store: str
    entries: Mapping[str, Entry]
    """By name."""
    attempts: tuple[Path, ...]
    """Scratch folders of commands that are running or were killed."""

    @property
    def referred_by(self) -> dict[str, tuple[str, ...]]:
        """The entries that refer to each entry, by name."""
        found: dict[str, list[str]] = {name: [] for name in self.entries}
        for entry in self.entries.values():
            for name in entry.refers_to:
                found[name].append(entry.name)
        return {name: tuple(sorted(names)) for name, names in found.items()}

    def needed_by(self, roots: Iterable[str]) -> set[str]:
        """The entries named `roots` and everything they refer to, directly or indirectly."""
        needed: set[str] = set()
        pending = [name for name in roots if name in self.entries]
        while pending:
            name = pending.pop()
            if name not in needed:
                needed.add(name)
                pending.extend(self.entries[name].refers_to)
        return needed

    @property
    def roots(self) -> tuple[str, ...]:
        """The builds, runs, searches and sealed receipts."""
        return tuple(name for name, entry in self.entries.items() if entry.stage in (*ROOTS, SEALED))

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof store list --json` prints."""
        referred, needed = self.referred_by, self.needed_by(self.roots)
        entries = [
            {**asdict(entry), "referred_by": referred[name], "needed": name in needed}
            for name, entry in self.entries.items()
        ]
        return {"store": self.store, "entries": entries, "attempts": [str(path) for path in self.attempts]}


def take_inventory(store: Store, *, damaged: bool = False) -> Inventory:
    """List every entry of a store; only records are opened.

    Raises:
        DamagedFileError: when sealed receipts cannot be read, unless `damaged`, which skips them; their outputs then
            count as unfinished.
    """
    files: dict[str, dict[str, Found]] = {}
    for path, found in store.find("").items():
        stage, _, below = path.partition("/")
        key, _, name = below.partition("/")
        if name and KEY.fullmatch(key):
            files.setdefault(f"{stage}/{key}", {})[name] = found
    for folder in _folders(store):
        files.setdefault(folder, {})
    by_key: dict[str, list[str]] = {}
    for folder in files:
        by_key.setdefault(folder.partition("/")[2], []).append(folder)
    sealed = sealed_of(store, files, damaged=damaged)
    records = store.read([f"{folder}/{name}" for folder, names in files.items() for name in RECORDS if name in names])
    entries = [
        _entry(store, folder, files[folder], records, sealed.get(folder, b""), by_key) for folder in sorted(files)
    ]
    entries = _with_specs(store, files, entries, records)
    attempts = store.root / ATTEMPTS
    scratch = tuple(sorted(attempts.iterdir())) if attempts.is_dir() and not attempts.is_symlink() else ()
    return Inventory(str(store), {entry.name: entry for entry in entries}, scratch)


def sealed_of(store: Store, folders: Collection[str], *, damaged: bool = False) -> dict[str, bytes]:
    """The sealed receipts of the outputs in `folders`, by folder; `damaged` as for `take_inventory`."""
    stages = {folder.partition("/")[0] for folder in folders} if SEALED in store.stages() else set()
    found = (
        (f"{stage}/{key}", raw)
        for stage in stages - {SEALED}
        for key, raw in sealed_receipts(store, stage, damaged=damaged)
    )
    return {folder: raw for folder, raw in found if folder in folders}


def newest(folder: Path) -> float:
    """Modification time of the newest file or folder in `folder`, in seconds since 1970; 0 when it no longer exists."""
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:  # a running command has published it
            continue
    return max(times)


def _folders(store: Store) -> Iterator[str]:
    """Folders of all entries of a local store, including empty ones, which have lost their only file, the receipt."""
    for path in [] if store.is_remote else store.root.glob("*/*"):
        if KEY.fullmatch(path.name) and path.is_dir():
            yield path.relative_to(store.root).as_posix()


def _entry(
    store: Store,
    folder: str,
    files: Mapping[str, Found],
    records: Mapping[str, bytes],
    sealed: bytes,
    by_key: Mapping[str, Sequence[str]],
) -> Entry:
    stage, _, key = folder.partition("/")
    texts = [records[name] for name in (f"{folder}/{record}" for record in RECORDS) if name in records]
    named = {found for text in (*texts, sealed) for found in KEY.findall(text.decode(errors="replace"))} - {key}
    return Entry(
        stage=stage,
        key=key,
        files=len(files),
        bytes=sum(file.bytes for file in files.values()),
        modified=max(file.modified for file in files.values()) if files else newest(store.root / folder),
        state="finished" if sealed or FINISHED_BY.get(stage, RECEIPT) in files else "unfinished",
        label=_label(records.get(f"{folder}/identity.json")) if stage == RUNS else "",
        refers_to=tuple(sorted(name for key in named for name in by_key.get(key, ()))),
    )


def _with_specs(
    store: Store, files: Mapping[str, Mapping[str, Found]], entries: Sequence[Entry], records: Mapping[str, bytes]
) -> list[Entry]:
    """Add the names of specs: of a run from its record, of a build from its circumstances, else from its runs."""
    builds = [f"{folder}/{CIRCUMSTANCES}" for folder, names in files.items() if CIRCUMSTANCES in names]
    circumstances = store.read([name for name in builds if name.startswith(f"{BUILDS}/")])
    spec_of = {entry.name: text_in(records.get(f"{entry.name}/run.json"), "spec_name") for entry in entries}
    for entry in entries:
        for name in entry.refers_to if entry.stage == RUNS else ():
            if name.startswith(f"{BUILDS}/") and not spec_of[name]:
                spec_of[name] = spec_of[entry.name]
    for name, raw in circumstances.items():
        folder = name.rpartition("/")[0]
        spec_of[folder] = text_in(raw, "spec") or spec_of[folder]
    return [replace(entry, spec=spec_of[entry.name]) for entry in entries]


def text_in(record: bytes | None, key: str) -> str:
    """A text in a JSON record; empty if there is none, or the record is damaged."""
    try:
        found = json.loads(record or b"{}")
    except (ValueError, RecursionError):
        return ""
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def _label(identity: bytes | None) -> str:
    """Mixture, proxy and seed of a run, from its identity."""
    if identity is None:
        return ""
    try:
        config = json.loads(identity)["config"]
        return f"{config['mixture']} × {config['proxy']} × seed {config['seed']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "damaged identity.json"
