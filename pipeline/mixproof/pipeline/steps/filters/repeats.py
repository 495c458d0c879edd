"""Repeated word n-grams of a document, by arithmetic on arrays.

The hash of an n-gram's letters is the difference of two prefix sums (mod 2^64), so hashing all n-grams takes a few
passes over an array, and sorting the hashes brings equal n-grams together.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.steps.segmentation.splitter import Words
from mixproof.pipeline.steps.segmentation.vocabulary import BASE, INVERSE, powers

Hashes = NDArray[np.uint64]
_MIX = 0xD1342543DE82EF95
_FEW = 16


def ends_of(words: Words) -> NDArray[np.int64]:
    """End of each word in the text without white space, in characters, with a 0 before the first: int64 [words + 1]."""
    ends = np.zeros(len(words) + 1, dtype=np.int64)
    words.vocabulary.lengths[words.ids].cumsum(out=ends[1:])
    return ends


class LetterHashes:
    """Hashes of n-grams by their letters without white space."""

    def __init__(self, words: Words) -> None:
        lengths = words.vocabulary.lengths[words.ids]
        longest = int(lengths.max(initial=0))
        self._prefix = np.zeros(len(words) + 1, dtype=np.uint64)
        forward = np.ones(len(words) + 1, dtype=np.uint64)
        self._back = np.ones(len(words) + 1, dtype=np.uint64)
        np.cumprod(powers(longest)[lengths], out=forward[1:])
        np.cumprod(powers(longest, INVERSE)[lengths], out=self._back[1:])
        np.cumsum(words.vocabulary.hashes[words.ids] * forward[:-1], out=self._prefix[1:])

    def of(self, n: int) -> Hashes:
        """The hash of each n-gram, by the index of its first word."""
        return (self._prefix[n:] - self._prefix[:-n]) * self._back[:-n]


assert BASE * INVERSE % 2**64 == 1


class WordHashes:
    """Hashes of n-grams by their words, by the index of the first word."""

    def __init__(self, words: Words) -> None:
        self._of = {1: words.ids.astype(np.uint64)}

    def of(self, n: int) -> Hashes:
        """The hash of each n-gram, made from the hashes of its halves."""
        found = self._of.get(n)
        if found is None:
            head, tail = self.of(n - n // 2), self.of(n // 2)
            runs = len(self._of[1]) - n + 1
            found = self._of[n] = head[:runs] * _mix(n // 2) + tail[n - n // 2 :][:runs]
        return found


@functools.cache
def _mix(n: int) -> np.uint64:
    return np.uint64(pow(_MIX, n, 2**64))


def top_count(hashes: Hashes) -> tuple[int, Hashes]:
    """The count of the most frequent hash, and all hashes with that count."""
    ordered = np.sort(hashes)
    lasts = np.flatnonzero(~_same_as_before(ordered)[1:])
    counts = lasts.copy()
    counts[1:] -= lasts[:-1]
    counts[0] += 1
    most = int(counts.max())
    return most, ordered[lasts[counts == most]]


def first_of(hashes: Hashes, targets: Hashes) -> int:
    """Index of the first of `hashes` that is one of `targets`."""
    if len(targets) <= _FEW:
        return min(int((hashes == one).argmax()) for one in targets)
    return int(np.isin(hashes, targets).argmax())


def any_as_often(hashes: Hashes, count: int) -> bool:
    """Whether some hash occurs at least `count` times."""
    if count > len(hashes):
        return False
    ordered = np.sort(hashes)
    return bool(np.count_nonzero(ordered[count - 1 :] == ordered[: len(ordered) - count + 1]))


def count_again(hashes: Hashes) -> int:
    """Count the elements whose hash also occurs earlier."""
    ordered = np.sort(hashes)
    return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


@dataclass(frozen=True)
class Repeated:
    """The n-grams that occur more than once, in order."""

    starts: NDArray[np.int64]
    """Index of each one's first word."""
    runs: NDArray[np.int64]
    """A number that equal n-grams share."""
    later: NDArray[np.bool_]
    """Whether the n-gram has occurred before."""


def repeated(hashes: Hashes, among: NDArray[np.int64] | None = None) -> Repeated:
    """Find the n-grams that occur more than once; `among`: the only possible starts, in order."""
    some = hashes if among is None else hashes[among[among < len(hashes)]]
    order = np.argsort(some)
    same = _same_as_before(some[order])
    starts = np.sort(order[same[:-1] | same[1:]])  # few from here on
    if among is not None:
        starts = among[starts]
    order = np.argsort(hashes[starts], kind="stable")
    same = _same_as_before(hashes[starts][order])[:-1]
    runs, later = np.empty_like(starts), np.empty_like(same)
    runs[order], later[order] = np.cumsum(~same), same
    return Repeated(starts, runs, later)


def _same_as_before(ordered: Hashes) -> NDArray[np.bool_]:
    """Whether each element equals the one before it, bool [n + 1]; the last is False."""
    same = np.zeros(len(ordered) + 1, dtype=bool)
    np.equal(ordered[1:], ordered[:-1], out=same[1:-1])
    return same


def covered(found: Repeated, n: int, ends: NDArray[np.int64]) -> int:
    """Characters inside n-grams that have occurred before: an upper bound for `counted`."""
    begins = found.starts[found.later]
    if not len(begins):
        return 0
    stops = begins + n
    begins = np.maximum(begins, np.concatenate(([0], stops[:-1])))
    return int((ends[stops] - ends[begins]).sum())


def counted(found: Repeated, n: int, ends: NDArray[np.int64]) -> int:
    """Repeated characters as Gopher's filter counts them: left to right, skipping each repeated n-gram as a whole."""
    seen = [False] * (int(found.runs.max(initial=0)) + 1)
    total = following = 0
    for start, run in zip(found.starts.tolist(), found.runs.tolist(), strict=True):
        if start < following:
            continue
        if seen[run]:
            following = start + n
            total += int(ends[following] - ends[start])
        else:
            seen[run] = True
    return total
