"""How many files deduplication opens, computed from the plan of its shuffles, for corpora that no machine here holds.

    python benchmarks/shuffle_reads.py [--copies 0.2] [--shard-bytes 128000000]

A document has 4.5 kB, and a near copy shares 10 of its 24 bands with other documents, as in `signatures.py`. A read is
one range of a file. Without regrouping, a task over a range opens the bands of every shard (two files), and the
signatures of nearly every shard once for each of its about 8 parts. The second table is that of semantic deduplication:
vectors of 256 dimensions, each in three cells.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from mixproof.pipeline.dedup.buckets import PART_RECORDS, RANGE_RECORDS, range_count
from mixproof.pipeline.dedup.exact import range_count as exact_range_count
from mixproof.pipeline.semantic.assignment import PROBES
from mixproof.pipeline.semantic.cell_ranges import CELL_DTYPE
from mixproof.pipeline.semantic.cell_ranges import RANGE_RECORDS as CELL_RECORDS
from mixproof.pipeline.semantic.cell_ranges import range_count as cell_range_count
from mixproof.pipeline.semantic.fine_cells import fine_cell_count
from mixproof.pipeline.semantic.range_tasks import CHUNK
from mixproof.pipeline.shuffle.document_rows import DocumentRows
from mixproof.pipeline.shuffle.fetch import NEEDED_DTYPE
from mixproof.pipeline.shuffle.merge import MERGE_BYTES
from mixproof.pipeline.shuffle.plan import RUN_RECORDS, RUN_SHARDS, Level, is_direct, levels, power_of_two

DOCUMENT_BYTES = 4500
BANDS = 24
SHARED_BANDS = 10
SIGNATURE_MINIMA = 192
DIMENSIONS = 256
SIZES = (1e7, 1e8, 1e9, 1e10, 1e11)


def shuffled(runs: int, partitions: int, total_bytes: float) -> tuple[float, float]:
    """Reads of merging runs and of reading all partitions once; and bytes written by merging."""
    reads, written, level = 0.0, 0.0, Level(runs, 1)
    for following in levels(runs, partitions, int(total_bytes)):
        outputs = following.groups * following.segments
        blocks = max(1, math.ceil(total_bytes / outputs / MERGE_BYTES))
        reads += level.groups * following.segments * (1 + blocks)
        written, level = written + total_bytes, following
    return reads + 2 * partitions * level.groups, written


def gathered_runs(shards: float, records: float) -> int:
    """Number of runs of shards of equal size."""
    return math.ceil(shards / max(1, min(RUN_SHARDS, RUN_RECORDS // max(1, int(records / shards)))))


def fetched(table: DocumentRows, tasks: int, needed: float, shards: int) -> tuple[float, float]:
    """Reads, and bytes written, of bringing rows to the tasks that compare them."""
    size = needed * table.width * table.dtype.itemsize
    lists, listed = shuffled(tasks, power_of_two(table.blocks), NEEDED_DTYPE.itemsize * needed)
    rows, copied = shuffled(table.blocks, power_of_two(tasks), size)
    return 2 * lists + rows + shards, NEEDED_DTYPE.itemsize * needed + listed + size + copied


def show_semantic(documents: int, shards: int) -> None:
    """Print the row of semantic deduplication for a size."""
    cells = fine_cell_count(documents)
    records = documents * min(PROBES, cells)
    ranges = cell_range_count(records, cells)
    table = DocumentRows("", "", documents, "", np.dtype(np.int16), DIMENSIONS)
    direct = shards * ranges * (2 + CELL_RECORDS // CHUNK)
    partitions = power_of_two(ranges)
    found, written = shuffled(gathered_runs(shards, records), partitions, CELL_DTYPE.itemsize * records)
    reads, copied = fetched(table, ranges, records, shards)
    sizes = CELL_DTYPE.itemsize * records + written + copied
    note = "  (read directly)" if is_direct(shards, partitions) else ""
    print(
        f"{documents:>9.0e} {shards:>8,} {ranges:>7,} {direct:>8.1e} {2 * shards + 3 * found:>16.1e} {reads:>10.1e} "
        f"{sizes / documents:>26,.0f}{note}"
    )


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=float, default=0.2)
    parser.add_argument("--shard-bytes", type=float, default=128e6)
    given = parser.parse_args()
    print("documents   shards  ranges   direct  regrouped: bands signatures   exact   bytes a document")
    for documents in SIZES:
        shards = math.ceil(documents * DOCUMENT_BYTES / given.shard_bytes)
        ranges = range_count(int(documents * BANDS))
        direct = ranges * shards * (2 + RANGE_RECORDS // PART_RECORDS)
        exact_ranges = exact_range_count(int(documents))
        band_runs, written = gathered_runs(shards, documents * BANDS), 16.0 * BANDS * documents
        bands, merged = shuffled(band_runs, ranges, written)
        needed = documents * given.copies * SHARED_BANDS
        table = DocumentRows("", "", int(documents), "", np.dtype(np.uint16), SIGNATURE_MINIMA)
        signatures, carried = fetched(table, ranges, needed, shards)
        sizes = written + merged + carried
        exact_runs = gathered_runs(shards, documents)
        exact, _ = shuffled(exact_runs, exact_ranges, 36 * documents)
        exact_reads = shards * exact_ranges if is_direct(shards, exact_ranges) else exact + shards
        note = "  (read directly)" if is_direct(shards, ranges) else ""
        print(
            f"{documents:>9.0e} {shards:>8,} {ranges:>7,} {direct:>8.1e} {2 * shards + bands:>16.1e} "
            f"{signatures:>10.1e} {exact_reads:>7.1e} {sizes / documents:>18,.0f}{note}"
        )
    print("documents   shards  ranges   direct  regrouped:  cells    vectors           bytes a document")
    for documents in SIZES:
        show_semantic(int(documents), math.ceil(documents * DOCUMENT_BYTES / given.shard_bytes))


if __name__ == "__main__":
    main()
