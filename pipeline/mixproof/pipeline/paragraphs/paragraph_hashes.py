"""Paragraphs of texts and their hashes: a paragraph is a line, and two are equal when their words are.

Words are those of `words/words.py`, so case, punctuation and white space do not matter; digits and accents do. A
paragraph with fewer than `min_words` words is not hashed and always stays. A hash has 128 bits: two sums over its
words, each mixed with its position, so that a batch of texts takes a few array passes and no loop over strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.read.texts import iter_texts
from mixproof.pipeline.words.ngrams import mixed
from mixproof.pipeline.words.words import LONG_BYTES, word_hashes_of_utf8

STAGE = "paragraphs"
VERSION = 1
PARAGRAPHS = "paragraphs.npy"
"""PARAGRAPH_DTYPE, sorted by hash, row and paragraph."""

PARAGRAPH_DTYPE = np.dtype([("high", "<u8"), ("low", "<u8"), ("row", "<u4"), ("paragraph", "<u4")])
"""A paragraph: the halves of its hash, its document's row in the shard, its index in the document from 0."""

NEWLINE = ord("\n")
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


@dataclass(frozen=True)
class Paragraphs:
    """The paragraphs of a batch of texts, in order."""

    texts: NDArray[np.int64]
    """int64 [paragraphs], the index of the text that each belongs to."""
    indices: NDArray[np.int64]
    """int64 [paragraphs], from 0 within each text."""
    words: NDArray[np.int64]
    """int64 [paragraphs], number of words in each."""
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    """The halves of each hash, uint64 [paragraphs]; 0 for a paragraph without words."""


def paragraphs_of(data: bytes, offsets: NDArray[np.int64]) -> Paragraphs:
    """Find and hash the paragraphs of concatenated texts.

    A newline at the end of a text does not start another paragraph, and an empty text has none.

    Args:
        data: UTF-8.
        offsets: int64 [texts + 1]; text i is `data[offsets[i]:offsets[i + 1]]`.
    """
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == NEWLINE)
    bounds = np.union1d(offsets, newlines + 1)
    firsts = np.searchsorted(bounds, offsets)
    counts = np.diff(firsts)
    words = word_hashes_of_utf8(data, bounds)
    lengths = words.lengths
    with_words = np.flatnonzero(lengths)
    starts = words.offsets[:-1][with_words]
    within = (np.arange(len(words.values)) - np.repeat(starts, lengths[with_words])).astype(np.uint64)
    halves = []
    for factor in _FACTORS:
        half = np.zeros(len(lengths), dtype=np.uint64)
        if len(with_words):
            half[with_words] = mixed(np.add.reduceat(mixed(words.values * factor + within * _FACTORS[0]), starts))
        halves.append(half)
    return Paragraphs(
        texts=np.repeat(np.arange(len(counts)), counts),
        indices=np.arange(len(bounds) - 1) - np.repeat(firsts[:-1], counts),
        words=lengths,
        high=halves[0],
        low=halves[1],
    )


def hash_shards(store: Store, min_words: int, shards: Sequence[tuple[str, str]]) -> None:
    """Write the sorted paragraphs of shards, given as (key, folder)."""
    for key, folder in shards:
        table = _table(store, folder, min_words)
        with store.attempt(STAGE, key) as attempt:
            with attempt.path(PARAGRAPHS).open("wb") as file:
                np.save(file, table, allow_pickle=False)
            attempt.commit(facts={"paragraphs": len(table)})


def line_blocks(data: bytes) -> Iterator[bytes]:
    """Yield a long text in blocks of whole lines, of LONG_BYTES up to the next newline; shorter data as it is."""
    start = 0
    while len(data) - start > LONG_BYTES:
        end = data.find(b"\n", start + LONG_BYTES) + 1
        if not end:
            break
        yield data[start:end]
        start = end
    if start < len(data) or not data:
        yield data[start:] if start else data


def _table(store: Store, folder: str, min_words: int) -> NDArray[Any]:
    parts, row = [np.empty(0, dtype=PARAGRAPH_DTYPE)], 0
    for data, bounds in iter_texts(store, folder):
        paragraph = 0
        for block in line_blocks(data):
            found = paragraphs_of(block, bounds if len(block) == len(data) else np.array([0, len(block)]))
            long = np.flatnonzero(found.words >= min_words)
            part = np.empty(len(long), dtype=PARAGRAPH_DTYPE)
            part["high"], part["low"] = found.high[long], found.low[long]
            part["row"], part["paragraph"] = row + found.texts[long], paragraph + found.indices[long]
            parts.append(part)
            paragraph += len(found.indices)
        row += len(bounds) - 1
    table = np.concatenate(parts)
    ordered: NDArray[Any] = table[np.lexsort((table["low"], table["high"]))]  # stable: row and paragraph ascend
    return ordered
