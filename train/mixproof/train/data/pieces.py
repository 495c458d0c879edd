"""Pieces: how the documents of a draw are cut before they are packed into windows.

In pretraining a document longer than a window of S tokens is cut into whole windows and a remainder, and every token is
in one piece. After pretraining the mask of a conversation says which of its tokens are supervised, and a conversation
longer than a window is handled as the spec declares:

    truncate    kept up to its last answer that ends within S tokens; if none does, up to S tokens
    split       cut into windows and a remainder
    drop        left out

Pieces without a supervised token teach nothing and are left out as well. What is left out is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TooLong = Literal["truncate", "split", "drop"]
BLOCK = 1 << 20
"""Pieces or windows handled at a time, so that no array but the result is as long as all pieces."""


@dataclass(frozen=True)
class Pieces:
    """The pieces of one pass over a draw, in the order of its documents; all arrays are [pieces]."""

    documents: NDArray[np.int32]
    """Row of each piece's document in the draw."""
    first_tokens: NDArray[np.int32]
    """Index of its first token in the document."""
    tokens: NDArray[np.int32]
    supervised: NDArray[np.int32] | None = None
    """Supervised tokens of each piece; None in pretraining, where every token is a target."""

    def take(self, chosen: NDArray[np.int64] | NDArray[np.int32] | NDArray[np.bool_]) -> Pieces:
        """Return some of the pieces, by index or by a mask."""
        supervised = None if self.supervised is None else self.supervised[chosen]
        return Pieces(self.documents[chosen], self.first_tokens[chosen], self.tokens[chosen], supervised)


def cut_documents(lengths: NDArray[np.int32], sequence_length: int, cut_at: int | None = None) -> Pieces:
    """Cut documents longer than a window into whole windows and a remainder.

    Args:
        lengths: [documents] tokens of each, EOD included; at least 1.
        sequence_length: S, the tokens that a window has room for.
        cut_at: tokens of each piece but the last of a document that is cut; None: S.
    """
    most = np.full(len(lengths), sequence_length, np.int32)
    most[lengths > sequence_length] = sequence_length if cut_at is None else cut_at
    pieces = -(-lengths // most)
    ends = np.cumsum(pieces, dtype=np.int64)
    documents = np.repeat(np.arange(len(lengths), dtype=np.int32), pieces)
    first_tokens, tokens = np.empty_like(documents), np.empty_like(documents)
    for first in range(0, len(documents), BLOCK):
        block = slice(first, min(first + BLOCK, len(documents)))
        rows = documents[block]
        number = np.arange(block.start, block.stop) - (ends[rows] - pieces[rows])
        first_tokens[block] = number * most[rows]
        tokens[block] = np.minimum(lengths[rows] - first_tokens[block], most[rows])
    return Pieces(documents, first_tokens, tokens)


def cut_conversations(
    lengths: NDArray[np.int32], mask: NDArray[np.uint8], sequence_length: int, too_long: TooLong
) -> Pieces:
    """Cut conversations longer than a window as declared, and leave out pieces without a supervised token.

    Args:
        lengths: [documents] tokens of each, EOD included; at least 1.
        mask: [tokens] of all documents in order: 1 if a token is supervised.
        sequence_length: S, the tokens that a window has room for.
        too_long: what to do with a longer one.
    """
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    if too_long == "split":
        pieces = cut_documents(lengths, sequence_length)
    else:
        kept = np.minimum(lengths, sequence_length)
        for document in np.flatnonzero(lengths > sequence_length).tolist():
            first = int(starts[document])
            window = mask[first : first + sequence_length + 1]
            kept[document] = _last_answer_end(window, sequence_length) if too_long == "truncate" else 0
        documents = np.flatnonzero(kept).astype(np.int32)
        pieces = Pieces(documents, np.zeros(len(documents), np.int32), kept[documents].astype(np.int32))
    supervised = _count(mask, starts[pieces.documents] + pieces.first_tokens, pieces.tokens)
    counted = Pieces(pieces.documents, pieces.first_tokens, pieces.tokens, supervised)
    return counted.take(supervised > 0)


def cut_pairs(lengths: NDArray[np.int32], mask: NDArray[np.uint8], sequence_length: int) -> Pieces:
    """Return the pairs that fit into a window: two adjacent pieces each, the chosen and the rejected conversation.

    Args:
        lengths: [documents] tokens of each; documents 2i and 2i + 1 are a pair.
        mask: [tokens] of all documents in order: 1 if a token is supervised.
        sequence_length: S, which both together must not exceed.
    """
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    supervised = _count(mask, starts, lengths)
    fits = (lengths.reshape(-1, 2).sum(1) <= sequence_length) & (supervised.reshape(-1, 2) > 0).all(1)
    documents = np.flatnonzero(np.repeat(fits, 2)).astype(np.int32)
    return Pieces(documents, np.zeros(len(documents), np.int32), lengths[documents], supervised[documents])


def _last_answer_end(mask: NDArray[np.uint8], sequence_length: int) -> int:
    """Tokens up to the end of the last answer that ends within a window; the whole window if none does.

    Args:
        mask: [sequence_length + 1] of the start of a conversation.
        sequence_length: S.
    """
    ends = np.flatnonzero(mask[:sequence_length].astype(bool) & (mask[1 : sequence_length + 1] == 0)) + 1
    return int(ends[-1]) if len(ends) else sequence_length


def _count(mask: NDArray[np.uint8], starts: NDArray[np.int64], tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    """Supervised tokens of each piece; pieces are in the order of the tokens and do not overlap."""
    if not len(starts):
        return np.zeros(0, np.int32)
    bounds = np.stack([starts, starts + tokens], axis=1).ravel()
    padded = bounds[:-1] if bounds[-1] == len(mask) else bounds  # reduceat takes no bound at the end
    counts = np.add.reduceat(mask, padded, dtype=np.int64)[::2]
    return counts.astype(np.int32)
