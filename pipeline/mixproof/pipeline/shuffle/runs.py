"""Runs: files of records grouped by partition, of which a partition is read without the rest of the file.

A run is two files of an output. `records.bin` has the records of its partitions one after the other. `index.bin` has
where each partition ends, and the xxh3_64 of its bytes, because a range of a file cannot be checked against a receipt.
Reading a partition takes two reads of a run: 32 bytes of the index, then the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.files import ByteRange
from mixproof.ledger.store import Attempt, Store

RECORDS = "records.bin"
INDEX = "index.bin"
INDEX_DTYPE = np.dtype([("end", "<u8"), ("xxh64", "<u8")])
"""A partition: the byte of `records.bin` after its last one, and the xxh3_64 of its bytes."""
WRITE_BYTES = 1 << 20
READ_BYTES = 1 << 26
"""Runs are read together up to about this size."""

Bytes = bytes | memoryview


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: str
    """Its folder in the store."""
    first: int
    """Number of its first partition."""


def write_run(attempt: Attempt, partitions: Iterable[Iterable[Bytes]]) -> int:
    """Write a run; returns its number of bytes.

    Args:
        attempt: at the run's output.
        partitions: for each partition its records, in pieces that are made when they are needed.
    """
    index: list[tuple[int, int]] = []
    end = 0
    with attempt.path(RECORDS).open("wb", buffering=WRITE_BYTES) as file:
        for pieces in partitions:
            checksum = xxhash.xxh3_64()
            for piece in pieces:
                file.write(piece)
                checksum.update(piece)
                end += len(piece)
            index.append((end, checksum.intdigest()))
    attempt.path(INDEX).write_bytes(np.array(index, dtype=INDEX_DTYPE).tobytes())
    return end


def as_bytes(records: NDArray[Any]) -> memoryview:
    """The bytes of an array, not copied if they are contiguous."""
    return np.ascontiguousarray(records).reshape(-1).view(np.uint8).data if records.size else memoryview(b"")


def read_index(store: Store, runs: Sequence[Run], first: int, last: int) -> list[NDArray[Any]]:
    """The index of partitions [first, last) of each run: INDEX_DTYPE [1 + last - first], the one before them first."""
    size = INDEX_DTYPE.itemsize
    ranges = [
        ByteRange(f"{run.folder}/{INDEX}", size * max(0, first - run.first - 1), size * (last - run.first))
        for run in runs
    ]
    found = []
    for run, data in zip(runs, store.read_ranges(ranges), strict=True):
        before = b"" if first > run.first else bytes(size)
        found.append(np.frombuffer(before + data, dtype=INDEX_DTYPE))
        if len(found[-1]) != 1 + last - first:
            raise DamagedFileError(store.location(f"{run.folder}/{INDEX}"), "end of the file", "partitions are missing")
    return found


def read_partitions(
    store: Store, runs: Sequence[Run], index: Sequence[NDArray[Any]], first: int, last: int
) -> list[list[memoryview]]:
    """Partitions of several runs: for each run, those at [first, last) of its part of the index.

    Raises:
        DamagedFileError: when the bytes of a partition do not have their checksum.
    """
    ranges = [
        ByteRange(f"{run.folder}/{RECORDS}", int(part["end"][first]), int(part["end"][last]))
        for run, part in zip(runs, index, strict=True)
    ]
    found = []
    for each, part, data in zip(ranges, index, store.read_ranges(ranges), strict=True):
        ends = (part["end"][first : last + 1] - part["end"][first]).tolist()
        pieces = [memoryview(data)[start:end] for start, end in pairwise(ends)]
        for piece, expected in zip(pieces, part["xxh64"][first + 1 : last + 1].tolist(), strict=True):
            if xxhash.xxh3_64_intdigest(piece) != expected:
                reason = "the bytes do not match the checksum in index.bin; delete its folder to make it again"
                raise DamagedFileError(store.location(each.name), f"bytes {each.start} to {each.end}", reason)
        found.append(pieces)
    return found


def read_partition(store: Store, runs: Sequence[Run], number: int) -> Iterator[memoryview]:
    """Yield the bytes of one partition in each run, in order; about READ_BYTES are in memory."""
    index = read_index(store, runs, number, number + 1)
    sizes = np.array([int(part["end"][1] - part["end"][0]) for part in index])
    group = (np.cumsum(sizes) - sizes) // READ_BYTES
    for members in np.split(np.arange(len(runs)), np.flatnonzero(np.diff(group)) + 1):
        parts = [index[run] for run in members]
        for (piece,) in read_partitions(store, [runs[run] for run in members], parts, 0, 1):
            yield piece
