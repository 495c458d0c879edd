"""Which documents a draw takes: those of the smallest text hashes, a part of that order, or its long documents.

Documents with equal hashes are taken in the order of the dataset. Every function returns [documents] whether each is
chosen; `hashes` are [documents] XXH3-128 of each text, in hexadecimal, and `tokens` [documents] tokens of each.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def choose_part(hashes: pa.ChunkedArray, tokens: NDArray[np.int64], parts: Sequence[int]) -> NDArray[np.bool_]:
    """Choose the documents of the last of `parts`; see `part_numbers`."""
    is_last: NDArray[np.bool_] = part_numbers(hashes, tokens, parts) == len(parts) - 1
    return is_last


def choose_long(
    hashes: pa.ChunkedArray, tokens: NDArray[np.int64], need: int, min_tokens: int, parts: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Choose documents of at least `min_tokens` that together have at least `need` tokens.

    Those in none of the `parts` come first, in the order of the hashes, then those of the parts. If all documents of
    this length have fewer tokens, all are chosen.

    Returns:
        [documents] whether each is chosen, and whether it is chosen and in one of the parts.
    """
    in_parts = part_numbers(hashes, tokens, parts) < len(parts)
    rank = np.empty(len(tokens), np.int64)
    rank[hash_order(hashes)] = np.arange(len(tokens))
    order = np.lexsort((rank, in_parts))
    order = order[tokens[order] >= min_tokens]
    taken = int(np.searchsorted(np.cumsum(tokens[order]), need)) + 1
    chosen = np.zeros(len(tokens), np.bool_)
    chosen[order[:taken]] = True
    return chosen, chosen & in_parts


def part_numbers(hashes: pa.ChunkedArray, tokens: NDArray[np.int64], parts: Sequence[int]) -> NDArray[np.int64]:
    """Divide a source into parts: each takes documents, in the order of the hashes, until it has its tokens.

    Args:
        hashes: see the module.
        tokens: see the module.
        parts: tokens of each part.

    Returns:
        [documents] the part of each; the number of parts for a document that is in none.
    """
    order = hash_order(hashes)
    supply = np.concatenate([[0], np.cumsum(tokens[order])])
    numbers, first = np.full(len(tokens), len(parts), np.int64), 0
    for number, least in enumerate(parts):
        stop = int(np.searchsorted(supply, supply[first] + least))
        numbers[order[first:stop]] = number
        first = min(stop, len(tokens))
    return numbers


def hash_order(hashes: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return [documents] the rows in the order of their hashes."""
    rows = pa.table({"hash": hashes, "row": np.arange(len(hashes))})
    order: NDArray[np.int64] = pc.sort_indices(rows, [("hash", "ascending"), ("row", "ascending")]).to_numpy()
    return order
