"""Rows of documents for tasks that compare documents from anywhere in a group of many shards.

A task over a range of hashes or cells, or over a file of trees, needs the rows of documents from every shard. Where it
would have to open too many shards, the rows are brought to it in two shuffles. First each task lists the documents that
it needs, a run whose partitions are blocks of consecutive documents. Then a task over each block reads its shards once
and writes the rows, a run whose partitions are the tasks that need them. So each row is read once, and is written once
for each task that needs it.
Memory of a block's task: 20 MB, the lists of one run, and the rows of CHUNK documents; those that any task needs are in
a scratch file of up to 1 GB. A task that receives rows has them in a scratch file too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Attempt, Store
from mixproof.ledger.store.receipts import Receipts
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import Documents, load_group
from mixproof.pipeline.stored_array import open_array

from .document_rows import DocumentRows, Load
from .plan import power_of_two
from .runs import as_bytes, write_run
from .shuffle import Shuffle, partition_of

VERSION = 2
ROWS = "rows.bin"
CHUNK = 1 << 17
"""Documents whose rows are held in memory."""
NEEDED_DTYPE = np.dtype([("task", "<i4"), ("document", "<i8")])
"""A document whose row a task needs."""


def write_needed(attempt: Attempt, needed: Mapping[int, Documents], table: DocumentRows) -> None:
    """Write the lists of the documents whose rows consecutive tasks need, as a run by block.

    Args:
        attempt: at the run's output.
        needed: by number of the task, ascending, its documents, ascending.
        table: the rows.
    """
    bounds = table.block * np.arange(power_of_two(table.blocks) + 1)
    lists = []
    for task, documents in needed.items():
        records = np.empty(len(documents), dtype=NEEDED_DTYPE)
        records["task"], records["document"] = task, documents
        ends = np.searchsorted(documents, bounds).tolist()
        lists.append([as_bytes(records[start:end]) for start, end in pairwise(ends)])
    write_run(attempt, zip(*lists, strict=True))


def fetch(lists: Sequence[str], receipts: Receipts, tasks: int, table: DocumentRows, shuffle: Shuffle) -> str:
    """Bring rows to the tasks that need them; returns the key of the shuffle, for `opened_rows`.

    Args:
        lists: the keys of the tasks' lists, in the order of the tasks.
        receipts: of the lists.
        tasks: number of tasks.
        table: the rows.
        shuffle: regroups the lists, then the rows.
    """
    tasks = power_of_two(tasks)
    needed = shuffle.merge(lists, receipts, power_of_two(table.blocks))
    config = {"rows": table.file, "documents": table.block, "tasks": tasks}
    work = {
        stage_key(table.stage, VERSION, {"block": block, **config}, [needed]): block for block in range(table.blocks)
    }

    def calls(missing: dict[str, int]) -> list[tuple[object, ...]]:
        return [(shuffle.store, key, table, needed, block, tasks) for key, block in missing.items()]

    found = run_missing(shuffle.store, table.stage, work, calls, write_rows, shuffle.cluster, shuffle.label)
    return shuffle.merge(list(work), found, tasks)


@contextmanager
def opened_rows(
    store: Store, output: str, table: DocumentRows, fetched: str | None, task: int, needed: Callable[[], Documents]
) -> Iterator[Load]:
    """Open rows for one task; fetched ones are in a scratch file meanwhile.

    Args:
        store: the store.
        output: key of what the task writes.
        table: the rows.
        fetched: key of the shuffle that brought them. None: they are read from their shards.
        task: number of the task.
        needed: gives the documents that it listed, ascending.
    """
    if fetched is None:
        yield partial(table.read, store)
        return
    with store.attempt(table.stage, f"{output}-rows") as scratch:
        path = scratch.path(ROWS)
        with path.open("wb") as file:
            for piece in partition_of(store, table.stage, fetched, task):
                file.write(piece)
        documents = needed()
        shape = (len(documents), table.width)
        rows = np.memmap(path, table.dtype, "r", shape=shape) if len(documents) else np.zeros(shape, table.dtype)
        yield partial(_rows_of, rows, documents)


def _rows_of(rows: NDArray[Any], known: Documents, documents: Documents) -> NDArray[Any]:
    return np.asarray(rows[np.searchsorted(known, documents)])


def write_rows(store: Store, key: str, table: DocumentRows, needed: str, block: int, tasks: int) -> None:
    """Write the rows of one block's documents that tasks need, as a run by task."""
    first = block * table.block
    is_needed, counts = np.zeros(table.block, dtype=np.bool_), np.zeros(tasks, dtype=np.int64)
    for records in _needed(store, table.stage, needed, block):
        is_needed[records["document"] - first] = True
        counts += np.bincount(records["task"], minlength=tasks)
    rank = np.cumsum(is_needed, dtype=np.int32) - 1
    with store.attempt(table.stage, key) as attempt, store.attempt(table.stage, f"{key}-rows") as scratch:
        path = scratch.path(ROWS)
        with path.open("wb") as file:
            _write_compact(file, store, table, is_needed, first)
        shape = (int(is_needed.sum()), table.width)
        rows = np.memmap(path, table.dtype, "r", shape=shape) if shape[0] else np.zeros(shape, table.dtype)
        chunks = (
            rows[rank[records["document"][start : start + CHUNK] - first]]
            for records in _needed(store, table.stage, needed, block)
            for start in range(0, len(records), CHUNK)
        )
        write_run(attempt, _divided(chunks, counts.tolist()))
        attempt.commit()


def needed_of(store: Store, stage: str, needed: str, block: int) -> NDArray[Any]:
    """The lists of a block, NEEDED_DTYPE, by task and document."""
    return np.concatenate([np.zeros(0, NEEDED_DTYPE), *_needed(store, stage, needed, block)])


def _needed(store: Store, stage: str, needed: str, block: int) -> Iterator[NDArray[Any]]:
    """Yield the lists of a block, NEEDED_DTYPE, in the order of the tasks."""
    for piece in partition_of(store, stage, needed, block):
        yield np.frombuffer(piece, dtype=NEEDED_DTYPE)


def _write_compact(file: BinaryIO, store: Store, table: DocumentRows, is_needed: NDArray[np.bool_], first: int) -> None:
    """Write the rows that are needed, in the order of the documents; `first`: document of the first row."""
    shards = load_group(store, table.stage, table.group)
    firsts = [shard.first for shard in shards]
    start = max(0, int(np.searchsorted(firsts, first, side="right")) - 1)
    end = int(np.searchsorted(firsts, first + len(is_needed), side="left"))
    for number in range(start, end):
        shard, last = shards[number], firsts[number + 1] if number + 1 < len(firsts) else first + len(is_needed)
        low, high = max(first, shard.first), min(first + len(is_needed), last)
        rows = np.flatnonzero(is_needed[low - first : high - first]) + (low - shard.first)
        if len(rows):
            found = open_array(store, f"{shard.folder}/{table.file}")
            for part in range(0, len(rows), CHUNK):
                file.write(as_bytes(found[rows[part : part + CHUNK]]))


def _divided(chunks: Iterator[NDArray[Any]], counts: Sequence[int]) -> Iterator[Iterator[memoryview]]:
    """Divide rows, given in chunks, into partitions with these numbers of rows."""
    held = np.zeros((0, 0), np.uint8)

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
