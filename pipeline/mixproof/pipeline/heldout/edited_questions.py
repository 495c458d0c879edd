"""Short evaluation texts of which some words were changed, found by aligning words.

A question of eight words has four 5-grams, and one changed word in its middle breaks them all; shorter n-grams alone
find common phrases. So texts of LEAST_WORDS to MOST_WORDS words are aligned with documents: where two of a text's
3-grams occur about as far apart as in the text, the longest common subsequence of the text and the words around them is
found. The document contains the text if at least SHARE of the text's words are there, in order, among a quarter more
words. 3-grams of more than `most_texts` texts say nothing, and words that are only in ignored n-grams do not count.

The length of a longest common subsequence is counted in the bits of one integer (Hyyrö 2004, "Bit-parallel LCS-length
computation revisited").
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.words.ngrams import Ragged, one_row, ranges, window_hashes
from mixproof.pipeline.words.postings import Postings, make_postings

from .overlap import Match, OverlapIndex, found_windows

LEAST_WORDS, MOST_WORDS = 7, 24
"""Shorter texts are found whole; in longer ones enough 5-grams are left."""
SHARE = Fraction(3, 4)
WIDTH = 3
APART = 3
"""Two 3-grams belong to one copy if at most this many words were inserted or deleted between them."""


def index_edited(index: OverlapIndex, most_texts: int) -> Postings:
    """Index the 3-grams of short texts: by their hashes, where they begin in `index.words.values`."""
    windows = window_hashes(index.words, WIDTH)
    starts = ranges(index.words.offsets[:-1], windows.lengths)
    texts = np.repeat(np.arange(len(index.words), dtype=np.int64), windows.lengths)
    by_text = make_postings(windows.values, texts)
    texts_with = np.diff(by_text.offsets)[by_text.lists]
    _, keys = by_text.lookup(windows.values)
    lengths = index.words.lengths[texts]
    kept = (texts_with[keys] <= most_texts) & (lengths >= LEAST_WORDS) & (lengths <= MOST_WORDS)
    return make_postings(windows.values[kept], starts[kept])


def find_edited(index: OverlapIndex, triples: Postings, words: Ragged) -> Iterator[tuple[int, Match]]:
    """Find the documents that contain short texts of which some words were changed.

    Args:
        index: the texts; those with fewer than LEAST_WORDS words that count are not looked for.
        triples: from `index_edited`.
        words: of the documents.

    Yields:
        A document and the best alignment of a text with it, counted in words.
    """
    counted: dict[int, list[int]] = {}
    masks: dict[int, dict[int, int]] = {}
    best: dict[tuple[int, int], int] = {}
    texts, shifts, starts = _candidates(index, triples, words)
    documents = words.owners(starts)
    for text, shift, document in zip(texts.tolist(), shifts.tolist(), documents.tolist(), strict=True):
        if text not in counted:
            counted[text] = _words_that_count(index, text)
            masks[text] = _masks(counted[text])
        length = len(counted[text])
        if length < LEAST_WORDS or best.get((document, text), 0) == length:
            continue
        first, end = (index.words.offsets[text : text + 2] + shift).tolist()
        around = max(2, (end - first) // 4)
        lowest, highest = words.offsets[document : document + 2].tolist()
        window = words.values[max(lowest, first - around) : min(highest, end + around)]
        shared = _in_order(masks[text], length, window.tolist())
        if shared >= SHARE * length:
            best[document, text] = max(shared, best.get((document, text), 0))
    for (document, text), shared in sorted(best.items()):
        yield document, Match(text, shared, len(counted[text]), int(words.lengths[document]), by_words=True)


def _candidates(
    index: OverlapIndex, triples: Postings, words: Ragged
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Texts two of whose 3-grams are near each other in a document.

    Returns:
        The text, how far its words are from their indices in `index.words.values`, and where the first 3-gram starts
        in `words.values`: each int64 [candidates].
    """
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for starts, keys in found_windows(triples, words, WIDTH):
        positions, counts = triples.items_of(triples.lists[keys])
        found.append((np.repeat(starts, counts), positions))
    starts, positions = (np.concatenate(parts) for parts in zip(*found, strict=True))
    texts, shifts = index.words.owners(positions), starts - positions
    order = np.lexsort((starts, shifts, texts))
    starts, texts, shifts = starts[order], texts[order], shifts[order]
    is_near = (texts[1:] == texts[:-1]) & (np.diff(shifts) <= APART) & (starts[1:] != starts[:-1])
    first = np.flatnonzero(is_near)
    is_new = np.ones(len(first), np.bool_)
    is_new[1:] = (np.diff(texts[first]) != 0) | (np.diff(shifts[first]) != 0)
    first = first[is_new]
    return texts[first], shifts[first], starts[first]


def _words_that_count(index: OverlapIndex, text: int) -> list[int]:
    """The words of a text, without those that are only in ignored n-grams."""
    row = np.asarray(index.words.of(text))
    if len(row) < index.ngram:
        return list(map(int, row)) if index.sizes[text] else []
    counts = ~np.isin(window_hashes(one_row(row), index.ngram).values, index.ignored)
    is_in = np.convolve(counts, np.ones(index.ngram, np.int64)) > 0
    return list(map(int, row[is_in]))


def _masks(text: list[int]) -> dict[int, int]:
    """For each word of a text, the bits of the positions where it occurs."""
    masks: dict[int, int] = {}
    for position, word in enumerate(text):
        masks[word] = masks.get(word, 0) | 1 << position
    return masks


def _in_order(masks: dict[int, int], length: int, window: list[int]) -> int:
    """The length of the longest common subsequence of a text, given by its masks, and a window."""
    every = (1 << length) - 1
    open_bits = every
    for word in window:
        mask = masks.get(word)
        if mask is not None:
            matched = open_bits & mask
            open_bits = ((open_bits + matched) | (open_bits - matched)) & every
    return length - open_bits.bit_count()
