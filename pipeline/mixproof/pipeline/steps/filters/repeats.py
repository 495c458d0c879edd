"""Repeated word n-grams of a document, by arithmetic on arrays.

The hash of an n-gram's letters is the difference of two prefix sums (mod 2^64), so hashing all n-grams takes a few
passes over an array, and sorting the hashes brings equal n-grams together. In a long text they are sorted in classes of
equal top bits, so memory is bounded by about 40 bytes per word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.steps.segmentation.splitter import Words
from mixproof.pipeline.steps.segmentation.vocabulary import BASE, INVERSE, powers

Hashes = NDArray[np.uint64]
Starts = NDArray[np.int64] | NDArray[np.uint32]
Ends = NDArray[np.int64] | NDArray[np.int32]
_MIX = np.uint64(0xD1342543DE82EF95)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_FEW = 16
LISTED = 1 << 16
"""N-grams that are Python integers at once."""
LONG_WORDS = 1 << 20
"""N-grams that are sorted at once."""


def ends_of(words: Words) -> Ends:
    """End of each word in the text without white space, in characters, with a 0 before the first: [words + 1]."""
    ends = np.zeros(len(words) + 1, dtype=np.int64)
    words.vocabulary.lengths[words.ids].cumsum(out=ends[1:])
    return ends if ends[-1] > np.iinfo(np.int32).max else ends.astype(np.int32)


class LetterHashes:
    """Hashes of n-grams by their letters without white space."""

    def __init__(self, words: Words) -> None:
        lengths = words.vocabulary.lengths[words.ids]
        longest = int(lengths.max(initial=0))
        self._prefix = np.zeros(len(words) + 1, dtype=np.uint64)
        forward = np.ones(len(words) + 1, dtype=np.uint64)
        self._back = np.ones(len(words) + 1, dtype=np.uint64)
        np.cumprod(powers(longest)[lengths], out=forward[1:])
        forward[:-1] *= words.vocabulary.hashes[words.ids]
        np.cumsum(forward[:-1], out=self._prefix[1:])
        del forward
        np.cumprod(powers(longest, INVERSE)[lengths], out=self._back[1:])

    def of(self, n: int) -> Hashes:
        """The hash of each n-gram, by the index of its first word."""
        hashes: Hashes = self._prefix[n:] - self._prefix[:-n]
        hashes *= self._back[:-n]
        return hashes


assert BASE * INVERSE % 2**64 == 1


class WordHashes:
    """Hashes of n-grams by their words, by the index of the first word: a polynomial of the ids, mod 2^64."""

    def __init__(self, words: Words) -> None:
        self._ids = words.ids
        self._n = 1
        self._hashes: Hashes = self._ids.astype(np.uint64)

    def of(self, n: int) -> Hashes:
        """The hash of each n-gram, made from the next shorter ones; valid until the next call."""
        if n < self._n:
            self._n, self._hashes = 1, self._ids.astype(np.uint64)
        while self._n < n:
            self._hashes = self._hashes[:-1]
            self._hashes *= _MIX
            self._hashes += self._ids[self._n :].astype(np.uint64)
            self._n += 1
        return self._hashes


def top_count(hashes: Hashes) -> tuple[int, Hashes]:
    """The count of the most frequent hash, and all hashes with that count."""
    ordered = np.sort(hashes)
    most, tops, start = 0, [ordered[:0]], 0
    while start < len(ordered):
        end = min(start + LONG_WORDS, len(ordered))
        end = int(np.searchsorted(ordered, ordered[end - 1], side="right"))  # equal hashes stay together
        block = ordered[start:end]
        lasts = np.flatnonzero(~_same_as_before(block)[1:])
        counts = np.diff(lasts, prepend=-1)
        largest = int(counts.max())
        if largest > most:
            most, tops = largest, []
        if largest == most:
            tops.append(block[lasts[counts == most]])
        start = end
    return most, np.concatenate(tops)


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

    starts: Starts
    """Index of each one's first word."""
    runs: Starts
    """A number that equal n-grams share."""
    later: NDArray[np.bool_]
    """Whether the n-gram has occurred before."""


def repeated(hashes: Hashes, among: Starts | None = None) -> Repeated:
    """Find the n-grams that occur more than once; `among`: the only possible starts, in order."""
    if len(hashes) > LONG_WORDS:
        return _repeated_of_many(hashes, among)
    some = hashes if among is None else hashes[among[among < len(hashes)]]
    order = np.argsort(some)
    same = _same_as_before(some[order])
    starts: Starts = np.sort(order[same[:-1] | same[1:]])  # few from here on
    if among is not None:
        starts = among[starts]
    order = np.argsort(hashes[starts], kind="stable")
    same = _same_as_before(hashes[starts][order])[:-1]
    runs, later = np.empty_like(starts), np.empty_like(same)
    runs[order], later[order] = np.cumsum(~same), same
    return Repeated(starts, runs, later)


def _repeated_of_many(hashes: Hashes, among: Starts | None) -> Repeated:
    """The same for a long text: classes of hashes with equal top bits, one after the other."""
    shift = np.uint64(64 - (len(hashes) // LONG_WORDS).bit_length())
    possible = None
    if among is not None:
        possible = np.zeros(len(hashes), np.bool_)
        possible[among[among < len(hashes)]] = True
    run_of, later = np.zeros(len(hashes), np.uint32), np.zeros(len(hashes), np.bool_)
    spread = (hashes * _SPREAD) >> shift  # the last word of an n-gram is in the low bits only
    runs = 1
    for number in range(1 << (64 - int(shift))):
        of_class = spread == number
        starts = np.flatnonzero(of_class if possible is None else of_class & possible)
        del of_class
        order = np.argsort(hashes[starts], kind="stable")
        starts = starts[order]
        del order
        same = _same_as_before(hashes[starts])
        later[starts] = same[:-1]
        is_repeated = same[:-1] | same[1:]
        numbers = np.cumsum(~same[:-1], dtype=np.uint32)
        run_of[starts[is_repeated]] = numbers[is_repeated] + np.uint32(runs)
        runs += int(numbers[-1]) + 1 if len(numbers) else 0
    del spread
    found = np.flatnonzero(run_of).astype(np.uint32)
    return Repeated(found, run_of[found], later[found])


def _same_as_before(ordered: Hashes) -> NDArray[np.bool_]:
    """Whether each element equals the one before it, bool [n + 1]; the last is False."""
    same = np.zeros(len(ordered) + 1, dtype=bool)
    np.equal(ordered[1:], ordered[:-1], out=same[1:-1])
    return same


def covered(found: Repeated, n: int, ends: Ends) -> int:
    """Characters inside n-grams that have occurred before: an upper bound for `counted`."""
    begins = found.starts[found.later]
    total = stop = 0
    for first in range(0, len(begins), LONG_WORDS):
        some = begins[first : first + LONG_WORDS].astype(np.int64)
        stops = some + n
        total += int((ends[stops] - ends[np.maximum(some, np.concatenate(([stop], stops[:-1])))]).sum(dtype=np.int64))
        stop = int(stops[-1])
    return total


def counted(found: Repeated, n: int, ends: Ends) -> int:
    """Repeated characters as Gopher's filter counts them: left to right, skipping each repeated n-gram as a whole."""
    seen = bytearray(int(found.runs.max(initial=0)) + 1)
    total = following = 0
    for first in range(0, len(found.starts), LISTED):
        some = slice(first, first + LISTED)
        for start, run in zip(found.starts[some].tolist(), found.runs[some].tolist(), strict=True):
            if start < following:
                continue
            if seen[run]:
                following = start + n
                total += int(ends[following]) - int(ends[start])
            else:
                seen[run] = 1
    return total
