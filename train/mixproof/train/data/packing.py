"""Best-fit packing: documents into training windows without cutting any that fits (Ding et al. 2024, arXiv 2404.10830).

A document of at most S tokens is one piece. A longer one is cut from its start into whole windows of S tokens and a
remainder. Pieces are packed by best fit decreasing: longest first, each into the fullest window that still has room; of
several that are equally full, into the one that became so first.

The decisions depend on lengths alone, so they are made on the histogram of lengths: all windows with the same content
are one group, and placing a million pieces of one length costs as much as placing one. That takes O(S^2) steps at most,
whatever the number of documents; the rest is a counting sort, linear in the pieces and block by block. A pass needs
about 40 bytes of memory a document.

Within one length, which document goes into which window, and the order in which windows are read, are shuffled by the
seed of the epoch. The number of windows is the same in every epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pieces import BLOCK, Pieces, cut_documents


@dataclass(frozen=True)
class Pack:
    """The windows of one pass over a draw. Pieces stand window by window, in the order in which they are read."""

    window_starts: NDArray[np.int64]
    """[windows + 1] the first piece of each window; the last entry is the number of pieces."""
    documents: NDArray[np.int32]
    """[pieces] the document of each piece, a row of the draw."""
    first_tokens: NDArray[np.int32]
    """[pieces] where in its document each piece starts."""
    tokens: NDArray[np.int32]
    """[pieces] tokens of each piece."""
    supervised: NDArray[np.int32] | None = None
    """[pieces] supervised tokens of each piece; None in pretraining."""
    fim: NDArray[np.int32] | None = None
    """[pieces, 3] how each piece is read; None without fill-in-the-middle. `tokens` has its sentinels."""


@dataclass(frozen=True)
class _Group:
    """Windows with the same content: those of `parent`, and `pieces` pieces of `length` tokens behind it."""

    parent: int
    length: int
    pieces: int


def pack_documents(lengths: NDArray[np.int32], sequence_length: int, seed: int) -> Pack:
    """Pack one pass over documents.

    Args:
        lengths: [documents] tokens of each, EOD included; at least 1.
        sequence_length: S, the tokens that a window has room for.
        seed: of the epoch, below 2**32.
    """
    return pack_pieces(cut_documents(lengths, sequence_length), sequence_length, seed)


def pack_pieces(pieces: Pieces, sequence_length: int, seed: int) -> Pack:
    """Pack the pieces of one pass; those of equal length and the windows are shuffled by `seed`."""
    sizes, slot_tokens = _slots(_histogram(pieces.tokens, sequence_length))
    assert len(pieces.tokens) < 1 << 31, "pieces are numbered in 32 bits"
    random = np.random.RandomState(seed)
    shuffled = random.permutation(len(pieces.tokens)).astype(np.int32)
    windows_in_order = random.permutation(len(sizes)).astype(np.int32)
    by_length = np.empty_like(shuffled)
    for block, ranks in _stable_ranks(pieces.tokens, shuffled, sequence_length):
        by_length[ranks] = shuffled[block]
    chosen = shuffled  # its memory is used again
    for block, ranks in _stable_ranks(slot_tokens, None, sequence_length):
        chosen[block] = by_length[ranks]
    del by_length, slot_tokens
    window_starts, packed = _arrange(pieces, chosen, sizes, windows_in_order)
    return Pack(window_starts, packed.documents, packed.first_tokens, packed.tokens, packed.supervised)


def pack_pairs(pieces: Pieces, sequence_length: int, seed: int) -> Pack:
    """Pack pairs of adjacent pieces; both stay in one window, next to each other."""
    pairs = units_of_pairs(pieces)
    packed = pack_pieces(pairs, sequence_length, seed)
    number = np.searchsorted(pairs.documents, packed.documents)
    both = pieces.take(np.stack([2 * number, 2 * number + 1], axis=1).ravel())
    return Pack(packed.window_starts * 2, both.documents, both.first_tokens, both.tokens, both.supervised)


def units_of_pairs(pieces: Pieces) -> Pieces:
    """Return each pair as one piece: the document of the chosen answer, and the tokens of both."""
    tokens = pieces.tokens.reshape(-1, 2).sum(1).astype(np.int32)
    return Pieces(pieces.documents[::2], pieces.first_tokens[::2], tokens)


def count_windows(pieces: Pieces, sequence_length: int) -> int:
    """Windows of one pass, the same for every seed."""
    _, leaves = _best_fit_decreasing(_histogram(pieces.tokens, sequence_length))
    return sum(leaves.values())


def _arrange(
    pieces: Pieces, chosen: NDArray[np.int32], sizes: NDArray[np.int32], windows_in_order: NDArray[np.int32]
) -> tuple[NDArray[np.int64], Pieces]:
    """Put windows into the order in which they are read; gives where each starts, and the pieces.

    Args:
        pieces: of the pass.
        chosen: [pieces] piece in each slot, window by window.
        sizes: [windows] pieces of each.
        windows_in_order: [windows] the window that is read first, second, and so on.
    """
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    counts = sizes[windows_in_order]
    window_starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    order = np.empty_like(chosen)
    for first in range(0, len(counts), BLOCK):
        block = slice(first, first + BLOCK)
        begin, end = int(window_starts[first]), int(window_starts[min(first + BLOCK, len(counts))])
        moved = starts[windows_in_order[block]] - window_starts[first : first + len(counts[block])]
        order[begin:end] = chosen[np.repeat(moved, counts[block]) + np.arange(begin, end)]
    return window_starts, pieces.take(order)


def _stable_ranks(
    keys: NDArray[np.int32], rows: NDArray[np.int32] | None, largest: int
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield, block by block, the position of each key in a stable sort of all keys: a counting sort in bounded memory.

    Args:
        keys: from 0 to `largest`.
        rows: the order in which keys are taken; None: as they are.
        largest: of the keys.
    """
    counts = _histogram(keys, largest)
    following = np.cumsum(counts) - counts
    number = len(keys) if rows is None else len(rows)
    for first in range(0, number, BLOCK):
        block = slice(first, min(first + BLOCK, number))
        of_block = keys[block] if rows is None else keys[rows[block]]
        order = np.argsort(of_block, kind="stable")
        in_order = of_block[order]
        is_first = np.concatenate([[True], in_order[1:] != in_order[:-1]])
        run_starts = np.flatnonzero(is_first)
        in_run = np.arange(len(in_order)) - np.repeat(run_starts, np.diff(np.append(run_starts, len(in_order))))
        ranks = np.empty(len(in_order), np.int64)
        ranks[order] = following[in_order] + in_run
        following += np.bincount(of_block, minlength=largest + 1)
        yield block, ranks


def _histogram(keys: NDArray[np.int32], largest: int) -> NDArray[np.int64]:
    """Count each key from 0 to `largest`, block by block: `bincount` copies what it counts."""
    counts = np.zeros(largest + 1, np.int64)
    for first in range(0, len(keys), BLOCK):
        counts += np.bincount(keys[first : first + BLOCK], minlength=largest + 1)
    return counts


def _slots(histogram: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return [windows] the pieces of each, and [pieces] the tokens of each piece, the longest of a window first."""
    groups, leaves = _best_fit_decreasing(histogram)
    sizes = np.empty(sum(leaves.values()), np.int32)
    tokens = np.empty(int(histogram.sum()), np.int32)
    window = piece = 0
    for leaf, count in leaves.items():
        content: list[int] = []
        at = leaf
        while at >= 0:
            content = [groups[at].length] * groups[at].pieces + content
            at = groups[at].parent
        sizes[window : window + count] = len(content)
        tokens[piece : piece + count * len(content)].reshape(count, len(content))[:] = content
        window, piece = window + count, piece + count * len(content)
    return sizes, tokens


def _best_fit_decreasing(histogram: NDArray[np.int64]) -> tuple[list[_Group], dict[int, int]]:
    """Pack lengths; `histogram` has [S + 1] pieces of each length.

    Returns:
        All groups, and how many windows each final group has, by its index, in the order of their room left.
    """
    capacity = len(histogram) - 1
    groups: list[_Group] = []
    by_room: list[dict[int, int]] = [{} for _ in range(capacity + 1)]  # room left > group > windows
    rooms = _Rooms(capacity)
    for length in np.flatnonzero(histogram)[::-1].tolist():
        left = int(histogram[length])
        while left:
            room = rooms.smallest_from(length)
            parent, count = (next(iter(by_room[room].items()))) if room is not None else (-1, left)
            free = capacity if room is None else room
            each = min(free // length, left)  # best fit stays with a window until the length no longer fits
            filled = min(count, left // each)
            if room is not None:
                _take(by_room[room], parent, filled)
                rooms.set(room, bool(by_room[room]))
            groups.append(_Group(parent, length, each))
            by_room[free - each * length][len(groups) - 1] = filled
            rooms.set(free - each * length, present=True)
            left -= filled * each
    leaves = {group: count for room in by_room for group, count in room.items()}
    return groups, leaves


def _take(windows_of: dict[int, int], group: int, count: int) -> None:
    """Take windows out of a group."""
    windows_of[group] -= count
    if not windows_of[group]:
        del windows_of[group]


class _Rooms:
    """Which amounts of room left some window has: a set of integers with a fast next-larger query."""

    def __init__(self, capacity: int) -> None:
        self._bits = 0
        self._capacity = capacity

    def set(self, room: int, present: bool) -> None:
        """Add or remove one amount."""
        if present:
            self._bits |= 1 << room
        else:
            self._bits &= ~(1 << room)

    def smallest_from(self, least: int) -> int | None:
        """Return the smallest amount that is not below `least`, or None."""
        above = self._bits >> least
        return least + (above & -above).bit_length() - 1 if above else None
