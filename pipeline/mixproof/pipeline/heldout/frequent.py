"""N-grams that are frequent in a corpus: boilerplate, licences, common quotations. They say nothing about a leak.

A first pass over the training documents counts in how many of them each n-gram of the protected texts occurs, and each
short text. Those that occur in more than the declared number of documents are left out of the index: they count neither
as shared nor as part of a text or a document. A text whose n-grams are all frequent is no longer protected; the
report says how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.words.ngrams import Ragged, hashes_at
from mixproof.pipeline.words.postings import Postings, make_postings

from .overlap import OverlapIndex, found_windows, short_texts_inside


@dataclass(frozen=True)
class Frequencies:
    """In how many documents the n-grams of an index occur, by their index in `grams.keys`, and its short texts."""

    grams: NDArray[np.int64]
    """int64 [keys of `grams`]."""
    texts: NDArray[np.int64]
    """int64 [texts]; 0 for those with at least n words."""

    def __add__(self, other: Frequencies) -> Frequencies:
        return Frequencies(self.grams + other.grams, self.texts + other.texts)


def no_frequencies(index: OverlapIndex) -> Frequencies:
    """Nothing counted yet."""
    return Frequencies(np.zeros(len(index.grams.keys), np.int64), np.zeros(len(index.sizes), np.int64))


def count_documents(index: OverlapIndex, words: Ragged, kept: NDArray[np.bool_]) -> Frequencies:
    """Count in how many documents each n-gram and each short text of an index occurs.

    Args:
        index: the index.
        words: of the documents.
        kept: bool [documents]: which of them count.
    """
    found = no_frequencies(index)
    pairs = [
        np.unique(np.stack([words.owners(starts), slots], axis=1), axis=0)
        for starts, slots in found_windows(index.grams, words, index.ngram)
    ]
    if pairs:
        every = np.unique(np.concatenate(pairs), axis=0)
        np.add.at(found.grams, every[kept[every[:, 0]], 1], 1)
    inside = [text for document, text in short_texts_inside(index, words) if kept[document]]
    np.add.at(found.texts, np.array(inside, np.int64), 1)
    return found


def without_frequent(index: OverlapIndex, found: Frequencies, most: int) -> OverlapIndex:
    """The index without n-grams and short texts that occur in more than `most` documents."""
    grams = index.grams
    is_frequent = found.grams > most
    hashes, texts = _pairs(grams)
    frequent = grams.keys[is_frequent]
    kept = ~np.isin(hashes, frequent)
    lost = np.bincount(texts[~kept], minlength=len(index.sizes))
    sizes = index.sizes - lost
    short = np.flatnonzero(found.texts > most)
    sizes[short] = 0
    return replace(
        index,
        sizes=sizes,
        grams=make_postings(hashes[kept], texts[kept]),
        wholes=_without(index.wholes, _wholes_of(index, short)),
        ignored=np.union1d(np.asarray(index.ignored), frequent),
    )


def _wholes_of(index: OverlapIndex, texts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The hash of all words of each short text."""
    offsets = index.words.offsets
    hashes = [
        hashes_at(index.words.values, offsets[[text]], int(offsets[text + 1] - offsets[text]))
        for text in texts.tolist()
    ]
    return np.concatenate([np.zeros(0, np.uint64), *hashes])


def _without(postings: Postings, keys: NDArray[np.uint64]) -> Postings:
    hashes, items = _pairs(postings)
    kept = ~np.isin(hashes, keys)
    return make_postings(hashes[kept], items[kept])


def _pairs(postings: Postings) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Every pair of a hash and a number that the postings have."""
    items, counts = postings.items_of(np.asarray(postings.lists))
    return np.repeat(np.asarray(postings.keys), counts), items
