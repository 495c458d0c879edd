"""Score texts with the tables of a fastText model, as fastText does, but many texts at a time.

fastText looks up one word after the other. Here all words of some megabytes are found at once: white space is found in
the bytes, equal words get one number (Arrow's dictionary encoding), only different words are hashed and looked up, and
features are gathered and summed in arrays. Probabilities are those of fastText up to rounding: it adds up in 32 bits
and in the order of the features, this module in 64 bits. As fastText does, 0.00001 is added to each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .fasttext_features import END, LABEL, PAIR_FACTOR, word_keys_of
from .fasttext_file import check_unchanged, load_fasttext, predict
from .fasttext_tables import FasttextTables, read_tables
from .word_keys import WordKeys, word_keys

VERSION = 2
"""Of scores; version 1 was fastText's own, which rounds otherwise."""
BATCH_BYTES = 1 << 20
"""Bytes of text that are scored at a time, so that the tables of their words stay in a core's cache."""
ADDED = 1e-5
"""fastText returns exp(log(p + 0.00001))."""
_IS_WORD = np.ones(256, np.bool_)
_IS_WORD[list(b" \n\r\t\v\f\0")] = False
_LINE_END = b"\n" + END + b"\n"
_END_KEY = word_keys_of([END]).identity[0]


@dataclass(frozen=True)
class Scorer:
    """A model, ready to score."""

    tables: FasttextTables
    keys: NDArray[np.uint64]
    """Of the model's words, ascending: uint64 [words]."""
    ids: NDArray[np.int64]
    """The word of each key."""

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The probability of each label: float64 [texts, labels]; NaN for a text without features."""
        found = [self._batch(batch) for batch in _batches(texts)]
        return np.concatenate([np.zeros((0, len(self.tables.labels))), *found])

    def _batch(self, texts: Sequence[bytes]) -> NDArray[np.float64]:
        words = _find_words(texts)
        known = np.searchsorted(self.keys, words.keys.identity)
        known[known == len(self.keys)] = 0
        id_of = np.where(self.keys[known] == words.keys.identity, self.ids[known], -1)
        single = id_of[words.codes]
        is_known = single >= 0
        starts, ends = words.bounds[:-1], words.bounds[1:]
        sums = [_sums(np.where(is_known, table[single], 0), words.bounds) for table in self.tables.scores]
        number = _sums(is_known, words.bounds)
        hashes = words.keys.hashes.astype(np.int64).view(np.uint64)[words.codes]
        mixed = hashes
        for more in range(1, self.tables.ngrams):
            mixed = mixed[:-1] * np.uint64(PAIR_FACTOR) + hashes[more:]
            features = len(self.tables.words) + (mixed % np.uint64(self.tables.buckets)).astype(np.int64)
            inside = _inside(starts, ends, len(hashes), more)
            for label, table in enumerate(self.tables.scores):
                sums[label] += _sums(np.where(inside, table[features], 0), words.bounds)
            number += np.maximum(ends - starts - more, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            logits = np.stack([*sums, np.zeros(len(texts))], axis=1) / number[:, None]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True) + ADDED
        return found


def label_scores(path: str, sha256: str, label: str) -> Callable[[Sequence[str]], list[float | None]]:
    """The function that finds the probability of a label; None for a text without features.

    Raises:
        RequestError: when the model has changed, or has no such label.
    """
    scorer = scorer_of_model(path, sha256)
    if scorer is None or label not in scorer.tables.labels:
        model = load_fasttext(path, sha256, label)
        return lambda texts: [predict(model, text, -1).get(label) for text in texts]
    number = scorer.tables.labels.index(label)
    return lambda texts: _plain(scorer.probabilities(texts)[:, number])


def most_probable(path: str, sha256: str) -> Callable[[Sequence[str]], tuple[list[str | None], list[float | None]]]:
    """The function that finds the most probable label of each text, and its probability.

    Raises:
        RequestError: when the model has changed.
    """
    scorer = scorer_of_model(path, sha256)
    if scorer is None:
        model = load_fasttext(path, sha256, None)
        return lambda texts: most_probable_of(model, texts)
    labels = scorer.tables.labels

    def find(texts: Sequence[str]) -> tuple[list[str | None], list[float | None]]:
        found = scorer.probabilities(texts)
        best = found.argmax(axis=1)
        scores = _plain(found[np.arange(len(found)), best])
        return [None if score is None else labels[b] for b, score in zip(best.tolist(), scores, strict=True)], scores

    return find


def most_probable_of(
    model: Any,  # noqa: ANN401 - fasttext ships no types
    texts: Sequence[str],
) -> tuple[list[str | None], list[float | None]]:
    """The most probable label of each text and its probability, by fastText itself."""
    found = [next(iter(predict(model, text, 1).items()), (None, None)) for text in texts]
    return [value for value, _ in found], [score for _, score in found]


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


def scorer_of_model(path: str, sha256: str) -> Scorer | None:
    """The scorer of a model whose content is known; None for a kind of model that is left to fastText.

    Raises:
        RequestError: when the file has changed.
    """
    check_unchanged(path, sha256)
    return _scorer(path, sha256)


@functools.lru_cache(maxsize=4)
def _scorer(path: str, _sha256: str) -> Scorer | None:
    tables = read_tables(Path(path))
    if tables is None:
        return None
    keys = word_keys_of(tables.words).identity
    order = np.argsort(keys, kind="stable")
    return Scorer(tables, keys[order], order.astype(np.int64))


@dataclass(frozen=True)
class _Words:
    """The words of some texts."""

    keys: WordKeys
    """Of different words."""
    codes: NDArray[np.int64]
    """The number of each word in the texts."""
    bounds: NDArray[np.int64]
    """int64 [texts + 1]: those of text i are at `bounds[i]:bounds[i + 1]`."""


def _batches(texts: Sequence[str]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(text.encode())
        size += len(batch[-1])
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _find_words(texts: Sequence[bytes]) -> _Words:
    """The words of texts, each with the end of a line after it."""
    joined = b"".join(part for text in texts for part in (text, _LINE_END))
    data = np.frombuffer(joined, np.uint8)
    is_word = _IS_WORD[data]
    begins = np.flatnonzero(is_word[1:] > is_word[:-1]) + 1
    begins = np.concatenate([[0], begins]) if is_word[0] else begins
    offsets = np.append(begins, len(joined)).astype(np.int32 if len(joined) < 1 << 31 else np.int64)
    # a word reaches to the next one, so the array has the bytes as they are; white space is cut from different ones
    kind = pa.binary() if offsets.dtype == np.int32 else pa.large_binary()
    array = pa.Array.from_buffers(kind, len(begins), [None, pa.py_buffer(offsets), pa.py_buffer(joined)])
    encoded = array.dictionary_encode()
    _, ends, content = encoded.dictionary.buffers()
    own = np.frombuffer(content, np.uint8)
    starts = np.frombuffer(ends, offsets.dtype)[: len(encoded.dictionary)].astype(np.int64)
    keys = word_keys(own, starts, np.add.reduceat(_IS_WORD[own], starts, dtype=np.int64))
    codes = encoded.indices.to_numpy().astype(np.int64)
    text_ends = np.cumsum([len(text) + len(_LINE_END) for text in texts])
    bounds = np.searchsorted(begins, np.concatenate([[0], text_ends])).astype(np.int64)
    words = _Words(keys, codes, bounds)
    is_end = keys.identity == _END_KEY
    labels = [
        number
        for number in np.flatnonzero(own[starts] == LABEL[0]).tolist()
        if own[starts[number] :][: len(LABEL)].tobytes() == LABEL
    ]
    if labels or np.count_nonzero(is_end[codes]) > len(texts):
        return _without_markers(words, labels, is_end)
    return words


def _without_markers(words: _Words, labels: Sequence[int], ends: NDArray[np.bool_]) -> _Words:
    """Leave out words that begin like a label, and what follows the end of a line inside a text.

    Args:
        words: all words.
        labels: the numbers of those that begin like a label.
        ends: bool [different words]: which one ends a line.
    """
    keep = ~np.isin(words.codes, np.array(labels, np.int64))
    is_end = ends[words.codes]
    before: NDArray[np.int64] = np.cumsum(is_end) - is_end
    keep &= before == np.repeat(before[words.bounds[:-1]], np.diff(words.bounds))
    kept = np.concatenate([[0], np.cumsum(keep)])
    return _Words(words.keys, words.codes[keep], kept[words.bounds])


def _sums(values: NDArray[np.generic], bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum of the values of each text; `values` may end earlier than the last text."""
    padded = np.zeros(int(bounds[-1]) + 1)
    padded[: len(values)] = values
    return np.add.reduceat(padded, bounds[:-1])


def _inside(starts: NDArray[np.int64], ends: NDArray[np.int64], words: int, more: int) -> NDArray[np.bool_]:
    """Which windows of 1 + `more` words do not reach beyond their text: bool [words - more]."""
    found = np.ones(max(0, words - more), np.bool_)
    for back in range(1, more + 1):
        crossing = ends - back
        found[crossing[(crossing >= starts) & (crossing < len(found))]] = False
    return found
