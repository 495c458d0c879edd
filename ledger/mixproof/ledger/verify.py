"""Verify: every file of a store against the checksum that was taken when it was written.

Receipts hold those of every stage's output, a run's record those of its checkpoint, index, metrics and scores; a
manifest and a run's identity are named by their own. Hashing runs in threads, a file each. What `verify` does not
ask is whether the accounts close: that is the audit's business.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from .fingerprint import sha256_of_file
from .inventory import FINISHED_BY, RUNS, Entry, take_inventory
from .manifest import BUILDS, MANIFEST
from .receipt import RECEIPT, read_receipt
from .store import Store

THREADS = 8


@dataclass(frozen=True)
class WrongFile:
    """A file that is not the recorded one."""

    file: str
    """Absolute path."""
    expected: str
    found: str


@dataclass(frozen=True)
class Verified:
    """The outcome for a whole store."""

    files: int
    bytes: int
    wrong: tuple[WrongFile, ...]
    unfinished: tuple[str, ...]
    """Receipts and records that are not there, absolute paths: what they would finish counts as not made."""

    @property
    def ok(self) -> bool:
        """Whether every file is the recorded one."""
        return not self.wrong

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof store verify --json` prints."""
        wrong = [asdict(file) for file in self.wrong]
        return {
            "ok": self.ok,
            "files": self.files,
            "bytes": self.bytes,
            "failures": wrong,
            "unfinished": list(self.unfinished),
        }


@dataclass(frozen=True)
class _Expected:
    path: Path
    sha256: str


def verify_store(store: Store) -> Verified:
    """Re-read every finished entry; nothing is written.

    Returns:
        What was read and what is wrong, in the order of stages, keys and names.
    """
    everything = take_inventory(store).entries.values()
    entries = [entry for entry in everything if entry.state == "finished"]
    unfinished = [str(_record_of(store, entry)) for entry in everything if entry.state == "unfinished"]
    wrong: list[WrongFile] = []
    expected: list[_Expected] = []
    for entry in entries:
        try:
            expected += _expected_of(store.path(entry.name), entry)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            place = str(_record_of(store, entry))
            wrong.append(WrongFile(place, "a record of its schema", str(error).splitlines()[0]))
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(lambda file: _read(file.path), expected))
    for file, (sha256, _) in zip(expected, found, strict=True):
        if sha256 != f"sha256 {file.sha256}":
            wrong.append(WrongFile(str(file.path), f"sha256 {file.sha256}", sha256))
    return Verified(len(expected), sum(size for _, size in found), tuple(wrong), tuple(unfinished))


def _record_of(store: Store, entry: Entry) -> Path:
    return store.path(entry.name) / FINISHED_BY.get(entry.stage, RECEIPT)


def _read(path: Path) -> tuple[str, int]:
    try:
        return f"sha256 {sha256_of_file(path)}", path.stat().st_size
    except OSError as error:
        return f"no readable file: {error.strerror}", 0


def _expected_of(folder: Path, entry: Entry) -> Iterator[_Expected]:
    if entry.stage == BUILDS:
        yield _Expected(folder / MANIFEST, entry.key)
    elif entry.stage == RUNS:
        record = json.loads((folder / "run.json").read_bytes())
        yield _Expected(folder / "identity.json", entry.key)
        for name, sha256 in sorted({**record["index"], **record["files"]}.items()):
            yield _Expected(folder / name, sha256)
    else:
        receipt = read_receipt((folder / RECEIPT).read_bytes())
        if (receipt.stage, receipt.key) != (entry.stage, entry.key):
            raise ValueError(f"the receipt of {receipt.stage}/{receipt.key}")
        for name, file in sorted(receipt.files.items()):
            yield _Expected(folder / name, file.sha256)
