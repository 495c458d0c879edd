"""Which document keeps the paragraphs of each document that cutting dropped.

A dropped document may have lost paragraphs to several documents. Of those in the source that it counts as lost to, the
one that keeps most of its bytes is named, the first one where two keep as many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mixproof.ledger.store import Store
from mixproof.pipeline.columns import read_whole
from mixproof.pipeline.dedup.duplicates import TWIN_DTYPE, DuplicateList, Twins
from mixproof.pipeline.read.by_hash import read_rows
from mixproof.pipeline.read.shards import Shard

TEXTS_AT_ONCE = 1024


def paragraph_twins(store: Store, each: DuplicateList, shards: Sequence[Shard]) -> Twins:
    """Read the documents that cutting dropped from a shard; `shards` are those of the group, before cutting."""
    cuts, keepers = (np.load(store.path(path)) for path in each.paths[:2])
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
            kept = [
                (int(keeper["shard"]), int(keeper["row"]), int(paragraph))
                for keeper, paragraph in zip(keepers[span], cuts["paragraph"][span], strict=True)
                if shards[keeper["shard"]].source == listed[number]["lost_to"]
            ]
            twins[index]["keeper"], twins[index]["keeper_row"] = _main_keeper(text, kept)
    return Twins(twins, [listed[number]["dropped"] for number in dropped])


def _main_keeper(text: str, kept: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Return shard and row of the document that keeps most bytes of a text.

    Args:
        text: the text before cutting.
        kept: shard and row of a document, and the index in the text of a paragraph that it keeps.
    """
    lines = text.split("\n")
    sizes: Counter[tuple[int, int]] = Counter()
    for shard, row, paragraph in kept:
        sizes[shard, row] += len(lines[paragraph].encode()) + 1
    return min(sizes, key=lambda document: (-sizes[document], document))
