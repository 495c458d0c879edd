"""The features of texts in fastText: the words of its dictionary, and hashed pairs of neighbouring words.

As in fastText's `dictionary.cc` for supervised models with `wordNgrams=2` and without subwords: words are separated by
ASCII white space and NUL, `</s>` ends a text, and words that begin like a label do not count. A pair is hashed from the
FNV-1a hashes of both, whether they are in the dictionary or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .word_keys import WordKeys, word_keys

BUCKETS = 1 << 20
MIN_COUNT = 2
"""A word is in the dictionary if it occurs this often."""
END = b"</s>"
LABEL = b"__label__"
PAIR_FACTOR = 116049371


@dataclass(frozen=True)
class Dictionary:
    """The words of a model, the most frequent first."""

    words: tuple[bytes, ...]
    counts: tuple[int, ...]
    tokens: int
    """Words of all texts, with repetitions."""


@dataclass(frozen=True)
class Features:
    """The different features of each text, and how often it has them."""

    bounds: NDArray[np.int64]
    """[texts + 1]: those of text i are at `bounds[i]:bounds[i + 1]`."""
    ids: NDArray[np.int32]
    """Below the number of words: a word; else a pair."""
    counts: NDArray[np.int64]


def find_features(texts: Sequence[str]) -> tuple[Dictionary, Features]:
    """Make the dictionary of some texts, and find their features."""
    index: defaultdict[bytes, int] = defaultdict()
    index.default_factory = index.__len__
    rows = [np.fromiter(map(index.__getitem__, words_of(text)), np.int64) for text in texts]
    known = list(index)
    occurrences = np.bincount(np.concatenate([np.zeros(0, np.int64), *rows]), minlength=len(known))
    order = sorted(range(len(known)), key=lambda number: (-occurrences[number], known[number]))
    kept = [number for number in order if occurrences[number] >= MIN_COUNT]
    id_of = np.full(len(known), -1, np.int64)
    id_of[kept] = np.arange(len(kept))
    dictionary = Dictionary(
        tuple(known[number] for number in kept),
        tuple(int(occurrences[number]) for number in kept),
        int(occurrences.sum()),
    )
    hashes = word_keys_of(known).hashes
    found = [_features(row, id_of, hashes, len(kept)) for row in rows]
    bounds = np.concatenate([[0], np.cumsum([len(ids) for ids, _ in found])]).astype(np.int64)
    ids = np.concatenate([np.zeros(0, np.int32), *(ids for ids, _ in found)])
    return dictionary, Features(bounds, ids, np.concatenate([np.zeros(0, np.int64), *(each for _, each in found)]))


def words_of(text: str) -> Iterator[bytes]:
    """The words of a text as fastText reads a line, with the end of the line."""
    for word in text.encode().replace(b"\0", b" ").split():
        if word == END:
            break
        if not word.startswith(LABEL):
            yield word
    yield END


def word_keys_of(words: Sequence[bytes]) -> WordKeys:
    """The hashes of some words."""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    return word_keys(np.frombuffer(b"".join(words), np.uint8), np.cumsum(lengths) - lengths, lengths)


def _features(
    row: NDArray[np.int64], id_of: NDArray[np.int64], hashes: NDArray[np.int32], words: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    single = id_of[row]
    signed = hashes[row].astype(np.int64).view(np.uint64)
    pairs = (signed[:-1] * np.uint64(PAIR_FACTOR) + signed[1:]) % np.uint64(BUCKETS)
    every = np.concatenate([single[single >= 0], words + pairs.astype(np.int64)])
    ids, counts = np.unique(every, return_counts=True)
    return ids.astype(np.int32), counts.astype(np.int64)
