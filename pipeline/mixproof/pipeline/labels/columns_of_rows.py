"""The labels of documents that are named by file and record, as a provenance row names them.

A shard's labels are rows beside its documents. Documents are found again by the shard that has their record, whatever
order they come in: a part's documents come in the order of its shards, a held-out set's in that of text hashes. The
labels of one shard are in memory at a time, and the names of files of sources in which a file is a document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.columns import array_of, numbers, read_whole

from .labeler import CONFIDENCE, VALUE

PREFIX = "label."
"""Of the names of label columns in provenance."""


@dataclass(frozen=True)
class LabelColumn:
    """One column of labels."""

    name: str
    """The label's, or for a confidence `<label>.confidence`."""
    kind: str
    """`string`, `int64` or `double`."""

    @property
    def field(self) -> Any:  # noqa: ANN401 - pyarrow ships no types
        """The column in a provenance file."""
        kinds = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64()}
        return pa.field(f"{PREFIX}{self.name}", kinds[self.kind])


@dataclass(frozen=True)
class LabelledShard:
    """Where the labels of a shard's documents are."""

    documents: str
    """The shard's `documents.parquet`, relative to the store."""
    documents_sha256: str
    file: str
    """Name of the shard's input file; "" if each row names its own file."""
    first_record: int
    records: int
    labels: tuple[tuple[str, str], ...]
    """Name and file of each label, by name."""

    def plain(self) -> list[object]:
        """What identifies the labels, for a key."""
        return [self.documents_sha256, self.file, self.first_record, [list(pair) for pair in self.labels]]


@dataclass(frozen=True)
class LabelledSource:
    """The labels of a source: its columns, and its shards."""

    columns: tuple[LabelColumn, ...]
    shards: tuple[LabelledShard, ...]

    def of_rows(self, store: Store, rows: pa.Table) -> pa.Table:
        """The labels of documents.

        Args:
            store: the store.
            rows: columns `file` and `record` (in the whole file), each document in one of the shards.

        Returns:
            A column per label, in the order of `rows`.
        """
        shard_of, row_of = self._find(store, rows)
        found: list[pa.Table] = []
        order: list[NDArray[np.int64]] = []
        for shard in np.unique(shard_of).tolist():
            here = np.flatnonzero(shard_of == shard)
            found.append(_labels(store, self.columns, self.shards[shard]).take(numbers(row_of[here])))
            order.append(here)
        schema = pa.schema([column.field for column in self.columns])
        if not found:
            return schema.empty_table()
        return pa.concat_tables(found).take(numbers(np.argsort(np.concatenate(order))))

    def _find(self, store: Store, rows: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The index of each document's shard, and its row in the shard."""
        records = array_of(rows["record"])
        shard_of = np.full(rows.num_rows, -1, np.int64)
        row_of = np.zeros(rows.num_rows, np.int64)
        files = rows["file"].combine_chunks().dictionary_encode()
        codes, names = array_of(files.indices), files.dictionary.to_pylist()
        code_of = {name: code for code, name in enumerate(names)}
        for index, shard in enumerate(self.shards):
            if shard.file and shard.file not in code_of:
                continue
            if shard.file:
                own = records - shard.first_record
                here = np.flatnonzero((codes == code_of[shard.file]) & (own >= 0) & (own < shard.records))
                row_of[here] = np.searchsorted(_records(store, shard.documents), own[here])
            else:
                members, places = _places(store, shard.documents)
                number = np.array([members.get(name, -1) for name in names], np.int64)[codes]
                here = np.flatnonzero(number >= 0)
                row_of[here] = np.searchsorted(places, _place(number[here], records[here]))
            shard_of[here] = index
        assert (shard_of >= 0).all(), "every document comes from a shard of its source"
        return shard_of, row_of


@lru_cache(maxsize=2)
def _labels(store: Store, columns: tuple[LabelColumn, ...], shard: LabelledShard) -> pa.Table:
    paths = dict(shard.labels)
    return pa.table(
        [read_column(store, paths, column.name) for column in columns],
        schema=pa.schema([column.field for column in columns]),
    )


def read_column(store: Store, paths: Mapping[str, str], name: str) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """The values of a column of labels for all rows of a shard; `paths` are its labels' files."""
    is_label = name in paths
    label, column = (name, VALUE) if is_label else (name.removesuffix(f".{CONFIDENCE}"), CONFIDENCE)
    return read_whole(store.path(paths[label]), [column])[column]


@lru_cache(maxsize=2)
def _records(store: Store, documents: str) -> NDArray[np.int64]:
    return array_of(read_whole(store.path(documents), ["record"])["record"])


@lru_cache(maxsize=64)
def _places(store: Store, documents: str) -> tuple[dict[str, int], NDArray[np.int64]]:
    """The number of each file of a group, in order, and the place of each row's document, ascending."""
    rows = read_whole(store.path(documents), ["file", "record"])
    files = rows["file"].combine_chunks().dictionary_encode()
    members = {name: number for number, name in enumerate(files.dictionary.to_pylist())}
    return members, _place(array_of(files.indices).astype(np.int64), array_of(rows["record"]))


def _place(file: NDArray[np.int64], record: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for a file of a group and a record of it; a file of a group has fewer than 2^40 bytes, so records."""
    return (file << 40) + record
