"""An inverted index from hashes to lists of numbers, with a bit set in front of it that answers nearly all lookups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ngrams import mixed, ranges

FILTER_BITS_PER_KEY = 16


@dataclass(frozen=True)
class Postings:
    """An inverted index from hashes to lists of numbers. Hashes with equal lists share one."""

    keys: NDArray[np.uint64]
    """The distinct hashes, ascending: uint64 [keys]."""
    lists: NDArray[np.int64]
    """Number of each hash's list: int64 [keys]."""
    offsets: NDArray[np.int64]
    """int64 [lists + 1]: list i is `items[offsets[i]:offsets[i + 1]]`."""
    items: NDArray[np.int64]
    """Ascending in each list: int64 [items of all lists]."""
    bits: NDArray[np.uint8]
    """A bit set over the highest bits of hashes; a 0 means that no hash in the index starts with these bits."""

    def lookup(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find `hashes` in the index: ascending indices into `hashes`, and the index into `keys` of each."""
        heads = hashes >> np.uint64(62 - len(self.bits).bit_length())
        marks = self.bits[(heads >> np.uint64(3)).astype(np.int64)] >> (heads & np.uint64(7)).astype(np.uint8)
        candidates = np.flatnonzero(marks & np.uint8(1))
        slots = np.searchsorted(self.keys, hashes[candidates])
        found = slots < len(self.keys)
        found[found] = self.keys[slots[found]] == hashes[candidates[found]]
        return candidates[found], slots[found]

    def items_of(self, lists: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the items of each of `lists`, concatenated, and how many each has."""
        counts = self.offsets[lists + 1] - self.offsets[lists]
        return self.items[ranges(self.offsets[lists], counts)], counts

    @property
    def keys_of_items(self) -> NDArray[np.int64]:
        """Return for each of `items` how many hashes share its list, int64 [items]."""
        return np.repeat(np.bincount(self.lists, minlength=len(self.offsets) - 1), np.diff(self.offsets))


def make_postings(hashes: NDArray[np.uint64], items: NDArray[np.int64]) -> Postings:
    """Index pairs of a hash and a number; duplicate pairs count once."""
    if np.any(items[1:] < items[:-1]):
        by_item = np.argsort(items, kind="stable")
        hashes, items = hashes[by_item], items[by_item]
    order = np.argsort(hashes, kind="stable")
    hashes, items = hashes[order], items[order].astype(np.int64)
    is_new = np.ones(len(hashes), dtype=np.bool_)
    is_new[1:] = (hashes[1:] != hashes[:-1]) | (items[1:] != items[:-1])
    hashes, items = hashes[is_new], items[is_new]
    begins = np.ones(len(hashes), dtype=np.bool_)
    begins[1:] = hashes[1:] != hashes[:-1]
    keys, starts = hashes[begins], np.flatnonzero(begins)
    lengths = np.diff(np.append(starts, len(hashes)))
    lists, firsts = _same_lists(items, starts, lengths)
    offsets = np.append(0, np.cumsum(lengths[firsts])).astype(np.int64)
    log_bits = max(6, (FILTER_BITS_PER_KEY * len(keys)).bit_length())
    marks = np.zeros(1 << log_bits, dtype=np.bool_)
    marks[(keys >> np.uint64(64 - log_bits)).astype(np.int64)] = True
    shared = items[ranges(starts[firsts], lengths[firsts])]
    return Postings(keys, lists, offsets, shared, np.packbits(marks, bitorder="little"))


def _same_lists(
    items: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number lists so that equal lists have the same number; also return the first list with each number.

    Lists are taken as equal when their lengths and the sums of their items' 64-bit hashes are equal.
    """
    if not len(starts):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(mixed(items.astype(np.uint64) + np.uint64(1)), starts)
        sums += mixed(lengths.astype(np.uint64))
    _, firsts, lists = np.unique(sums, return_index=True, return_inverse=True)
    return lists.astype(np.int64), firsts
