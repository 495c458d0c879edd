"""Which documents overlap with a set of texts: an exhaustive, two-sided search over word n-grams.

Texts and documents are seen as sets of distinct word n-grams (words: see `ngrams`). One that is shorter
than n words is a single gram, all of its words, and is held by what has these words in a row. A document
overlaps with a text when it holds at least `overlap` of the text's grams, or the text holds at least
`overlap` of the document's. Below SHORT_WORDS words a run says nothing ('see below', `import os`), so a
text or document as short as that overlaps only with one of the very same words.

Every n-gram of every document is looked up in an inverted index of the texts (the small side), so no pair
is missed, as LSH would; only equal 64-bit hashes of different n-grams could add one. A bit set in front
of the index answers nearly all lookups. Short texts are found by their first SHORT_WORDS words in the
document, short documents likewise in the texts, and then compared word by word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .ngrams import Ragged, ranges, whole_hashes, window_hashes, word_hashes

SHORT_WORDS = 5
"""Words that a text shorter than n must have at least to be looked for inside of others."""

FILTER_BITS_PER_KEY = 16


@dataclass(frozen=True)
class Postings:
    """An inverted index: for each of some hashes a list of numbers."""

    keys: NDArray[np.uint64]
    """The distinct hashes, rising: uint64 [keys]."""
    offsets: NDArray[np.int64]
    """int64 [keys + 1]: hash i has `items[offsets[i]:offsets[i + 1]]`."""
    items: NDArray[np.int64]
    """int64 [pairs], rising for each hash."""
    bits: NDArray[np.uint8]
    """A bit set over the hashes' highest bits; bit 0 says that no hash of the index begins like this."""

    def lookup(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where `hashes` are in the index: places in `hashes`, rising, and the places in `keys` they have."""
        heads = hashes >> np.uint64(62 - len(self.bits).bit_length())
        marks = self.bits[(heads >> np.uint64(3)).astype(np.int64)] >> (heads & np.uint64(7)).astype(np.uint8)
        places = np.flatnonzero(marks & np.uint8(1))
        slots = np.searchsorted(self.keys, hashes[places])
        found = slots < len(self.keys)
        found[found] = self.keys[slots[found]] == hashes[places[found]]
        return places[found], slots[found]

    def items_of(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The items of each of `slots`, one list after another, and how many each has."""
        counts = self.offsets[slots + 1] - self.offsets[slots]
        return self.items[ranges(self.offsets[slots], counts)], counts


def make_postings(hashes: NDArray[np.uint64], items: NDArray[np.int64]) -> Postings:
    """Index pairs of a hash and a number; equal pairs count once."""
    order = np.lexsort((items, hashes))
    hashes, items = hashes[order], items[order]
    fresh = np.ones(len(hashes), dtype=np.bool_)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (items[1:] != items[:-1])
    hashes, items = hashes[fresh], items[fresh]
    begins = np.ones(len(hashes), dtype=np.bool_)
    begins[1:] = hashes[1:] != hashes[:-1]
    keys = hashes[begins]
    offsets = np.append(np.flatnonzero(begins), len(hashes)).astype(np.int64)
    log_bits = max(6, (FILTER_BITS_PER_KEY * len(keys)).bit_length())
    marks = np.zeros(1 << log_bits, dtype=np.bool_)
    marks[(keys >> np.uint64(64 - log_bits)).astype(np.int64)] = True
    return Postings(keys, offsets, items.astype(np.int64), np.packbits(marks, bitorder="little"))


@dataclass(frozen=True)
class OverlapIndex:
    """The texts to protect, indexed."""

    ngram: int
    protected: int
    """The first so many texts come before the others when a document overlaps with both."""
    words: Ragged
    """Every text's words."""
    sizes: NDArray[np.int64]
    """Distinct grams of each text; 0 for one without words: int64 [texts]."""
    grams: Postings
    """Each n-gram's texts."""
    heads: Postings
    """Of texts shorter than n: the first SHORT_WORDS words' texts."""
    anchors: Postings
    """Every SHORT_WORDS words in a row: their places in `words.values`."""
    wholes: Postings
    """Of texts shorter than SHORT_WORDS: all words' texts."""


@dataclass(frozen=True)
class Match:
    """A document's overlap with the text that it overlaps with most."""

    text: int
    """Number of the text in the index."""
    shared: int
    """Distinct grams that both have."""
    text_grams: int
    document_grams: int

    @property
    def share(self) -> Fraction:
        """The larger of the two shares held."""
        return Fraction(self.shared, min(self.text_grams, self.document_grams))


def build_index(texts: Sequence[str], ngram: int, protected: int) -> OverlapIndex:
    """Index `texts` by their word n-grams."""
    words = word_hashes(texts)
    short = min(SHORT_WORDS, ngram)
    numbers = np.arange(len(texts), dtype=np.int64)
    windows = window_hashes(words, ngram)
    grams = make_postings(windows.values, np.repeat(numbers, windows.lengths))
    lengths = words.lengths
    sizes = np.bincount(grams.items, minlength=len(texts)).astype(np.int64)
    sizes[(lengths > 0) & (lengths < ngram)] = 1
    middling = numbers[(lengths >= short) & (lengths < ngram)]
    anchors = window_hashes(words, short)
    places = ranges(words.offsets[:-1], anchors.lengths)
    return OverlapIndex(
        ngram=ngram,
        protected=protected,
        words=words,
        sizes=sizes,
        grams=grams,
        heads=make_postings(whole_hashes(words, middling, short), middling),
        anchors=make_postings(anchors.values, places),
        wholes=make_postings(*_wholes(words, short)),
    )


def find_overlaps(index: OverlapIndex, documents: Sequence[str], overlap: Fraction) -> dict[int, Match]:
    """Find the documents that overlap with a text of the index, each with its strongest match.

    Of the texts that a document overlaps with the first `protected` come first, then the largest share
    counts, then the smallest number.
    """
    words = word_hashes(documents)
    best: dict[int, Match] = {}
    for search in (_by_grams, _texts_inside, _inside_texts, _same_words):
        for document, match in search(index, words, overlap):
            if document not in best or _rank(index, match) < _rank(index, best[document]):
                best[document] = match
    return best


def _rank(index: OverlapIndex, match: Match) -> tuple[bool, Fraction, int]:
    return match.text >= index.protected, -match.share, match.text


def _by_grams(index: OverlapIndex, words: Ragged, overlap: Fraction) -> Iterator[tuple[int, Match]]:
    """Documents and texts of n words or more, by the n-grams that they share."""
    windows = window_hashes(words, index.ngram)
    places, slots = index.grams.lookup(windows.values)
    owners = np.searchsorted(windows.offsets, places, side="right") - 1
    documents, begins = np.unique(owners, return_index=True)
    for document, begin, end in zip(documents.tolist(), begins, [*begins[1:], len(slots)], strict=False):
        mine = slots[begin:end]
        size = len(np.unique(windows.of(document)))
        texts, shared = np.unique(index.grams.items_of(np.unique(mine))[0], return_counts=True)
        smaller = np.minimum(index.sizes[texts], size)
        over = shared * overlap.denominator >= smaller * overlap.numerator
        for text, count in zip(texts[over].tolist(), shared[over].tolist(), strict=True):
            yield document, Match(text, count, int(index.sizes[text]), size)


def _texts_inside(index: OverlapIndex, words: Ragged, _: Fraction) -> Iterator[tuple[int, Match]]:
    """Texts shorter than n words that a document has in a row."""
    if not len(index.heads.keys):
        return
    windows = window_hashes(words, min(SHORT_WORDS, index.ngram))
    places, slots = index.heads.lookup(windows.values)
    owners = np.searchsorted(windows.offsets, places, side="right") - 1
    for place, slot, document in zip(places.tolist(), slots.tolist(), owners.tolist(), strict=True):
        start = place - int(windows.offsets[document])
        row = words.of(document)
        for text in index.heads.items_of(np.array([slot]))[0].tolist():
            short = index.words.of(text)
            if np.array_equal(row[start : start + len(short)], short):
                grams = window_hashes(Ragged(row, np.array([0, len(row)])), index.ngram).values
                yield document, Match(text, 1, 1, max(1, len(np.unique(grams))))


def _inside_texts(index: OverlapIndex, words: Ragged, _: Fraction) -> Iterator[tuple[int, Match]]:
    """Documents shorter than n words that a text has in a row."""
    least = min(SHORT_WORDS, index.ngram)
    middling = np.flatnonzero((words.lengths >= least) & (words.lengths < index.ngram))
    found, slots = index.anchors.lookup(whole_hashes(words, middling, least))
    for document, slot in zip(middling[found].tolist(), slots.tolist(), strict=True):
        row = words.of(document)
        places = index.anchors.items_of(np.array([slot]))[0]
        texts = np.searchsorted(index.words.offsets, places, side="right") - 1
        fits = places + len(row) <= index.words.offsets[texts + 1]
        places, texts = places[fits], texts[fits]
        same = np.all(index.words.values[places[:, None] + np.arange(len(row))] == row, axis=1)
        for text in np.unique(texts[same]).tolist():
            yield document, Match(text, 1, int(index.sizes[text]), 1)


def _same_words(index: OverlapIndex, words: Ragged, _: Fraction) -> Iterator[tuple[int, Match]]:
    """Documents and texts shorter than SHORT_WORDS words, of the same words."""
    hashes, documents = _wholes(words, min(SHORT_WORDS, index.ngram))
    found, slots = index.wholes.lookup(hashes)
    for document, slot in zip(documents[found].tolist(), slots.tolist(), strict=True):
        for text in index.wholes.items_of(np.array([slot]))[0].tolist():
            yield document, Match(text, 1, 1, 1)


def _wholes(words: Ragged, below: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Of each text with 1 to `below` - 1 words the hash of them all, and the text's number."""
    hashes, texts = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    for length in range(1, below):
        texts.append(np.flatnonzero(words.lengths == length).astype(np.int64))
        hashes.append(whole_hashes(words, texts[-1], length))
    return np.concatenate(hashes), np.concatenate(texts)
