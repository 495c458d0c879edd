"""Signatures for tasks that compare documents from anywhere in a group of many shards.

A task over a range of band hashes, or over a file of trees, needs the signatures of documents from every shard. Where
it would have to open too many shards, the signatures are brought to it in two shuffles. First each task lists the
documents that it needs, a run whose partitions are blocks of BLOCK_DOCUMENTS consecutive documents. Then a task over
each block reads its shards once and writes the signatures, a run whose partitions are the tasks that need them. So each
signature is read once, and is written once for each task that needs it.
Memory of a block's task: 20 MB, the lists of one run, and the signatures of CHUNK documents; those that any task needs
are in a scratch file of up to 800 MB. A task that receives signatures has them in a scratch file too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Attempt, Store
from mixproof.ledger.store.receipts import Receipts
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import GroupShard, load_group
from mixproof.pipeline.shuffle.plan import power_of_two
from mixproof.pipeline.shuffle.runs import as_bytes, write_run
from mixproof.pipeline.shuffle.shuffle import Shuffle, partition_of

from .buckets import CHUNK, Documents
from .edges import STAGE, Signatures
from .signatures import SIGNATURES

VERSION = 1
BLOCK_DOCUMENTS = 1 << 21
NEEDED_DTYPE = np.dtype([("task", "<i4"), ("document", "<i8")])
"""A document whose signature a task needs."""


@dataclass(frozen=True)
class Group:
    """The documents whose signatures can be fetched."""

    key: str
    """Of the list of shards."""
    documents: int
    """In all shards, kept or not."""
    minima: int
    """Of each signature."""

    @property
    def blocks(self) -> int:
        """Number of blocks of documents."""
        return max(1, -(-self.documents // BLOCK_DOCUMENTS))


@dataclass(frozen=True)
class Fetched:
    """The signatures that each of several tasks needs."""

    key: str
    """Of the shuffle."""
    minima: int

    def read(self, store: Store, task: int, needed: Documents, scratch: Path) -> Signatures:
        """Copy the signatures of one task to a file; returns what reads them there.

        Args:
            store: the store.
            task: number of the task.
            needed: the documents that it listed, ascending.
            scratch: the file.
        """
        with scratch.open("wb") as file:
            for piece in partition_of(store, STAGE, self.key, task):
                file.write(piece)
        shape = (len(needed), self.minima)
        table = np.memmap(scratch, np.uint16, "r", shape=shape) if len(needed) else np.zeros(shape, np.uint16)
        return partial(_rows_of, table, needed)


def _rows_of(table: NDArray[np.uint16], known: Documents, documents: Documents) -> NDArray[np.uint16]:
    return table[np.searchsorted(known, documents)]


def write_needed(attempt: Attempt, task: int, documents: Documents, blocks: int) -> None:
    """Write the list of the documents whose signatures a task needs, ascending, as a run by block."""
    records = np.empty(len(documents), dtype=NEEDED_DTYPE)
    records["task"], records["document"] = task, documents
    ends = np.searchsorted(documents, BLOCK_DOCUMENTS * np.arange(power_of_two(blocks) + 1)).tolist()
    write_run(attempt, ([as_bytes(records[start:end])] for start, end in pairwise(ends)))


def fetch(lists: Sequence[str], receipts: Receipts, group: Group, shuffle: Shuffle) -> Fetched:
    """Bring signatures to the tasks that need them.

    Args:
        lists: the key of each task's list, in the order of the tasks.
        receipts: of the lists.
        group: the documents.
        shuffle: regroups the lists, then the signatures.
    """
    tasks = power_of_two(len(lists))
    needed = shuffle.merge(lists, receipts, power_of_two(group.blocks))
    work = {
        stage_key(STAGE, VERSION, {"signatures": block, "tasks": tasks}, [needed]): block
        for block in range(group.blocks)
    }

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(shuffle.store, key, group, needed, block, tasks) for key, block in missing.items()]

    found = run_missing(shuffle.store, STAGE, work, calls, write_signatures, shuffle.cluster, shuffle.label)
    return Fetched(shuffle.merge(list(work), found, tasks), group.minima)


def write_signatures(store: Store, key: str, group: Group, needed: str, block: int, tasks: int) -> None:
    """Write the signatures of one block's documents that tasks need, as a run by task."""
    first = block * BLOCK_DOCUMENTS
    is_needed, counts = np.zeros(BLOCK_DOCUMENTS, dtype=np.bool_), np.zeros(tasks, dtype=np.int64)
    for records in _needed(store, needed, block):
        is_needed[records["document"] - first] = True
        counts += np.bincount(records["task"], minlength=tasks)
    rank = np.cumsum(is_needed, dtype=np.int32) - 1
    with store.attempt(STAGE, key) as attempt, store.attempt(STAGE, f"{key}-rows") as scratch:
        path = scratch.path(SIGNATURES)
        with path.open("wb") as file:
            _write_compact(file, store, load_group(store, STAGE, group.key), is_needed, first)
        shape = (int(is_needed.sum()), group.minima)
        table = np.memmap(path, np.uint16, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint16)
        chunks = (
            table[rank[records["document"][start : start + CHUNK] - first]]
            for records in _needed(store, needed, block)
            for start in range(0, len(records), CHUNK)
        )
        write_run(attempt, _divided(chunks, counts.tolist()))
        attempt.commit()


def _needed(store: Store, needed: str, block: int) -> Iterator[NDArray[Any]]:
    """Yield the lists of a block, NEEDED_DTYPE, in the order of the tasks."""
    for piece in partition_of(store, STAGE, needed, block):
        yield np.frombuffer(piece, dtype=NEEDED_DTYPE)


def _write_compact(
    file: BinaryIO, store: Store, shards: Sequence[GroupShard], is_needed: NDArray[np.bool_], first: int
) -> None:
    """Write the signatures that are needed, in the order of the documents; `first`: document of the first row."""
    firsts = [shard.first for shard in shards]
    start = max(0, int(np.searchsorted(firsts, first, side="right")) - 1)
    end = int(np.searchsorted(firsts, first + len(is_needed), side="left"))
    for number in range(start, end):
        shard, last = shards[number], firsts[number + 1] if number + 1 < len(firsts) else first + len(is_needed)
        low, high = max(first, shard.first), min(first + len(is_needed), last)
        rows = np.flatnonzero(is_needed[low - first : high - first]) + (low - shard.first)
        if len(rows):
            signatures = np.load(store.path(f"{shard.folder}/{SIGNATURES}"), mmap_mode="r")
            for part in range(0, len(rows), CHUNK):
                file.write(as_bytes(signatures[rows[part : part + CHUNK]]))


def _divided(chunks: Iterator[NDArray[np.uint16]], counts: Sequence[int]) -> Iterator[Iterator[memoryview]]:
    """Divide rows, given in chunks, into partitions with these numbers of rows."""
    held = np.zeros((0, 0), np.uint16)

    def rows(count: int) -> Iterator[memoryview]:
        nonlocal held
        while count:
            if not len(held):
                held = next(chunks)
            part, held = held[:count], held[count:]
            count -= len(part)
            yield as_bytes(part)

    for count in counts:
        yield rows(count)
