"""Runs of words that a document repeats, by arithmetic on arrays.

The letters of a run of words hash to a difference of two prefix sums (mod 2^64), so all runs of n words cost a few
passes over an array, and equal ones stand together once the hashes are sorted.
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
    """Give the place of each word's end in the text without white space, with a 0 before the first."""
    ends = np.zeros(len(words) + 1, dtype=np.int64)
    words.vocabulary.lengths[words.ids].cumsum(out=ends[1:])
    return ends


class LetterHashes:
    """Hashes of the letters of runs of words, white space left out."""

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
        """Give the hash of each run of n words, by where it begins."""
        return (self._prefix[n:] - self._prefix[:-n]) * self._back[:-n]


assert BASE * INVERSE % 2**64 == 1


class WordHashes:
    """Hashes of runs of words as words, by where a run begins."""

    def __init__(self, words: Words) -> None:
        self._of = {1: words.ids.astype(np.uint64)}

    def of(self, n: int) -> Hashes:
        """Give the hash of each run of n words, made of those of halves."""
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
    """Count the most frequent hash, and give all that are as frequent."""
    ordered = np.sort(hashes)
    lasts = np.flatnonzero(~_same_as_before(ordered)[1:])
    counts = lasts.copy()
    counts[1:] -= lasts[:-1]
    counts[0] += 1
    most = int(counts.max())
    return most, ordered[lasts[counts == most]]


def first_of(hashes: Hashes, wanted: Hashes) -> int:
    """Find the first place that holds one of the hashes."""
    if len(wanted) <= _FEW:
        return min(int((hashes == one).argmax()) for one in wanted)
    return int(np.isin(hashes, wanted).argmax())


def any_as_often(hashes: Hashes, times: int) -> bool:
    """Whether some hash occurs that many times, or more."""
    if times > len(hashes):
        return False
    ordered = np.sort(hashes)
    return bool(np.count_nonzero(ordered[times - 1 :] == ordered[: len(ordered) - times + 1]))


def count_again(hashes: Hashes) -> int:
    """Count the places whose hash stands at an earlier place as well."""
    ordered = np.sort(hashes)
    return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


@dataclass(frozen=True)
class Repeated:
    """The places of runs that occur more than once, in order, and which run each is."""

    places: NDArray[np.int64]
    runs: NDArray[np.int64]
    later: NDArray[np.bool_]
    """Whether the run has occurred before."""


def repeated(hashes: Hashes, among: NDArray[np.int64] | None = None) -> Repeated:
    """Find the runs that occur more than once; `among`: places outside which no run does, in order."""
    some = hashes if among is None else hashes[among[among < len(hashes)]]
    order = np.argsort(some)
    same = _same_as_before(some[order])
    places = np.sort(order[same[:-1] | same[1:]])  # of all members; from here on there are few
    if among is not None:
        places = among[places]
    order = np.argsort(hashes[places], kind="stable")
    same = _same_as_before(hashes[places][order])[:-1]
    runs, later = np.empty_like(places), np.empty_like(same)
    runs[order], later[order] = np.cumsum(~same), same
    return Repeated(places, runs, later)


def _same_as_before(ordered: Hashes) -> NDArray[np.bool_]:
    """Say of each element whether it equals the one before it; one more at the end, which does not."""
    same = np.zeros(len(ordered) + 1, dtype=bool)
    np.equal(ordered[1:], ordered[:-1], out=same[1:-1])
    return same


def covered(found: Repeated, n: int, ends: NDArray[np.int64]) -> int:
    """Count the characters inside runs that have occurred before: at least as many as any way of counting gives."""
    begins = found.places[found.later]
    if not len(begins):
        return 0
    stops = begins + n
    begins = np.maximum(begins, np.concatenate(([0], stops[:-1])))
    return int((ends[stops] - ends[begins]).sum())


def counted(found: Repeated, n: int, ends: NDArray[np.int64]) -> int:
    """Count repeated characters as Gopher's filter does: left to right, a repeated run is stepped over whole."""
    seen = [False] * (int(found.runs.max(initial=0)) + 1)
    total = following = 0
    for place, run in zip(found.places.tolist(), found.runs.tolist(), strict=True):
        if place < following:
            continue
        if seen[run]:
            following = place + n
            total += int(ends[following] - ends[place])
        else:
            seen[run] = True
    return total
