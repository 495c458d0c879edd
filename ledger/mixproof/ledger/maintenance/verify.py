"""Verify: check every file of a store against the checksum recorded when it was written.

Receipts hold the checksums of every stage's output; a run's record holds those of its checkpoint, index, metrics and
scores; a manifest and a run's identity are named by their own. Files are hashed in parallel threads. `verify` does
not check that the accounts close; `mixproof audit` does.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from mixproof.ledger.location import RUNS
from mixproof.ledger.manifest import BUILDS, MANIFEST
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import RECEIPT, read_receipt

from .inventory import FINISHED_BY, Entry, sealed_of, take_inventory

LOGGER = logging.getLogger(__name__)
THREADS = 8
READ_TOGETHER = 1000


@dataclass(frozen=True)
class WrongFile:
    """A file that differs from its record."""

    file: str
    """Absolute path or URL."""
    expected: str
    found: str


@dataclass(frozen=True)
class Verified:
    """The outcome for a whole store."""

    files: int
    bytes: int
    wrong: tuple[WrongFile, ...]
    unfinished: tuple[str, ...]
    """Missing receipts and records, as absolute paths or URLs; their outputs count as not made."""

    @property
    def ok(self) -> bool:
        """Whether every file matches its record."""
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
    name: str
    """Relative to the store."""
    sha256: str


def verify_store(store: Store) -> Verified:
    """Re-read every finished entry. Nothing is written.

    Returns:
        What was read and what is wrong, sorted by stage, key and name.
    """
    everything = take_inventory(store, damaged=True).entries
    unfinished = [store.location(_record_of(entry)) for entry in everything.values() if entry.state == "unfinished"]
    wrong: list[WrongFile] = []
    expected: list[_Expected] = []
    sealed = sealed_of(store, everything, damaged=True)
    finished = [entry for entry in everything.values() if entry.state == "finished"]
    for first in range(0, len(finished), READ_TOGETHER):
        batch = finished[first : first + READ_TOGETHER]
        records = store.read([_record_of(entry) for entry in batch])
        for entry in batch:
            try:
                expected += _expected_of(entry, records.get(_record_of(entry), sealed.get(entry.name, b"")))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                record = store.location(_record_of(entry))
                wrong.append(WrongFile(record, "a record that follows its schema", str(error).splitlines()[0]))
    LOGGER.info("hashing %d files of %d finished entries", len(expected), len(finished))
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(lambda file: _read(store, file.name), expected))
    for file, (sha256, _) in zip(expected, found, strict=True):
        if sha256 != f"sha256 {file.sha256}":
            wrong.append(WrongFile(store.location(file.name), f"sha256 {file.sha256}", sha256))
    return Verified(len(expected), sum(size for _, size in found), tuple(wrong), tuple(unfinished))


def _record_of(entry: Entry) -> str:
    return f"{entry.name}/{FINISHED_BY.get(entry.stage, RECEIPT)}"


def _read(store: Store, name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        for block in store.blocks(name):
            digest.update(block)
            size += len(block)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}", 0
    return f"sha256 {digest.hexdigest()}", size


def _expected_of(entry: Entry, raw: bytes) -> Iterator[_Expected]:
    """The expected checksums of an entry's files; `raw` is its record."""
    folder = entry.name
    if entry.stage == BUILDS:
        yield _Expected(f"{folder}/{MANIFEST}", entry.key)
    elif entry.stage == RUNS:
        record = json.loads(raw)
        yield _Expected(f"{folder}/identity.json", entry.key)
        for name, sha256 in sorted({**record["index"], **record["files"]}.items()):
            yield _Expected(f"{folder}/{name}", sha256)
    else:
        receipt = read_receipt(raw)
        if (receipt.stage, receipt.key) != (entry.stage, entry.key):
            raise ValueError(f"the receipt belongs to {receipt.stage}/{receipt.key}")
        for name, file in sorted(receipt.files.items()):
            yield _Expected(f"{folder}/{name}", file.sha256)
