"""Removed substrings, replayed: each is the text that the list says, and so is the place where it is said to be kept.

A list names matches: bytes of a document that occur first in another place. What goes are the characters all of whose
bytes are in a match. `missed_repeats.py` looks for repeats that are in no list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store

from .arithmetic import SUBSTRINGS
from .missed_repeats import WindowSample, sample_for
from .report import Checks

Document = tuple[str, int]
"""File and record."""


@dataclass(frozen=True)
class _Match:
    start: int
    length: int
    xxh128: str

    def is_in(self, text: bytes) -> bool:
        return xxhash.xxh3_128_hexdigest(text[self.start : self.start + self.length]) == self.xxh128


@dataclass(frozen=True)
class _Loss:
    matches: tuple[_Match, ...]
    bytes: int
    is_dropped: bool


@dataclass
class Substrings:
    """What some files of one source lost, and what they keep for this and other sources."""

    least: int = 0
    """Bytes of the shortest match."""
    losses: dict[Document, _Loss] = field(default_factory=dict)
    kept: dict[Document, list[_Match]] = field(default_factory=dict)
    unmatched: WindowSample | None = None
    """Windows that are in no match, of the documents that were compared; None: the source was not compared."""

    @classmethod
    def of(
        cls, store: Store, manifest: Manifest, source: SourceRecord, name: str, files: Collection[str]
    ) -> Substrings:
        """Read the lists of a build.

        Args:
            store: the store of the build.
            manifest: the build.
            source: the source of the files.
            name: the name it had when substrings were compared: of cells, that of the divided source.
            files: names of files of this source.
        """
        rule = (manifest.spec["dedup"] or {}).get("substrings")
        found = cls(rule["bytes"] if rule else 0, unmatched=sample_for(manifest, name))
        for row in _rows(store, [source]):
            if row["file"] in files:
                matches = tuple(map(_Match, row["starts"], row["lengths"], row["xxh128"]))
                found.losses[row["file"], row["record"]] = _Loss(matches, row["bytes"], row["dropped"] is not None)
        columns = ("kept_sources", "kept_files", "kept_records", "kept_starts", "lengths", "xxh128")
        for row in _rows(store, manifest.sources.values()):
            for kept_in, file, record, *match in zip(*(row[each] for each in columns), strict=True):
                if kept_in == name and file in files:
                    found.kept.setdefault((file, record), []).append(_Match(*match))
        return found

    def cut(self, document: Document, text: bytes, checks: Checks, *, is_in_dataset: bool) -> bytes:
        """Check what a document keeps and what it loses, and return what is left of it."""
        at = checks.at(stage=SUBSTRINGS)
        for match in self.kept.pop(document, ()):
            at.true("E2", match.is_in(text), f"the kept copy of a substring at byte {match.start}", "other bytes")
        loss = self.losses.pop(document, None)
        if self.unmatched is not None and (is_in_dataset or loss is not None):
            self.unmatched.add(document, text, _matched(text, () if loss is None else loss.matches))
        if loss is None:
            return text
        for match in loss.matches:
            at.true("E2", match.is_in(text), f"the repeated bytes from byte {match.start}", "other bytes")
            at.true("E2", match.length >= self.least, f"{self.least} repeated bytes or more", f"{match.length}")
        left = _without(text, loss.matches)
        at.equal("E2", "bytes lost", loss.bytes, len(text) - (0 if loss.is_dropped else len(left)))
        return left

    def check_all_seen(self, checks: Checks) -> None:
        """Check that the files have every document that the lists name; for a replay of all documents."""
        missing = sorted({*self.losses, *self.kept})
        expected, found = "documents that lose or keep substrings", f"no {missing[:1]}, of {len(missing)} missing"
        checks.at(stage=SUBSTRINGS).true("E2", not missing, expected, found)


def _rows(store: Store, sources: Collection[SourceRecord]) -> Iterator[dict[str, Any]]:
    """The rows of the lists of some sources; the cells of a source share its lists."""
    for path in dict.fromkeys(part.path for source in sources for part in source.substring_cuts):
        with pq.ParquetFile(store.path(path)) as listed:
            for batch in listed.iter_batches():
                yield from batch.to_pylist()


def _matched(text: bytes, matches: Collection[_Match]) -> NDArray[np.bool_]:
    """Which bytes of a text are in a match: bool [bytes]."""
    found = np.zeros(len(text), np.bool_)
    for match in matches:
        found[match.start : match.start + match.length] = True
    return found


def _without(text: bytes, matches: Collection[_Match]) -> bytes:
    data = np.frombuffer(text, np.uint8)
    if not len(data):
        return text
    gone = _matched(text, matches)
    characters = np.flatnonzero((data & 0xC0) != 0x80)
    whole = np.logical_and.reduceat(gone, characters)
    left: bytes = data[~np.repeat(whole, np.diff(np.append(characters, len(data))))].tobytes()
    return left
