"""The next steps of a shuffle: runs of consecutive shards merged into one that holds a segment of the partitions.

In a merged run, the records of a partition are those of the merged runs, one run after the other, so the order of the
shards is kept. Memory: about twice MERGE_BYTES, unless a single partition of these runs has more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mixproof.ledger.store import Store

from .runs import Run, read_index, read_partitions, write_run

MERGE_BYTES = 1 << 27


def merge_runs(store: Store, stage: str, key: str, runs: Sequence[Run], first: int, last: int) -> None:
    """Write partitions [first, last) of several runs as one run."""
    with store.attempt(stage, key) as attempt:
        write_run(attempt, _partitions(store, runs, first, last))
        attempt.commit()


def _partitions(store: Store, runs: Sequence[Run], first: int, last: int) -> Iterator[list[memoryview]]:
    index = read_index(store, runs, first, last)
    ends = sum(part["end"] - part["end"][0] for part in index)
    block = (ends[:-1] // MERGE_BYTES).tolist()
    start = 0
    while start < last - first:
        end = next((number for number in range(start, last - first) if block[number] != block[start]), last - first)
        found = read_partitions(store, runs, index, start, end)
        for number in range(end - start):
            yield [pieces[number] for pieces in found]
        start = end
