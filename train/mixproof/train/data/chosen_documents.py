"""Which documents a draw takes: those of the smallest text hashes, a part of that order, or its long documents.

Documents with equal hashes are taken in the order of the dataset. Every function returns [documents] whether each is
chosen; `hashes` are [documents] XXH3-128 of each text, in hexadecimal, and `tokens` [documents] tokens of each.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def choose_documents(
    hashes: pa.ChunkedArray, tokens: NDArray[np.int64], need: int, *, nearest: bool = False
) -> NDArray[np.bool_]:
    """Select the documents with the smallest text hashes that together have at least `need` tokens.

    Documents with equal hashes are taken in the order of the dataset.

    Args:
        hashes: [documents] XXH3-128 of each text, in hexadecimal.
        tokens: [documents] tokens of each.
        need: tokens; if all documents have fewer, all are selected.
        nearest: drop the last document if the others are closer to `need` without it.

    Returns:
        [documents] whether each is selected.
    """
    order = hash_order(hashes)
    supply = np.cumsum(tokens[order])
    taken = int(np.searchsorted(supply, need)) + 1
    if nearest and 1 < taken <= len(supply) and need - supply[taken - 2] < supply[taken - 1] - need:
        taken -= 1
    chosen = np.zeros(len(tokens), np.bool_)
    chosen[order[:taken]] = True
    return chosen


def choose_part(hashes: pa.ChunkedArray, tokens: NDArray[np.int64], first: int, stop: int) -> NDArray[np.bool_]:
    """Choose the documents that start at token `first` up to `stop`, in the order of the hashes."""
    starts = starts_in_hash_order(hashes, tokens)
    return (starts >= first) & (starts < stop)


def choose_long(
    hashes: pa.ChunkedArray, tokens: NDArray[np.int64], need: int, min_tokens: int, drawn_first: int
) -> NDArray[np.bool_]:
    """Choose documents of at least `min_tokens` that together have at least `need` tokens.

    Those that start at token `drawn_first` or later, in the order of the hashes, come first; the others, which draws
    without `min_tokens` also take, follow. If all documents of this length have fewer tokens, all are chosen.
    """
    starts = starts_in_hash_order(hashes, tokens)
    order = np.lexsort((starts, starts < drawn_first))
    order = order[tokens[order] >= min_tokens]
    taken = int(np.searchsorted(np.cumsum(tokens[order]), need)) + 1
    chosen = np.zeros(len(tokens), np.bool_)
    chosen[order[:taken]] = True
    return chosen


def starts_in_hash_order(hashes: pa.ChunkedArray, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [documents] the tokens of all documents with a smaller hash."""
    order = hash_order(hashes)
    starts = np.empty(len(tokens), np.int64)
    starts[order] = np.cumsum(tokens[order]) - tokens[order]
    return starts


def hash_order(hashes: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return [documents] the rows in the order of their hashes."""
    rows = pa.table({"hash": hashes, "row": np.arange(len(hashes))})
    order: NDArray[np.int64] = pc.sort_indices(rows, [("hash", "ascending"), ("row", "ascending")]).to_numpy()
    return order
