"""Which document keeps the paragraphs of each document that cutting dropped.

A dropped document may have lost paragraphs to several documents. The one that keeps most of its bytes is named: if
possible one in the source that the account counts it as lost to, and the first one if two keep as many. A document that
only repeats its own paragraphs has no keeper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mixproof.ledger.store import Store
from mixproof.pipeline.columns import read_whole
from mixproof.pipeline.dedup.duplicates import NO_KEEPER, TWIN_DTYPE, DuplicateList, Twins
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.by_hash import read_rows
from mixproof.pipeline.read.shards import Shard

TEXTS_AT_ONCE = 1024


def paragraph_twins(store: Store, each: DuplicateList, shards: Sequence[Shard]) -> Twins:
    """Read the documents that cutting dropped from a shard; `shards` are those of the group, before cutting."""
    cuts, keepers = (load_array(store.path(path)) for path in each.paths[:2])
    listed = read_whole(store.path(each.paths[2]), ["lost_to", "dropped"]).to_pylist()
    rows, starts = np.unique(cuts["row"], return_index=True)
    ends = np.append(starts[1:], len(cuts))
    dropped = [number for number, one in enumerate(listed) if one["dropped"] is not None]
    twins = np.empty(len(dropped), dtype=TWIN_DTYPE)
    twins["row"] = rows[dropped]
    for first in range(0, len(dropped), TEXTS_AT_ONCE):
        numbers = dropped[first : first + TEXTS_AT_ONCE]
        texts = read_rows(store, shards[each.shard], rows[numbers].astype(np.int64))["text"].to_pylist()
        for index, (number, text) in enumerate(zip(numbers, texts, strict=True), first):
            span = slice(starts[number], ends[number])
            sizes = _bytes_by_keeper(text, cuts["paragraph"][span].tolist(), keepers[span].tolist())
            sizes.pop((each.shard, int(rows[number])), None)
            lost_to = listed[number]["lost_to"]
            order = [(shards[shard].source != lost_to, -size, shard, row) for (shard, row), size in sizes.items()]
            twins[index]["keeper"], twins[index]["keeper_row"] = min(order)[2:] if order else (NO_KEEPER, 0)
    return Twins(twins, [listed[number]["dropped"] for number in dropped])


def _bytes_by_keeper(
    text: str, paragraphs: Sequence[int], keepers: Sequence[tuple[int, int]]
) -> Counter[tuple[int, int]]:
    """Count the UTF-8 bytes of some paragraphs, newlines included, by shard and row of the document that keeps each."""
    lines = text.split("\n")
    sizes: Counter[tuple[int, int]] = Counter()
    for paragraph, keeper in zip(paragraphs, keepers, strict=True):
        sizes[keeper] += len(lines[paragraph].encode()) + 1
    return sizes
