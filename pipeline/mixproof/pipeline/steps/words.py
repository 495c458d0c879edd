"""The words of a text, exactly as datatrove's tokenizers find them, and found once for all steps.

datatrove runs spaCy on every text, 91% of its filters' time. spaCy's rule tokenizer works on the chunks between
white space one by one, so a memo of chunks gives the same words, and spaCy only sees chunks that are new (see
`chunks.py`, which spares it most of these as well). Words are numbers into a vocabulary that knows of each word
what the steps ask: its length, whether it is all symbols, has a letter, ends a sentence. A document's words are an
array of such numbers, and a filter is arithmetic on arrays.

The memo is bounded: past `MAX_CHUNKS` or `MAX_CHARS` it starts anew at the next document. What is found does not
depend on what was found before. Languages that spaCy does not split by rules (Chinese, Japanese, Thai, Korean ...)
go to datatrove's own tokenizer whole, with its speed.

Differs from datatrove: spaCy joins special cases such as emoticons across chunks when choosing among overlapping
ones (`8 ) )` against `)  )`); here a chunk is looked at alone.
"""

from __future__ import annotations

import csv
import functools
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError

from .chunks import Chunks
from .vocabulary import ENDS, PUNCTUATION, Growing, Vocabulary

MAX_CHUNKS = 400_000
MAX_CHARS = 12_000_000
"""Bounds of a language's memo: about 150 MB of memory, of which 100 in Python's own objects."""
MAX_LANGUAGES = 8
"""Languages with a memo of their own at a time; with more, the one not used for longest is forgotten."""

_OTHER = b"w"
_KINDS = np.full(PUNCTUATION + ENDS + 1, ord(_OTHER), dtype=np.uint8)
_KINDS[PUNCTUATION] = ord("p")
_KINDS[[ENDS, ENDS | PUNCTUATION]] = ord("e")
_SENTENCE = re.compile(b"e[ep]*w")
"""A closing mark, and the first word after it that is no punctuation."""


class NoWordsError(RequestError):
    """Nothing installed here splits a language into words."""


@dataclass(frozen=True)
class Words:
    """The words of one text, in order."""

    ids: NDArray[np.int32]
    """Numbers into the vocabulary."""
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.ids)


@functools.lru_cache(maxsize=MAX_LANGUAGES)
def splitter_of(language: str) -> Splitter:
    """Give the splitter of a language, by the codes that datatrove knows (`en` or `eng`).

    Raises:
        NoWordsError: when datatrove has no tokenizer for it, or the package it needs is not installed.
    """
    try:
        tokenizers = importlib.import_module("datatrove.utils.word_tokenizers")
        tokenizer = tokenizers.load_word_tokenizer(_code_of(language))
        tokenizer.word_tokenize("words")  # loads what it needs
    except ValueError as error:
        raise NoWordsError(f"no words in {language!r}: datatrove knows no such language") from error
    except (ImportError, LookupError, OSError) as error:
        raise NoWordsError(f"no words in {language!r}: {error}; install what it names") from error
    rules = getattr(tokenizer, "tokenizer", None)
    if type(getattr(rules, "tokenizer", None)).__module__ == "spacy.tokenizer":
        return MemoSplitter(tokenizer)
    return Splitter(tokenizer)


def _code_of(language: str) -> str:
    """Give the code by which datatrove knows a language in its own script: `cmn_Hani` for `zh`, `eng_Latn` for `en`.

    Without a script datatrove takes the last one in its table: Latin letters for Chinese, Hindi and Arabic.
    """
    label = language.replace("_", "-").partition("-")[0].lower()
    for row in _assignments():
        named = row["code_3"] == label or (row["code_1"] == label and row["default_code_1"] == "TRUE")
        if named and row["default_script"] == "TRUE" and row["type"]:
            return f"{row['code_3']}_{row['script']}"
    return language


@functools.cache
def _assignments() -> list[dict[str, str]]:
    assets = importlib.import_module("datatrove.utils._import_utils").ASSETS_PATH
    with (Path(assets) / "tokenizer_assignment.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Splitter:
    """Words and sentences by a tokenizer of datatrove as it is."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - datatrove ships no types
        self._tokenizer = tokenizer
        self._vocabulary = Vocabulary()

    def words(self, text: str) -> Words:
        """Give the words of a text."""
        if self._vocabulary.chars > MAX_CHARS or len(self._vocabulary) > MAX_CHUNKS:
            self._vocabulary = Vocabulary()
        ids = self._vocabulary.ids_of(self._tokenizer.word_tokenize(text))
        return Words(np.array(ids, dtype=np.int32), self._vocabulary)

    def sentences(self, line: str) -> int:
        """Count the sentences of a line; an empty one counts as one, as in datatrove."""
        return max(1, len(self._tokenizer.span_tokenize(line)))

    def split_sentences(self, text: str) -> list[str]:
        """Split a text into sentences, the white space between them at the end of each, as datatrove does."""
        ends = [end for _, end in self._tokenizer.span_tokenize(text)][:-1]
        return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


class MemoSplitter(Splitter):
    """Words and sentences of spaCy's rule tokenizer by a memo of the chunks between white space."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - as above
        super().__init__(tokenizer)
        self._nlp = tokenizer.tokenizer
        self._ends = frozenset(self._nlp.get_pipe("sentencizer").punct_chars)
        self._start_anew()

    def words(self, text: str) -> Words:
        """Give the words of a text."""
        if self._memo_chars > MAX_CHARS or len(self._memo) > MAX_CHUNKS:
            self._start_anew()
        numbers = self._numbers(text.split())
        return Words(self._expand(numbers), self._vocabulary)

    def sentences(self, line: str) -> int:
        """Count the sentences of a line as spaCy's sentencizer does.

        A sentence begins at the first token after a closing mark that is no punctuation. White space beyond one
        space after a word is such a token.
        """
        chunks = line.split()
        numbers = self._numbers(chunks)
        marks = self._marks
        if len(marks) < len(self._memo):
            self._mark()
        kinds = list(map(marks.__getitem__, numbers.tolist()))
        for place in _wide_breaks(line, chunks):
            kinds[place] += _OTHER
        return 1 + len(_SENTENCE.findall(b"".join(kinds)))

    def _mark(self) -> None:
        """Spell what each new chunk is to a sentence: a byte a word."""
        first = len(self._marks)
        bounds = self._bounds.array[first:]
        flags = self._vocabulary.flags[self._flat.array[bounds[0] :]]
        kinds = _KINDS[flags & (ENDS | PUNCTUATION)].tobytes()
        places = (bounds - bounds[0]).tolist()
        self._marks += [kinds[start:stop] for start, stop in pairwise(places)]

    def _start_anew(self) -> None:
        self._chunks = Chunks(self._nlp.tokenizer)
        self._vocabulary = Vocabulary(self._ends)
        self._memo: dict[str, int] = {}
        self._memo_chars = 0
        self._flat = Growing(np.int32)
        """The words of all chunks one after the other, ..."""
        self._bounds = Growing(np.int64)
        """... and where those of each chunk begin; one more than there are chunks."""
        self._bounds.extend([0])
        self._marks: list[bytes] = []

    def _numbers(self, chunks: Sequence[str]) -> NDArray[np.int32]:
        """Give the number of each chunk in the memo, where new ones are entered."""
        numbers = np.fromiter(map(self._memo.get, chunks, repeat(-1)), dtype=np.int32, count=len(chunks))
        new = np.flatnonzero(numbers < 0).tolist()
        if new:
            self._learn(list(dict.fromkeys(chunks[place] for place in new)))
            numbers[new] = [self._memo[chunks[place]] for place in new]
        return numbers

    def _learn(self, chunks: Sequence[str]) -> None:
        flat: list[int] = []
        bounds: list[int] = []
        already, number = len(self._flat), len(self._memo)
        for chunk, words in zip(chunks, self._chunks.split(chunks), strict=True):
            flat += self._vocabulary.ids_of(words)
            bounds.append(already + len(flat))
            self._memo[chunk] = number
            number += 1
            self._memo_chars += len(chunk)
        self._flat.extend(flat)
        self._bounds.extend(bounds)

    def _expand(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Give the words of chunks, in order."""
        bounds = self._bounds.array
        first = bounds[numbers]
        counts = bounds[numbers + 1] - first
        stops = np.cumsum(counts)
        places = np.repeat(first - stops + counts, counts)
        places += np.arange(len(places))
        words: NDArray[np.int32] = self._flat.array[places]
        return words


def _wide_breaks(line: str, chunks: Sequence[str]) -> list[int]:
    """Places in `chunks` after which white space is a token of spaCy's: anything but a single space."""
    if not chunks or " ".join(chunks) == line:
        return []
    wide, at = [], line.index(chunks[0])
    for number, chunk in enumerate(chunks):
        at += len(chunk)
        following = line.index(chunks[number + 1], at) if number + 1 < len(chunks) else len(line)
        if line[at:following] not in ("", " "):
            wide.append(number)
        at = following
    return wide
