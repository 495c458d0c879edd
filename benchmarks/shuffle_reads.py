"""How many files deduplication opens, computed from the plan of its shuffles, for corpora that no machine here holds.

    python benchmarks/shuffle_reads.py [--copies 0.2] [--shard-bytes 128000000]

A document has 4.5 kB, and a near copy shares 10 of its 24 bands with other documents, as in `signatures.py`. A read is
one range of a file. Without regrouping, a task over a range opens the bands of every shard (two files), and the
signatures of nearly every shard once for each of its about 8 parts.
"""

from __future__ import annotations

import argparse
import math

from mixproof.pipeline.dedup.buckets import PART_RECORDS, RANGE_RECORDS, range_count
from mixproof.pipeline.dedup.exact import range_count as exact_range_count
from mixproof.pipeline.dedup.fetch import BLOCK_DOCUMENTS
from mixproof.pipeline.shuffle.merge import MERGE_BYTES
from mixproof.pipeline.shuffle.plan import RUN_RECORDS, RUN_SHARDS, Level, is_direct, levels, power_of_two

DOCUMENT_BYTES = 4500
BANDS = 24
SHARED_BANDS = 10
SIGNATURE_BYTES = 384


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


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=float, default=0.2)
    parser.add_argument("--shard-bytes", type=float, default=128e6)
    given = parser.parse_args()
    print("documents   shards  ranges   direct  regrouped: bands signatures   exact   bytes a document")
    for documents in (1e7, 1e8, 1e9, 1e10, 1e11):
        shards = math.ceil(documents * DOCUMENT_BYTES / given.shard_bytes)
        ranges = range_count(int(documents * BANDS))
        direct = ranges * shards * (2 + RANGE_RECORDS // PART_RECORDS)
        exact_ranges = exact_range_count(int(documents))
        band_runs, written = gathered_runs(shards, documents * BANDS), 16.0 * BANDS * documents
        bands, merged = shuffled(band_runs, ranges, written)
        needed = documents * given.copies * SHARED_BANDS
        blocks = math.ceil(documents / BLOCK_DOCUMENTS)
        lists, listed = shuffled(ranges, power_of_two(blocks), 12 * needed)
        carried, carried_bytes = shuffled(blocks, ranges, SIGNATURE_BYTES * needed)
        sizes = written + merged + 12 * needed + listed + SIGNATURE_BYTES * needed + carried_bytes
        exact_runs = gathered_runs(shards, documents)
        exact, _ = shuffled(exact_runs, exact_ranges, 36 * documents)
        exact_reads = shards * exact_ranges if is_direct(shards, exact_ranges) else exact + shards
        note = "  (read directly)" if is_direct(shards, ranges) else ""
        print(
            f"{documents:>9.0e} {shards:>8,} {ranges:>7,} {direct:>8.1e} {2 * shards + bands:>16.1e} "
            f"{2 * lists + carried + shards:>10.1e} {exact_reads:>7.1e} {sizes / documents:>18,.0f}{note}"
        )


if __name__ == "__main__":
    main()
