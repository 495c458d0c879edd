"""The words of a text, exactly as datatrove's tokenizers find them, and found once for all steps.

datatrove runs spaCy on every text, 91% of its filters' time. spaCy's rule tokenizer works on the chunks between
white space one by one, so a memo of chunks gives the same words, and spaCy only sees chunks that are new (see
`chunks.py`, which spares it most of these as well). Words are numbers into a vocabulary that knows of each word
what the steps ask: its length, whether it is all symbols, has a letter, ends a sentence. A document's words are an
array of such numbers, and a filter is arithmetic on arrays.

The memos are bounded together: past `MAX_CHUNKS` or `MAX_CHARS` rare chunks are forgotten. What is found does not
depend on what was found before. Languages that spaCy does not split by rules (Chinese, Japanese, Thai, Korean ...)
go to datatrove's own tokenizer whole, with its speed.

Differs from datatrove: spaCy joins special cases such as emoticons across chunks when choosing among overlapping
ones (`8 ) )` against `)  )`); here a chunk is looked at alone. And `IS_ALPHA`, on which spaCy fails from the second
time on, so that datatrove takes these letters out of the text, goes from the first time on.
"""

from __future__ import annotations

import csv
import functools
import importlib
import re
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError

from .chunks import Chunks
from .vocabulary import ENDS, PUNCTUATION, Growing, Vocabulary

MAX_CHUNKS = 1_000_000
MAX_CHARS = 30_000_000
"""Bounds of all memos together: about 330 MB of memory. Past them the largest keeps a quarter: what most texts used."""

_OTHER = b"w"
_KINDS = np.full(PUNCTUATION + ENDS + 1, ord(_OTHER), dtype=np.uint8)
_KINDS[PUNCTUATION] = ord("p")
_KINDS[[ENDS, ENDS | PUNCTUATION]] = ord("e")
_SENTENCE = re.compile(b"e[ep]*w")
"""A closing mark, and the first word after it that is no punctuation."""
_UNREADABLE = "IS_ALPHA"
"""The name of spaCy's first symbol, and a word that its vocabulary mistakes for it."""


class NoWordsError(RequestError):
    """Nothing installed here splits a language into words."""


@dataclass(frozen=True)
class Words:
    """The words of one text, in order."""

    ids: NDArray[np.int32]
    """Numbers into the vocabulary."""
    vocabulary: Vocabulary
    chunks: NDArray[np.int32] | None = None
    """Numbers in the memo of the chunks that the words come from, where there is a memo."""

    def __len__(self) -> int:
        return len(self.ids)


def splitter_of(language: str) -> Splitter:
    """Give the splitter of a language, by the codes that datatrove knows (`en` or `eng`).

    Raises:
        NoWordsError: when datatrove has no tokenizer for it, or the package it needs is not installed.
    """
    found = _splitter_or_fault(language)
    if isinstance(found, str):
        raise NoWordsError(f"no words in {language!r}: {found}")
    return found


@functools.cache
def _splitter_or_fault(language: str) -> Splitter | str:
    try:
        tokenizers = importlib.import_module("datatrove.utils.word_tokenizers")
        tokenizer = tokenizers.load_word_tokenizer(_code_of(language))
        tokenizer.word_tokenize("words")  # loads what it needs
    except ValueError:
        return "datatrove knows no such language; give a code of two or three letters such as `en` or `deu`"
    except (ImportError, LookupError, OSError) as error:
        return f"{error}; install what it names"
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
        _splitters.add(self)

    def size(self) -> tuple[int, int]:
        """Count what is remembered, and its characters."""
        return len(self._vocabulary), self._vocabulary.chars

    def shrink(self) -> None:
        """Forget words."""
        self._vocabulary = Vocabulary()

    def words(self, text: str) -> Words:
        """Give the words of a text."""
        _make_room()
        ids = self._vocabulary.ids_of(self._tokenizer.word_tokenize(text))
        return Words(np.array(ids, dtype=np.int32), self._vocabulary)

    def sentences(self, line: str, words: Words | None = None, first: int = 0) -> int:
        """Count the sentences of a line; an empty one counts as one, as in datatrove.

        `words` may be those of the text that the line is from, and `first` the number of chunks before it there:
        where there is a memo, the line's need not be looked up again.
        """
        return max(1, len(self._tokenizer.span_tokenize(line)))

    def split_sentences(self, text: str) -> list[str]:
        """Split a text into sentences, the white space between them at the end of each, as datatrove does."""
        ends = [end for _, end in self._tokenizer.span_tokenize(text)][:-1]
        return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


_splitters: weakref.WeakSet[Splitter] = weakref.WeakSet()


def _make_room() -> None:
    """Where all memos together are too large, the largest forgets."""
    chunks, chars = map(sum, zip(*(splitter.size() for splitter in _splitters), strict=True))
    if chunks > MAX_CHUNKS or chars > MAX_CHARS:
        max(_splitters, key=Splitter.size).shrink()


class _Memo(dict[str, int]):
    """Chunks by number; one that is looked up for the first time takes the next number and is noted as new."""

    def __init__(self, chunks: Iterable[str] = ()) -> None:
        super().__init__(zip(chunks, count(), strict=False))
        self.new: list[str] = []

    def __missing__(self, chunk: str) -> int:
        number = self[chunk] = len(self)
        self.new.append(chunk)
        return number


class MemoSplitter(Splitter):
    """Words and sentences of spaCy's rule tokenizer by a memo of the chunks between white space."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - as above
        super().__init__(tokenizer)
        self._nlp = tokenizer.tokenizer
        self._ends = frozenset(self._nlp.get_pipe("sentencizer").punct_chars)
        self._start_with((), ())

    def size(self) -> tuple[int, int]:
        """Count the chunks that are remembered, and their characters."""
        return len(self._memo), self._memo_chars

    def words(self, text: str) -> Words:
        """Give the words of a text."""
        _make_room()
        readable = self._readable(text)
        chunks = self._numbers(readable.split())
        self._uses.array[chunks] += 1  # once a text, however often it has the chunk
        return Words(self._expand(chunks), self._vocabulary, chunks if readable is text else None)

    def sentences(self, line: str, words: Words | None = None, first: int = 0) -> int:
        """Count the sentences of a line as spaCy's sentencizer does.

        A sentence begins at the first token after a closing mark that is no punctuation. White space beyond one
        space after a word is such a token.
        """
        line = self._readable(line)
        spelled = line.split()
        if words is None or words.chunks is None or words.vocabulary is not self._vocabulary:
            chunks = self._numbers(spelled)
        else:
            chunks = words.chunks[first : first + len(spelled)]
        marks = self._marks
        if len(marks) < len(self._memo):
            self._mark()
        kinds = list(map(marks.__getitem__, chunks.tolist()))
        for place in _wide_breaks(line, spelled):
            kinds[place] += _OTHER
        return 1 + len(_SENTENCE.findall(b"".join(kinds)))

    def shrink(self) -> None:
        """Forget the chunks that few texts used."""
        uses = self._uses.array
        most_used = np.sort(np.argsort(uses, kind="stable")[-MAX_CHUNKS // 4 :])
        kept = most_used[uses[most_used] > 1].tolist()
        chunks, spelled = list(self._memo), self._vocabulary.spelled()
        flat, bounds = self._flat.array.tolist(), self._bounds.array.tolist()
        split = [[spelled[word] for word in flat[bounds[number] : bounds[number + 1]]] for number in kept]
        self._start_with([chunks[number] for number in kept], split)

    def _start_with(self, chunks: Sequence[str], split: Sequence[Sequence[str]]) -> None:
        self._chunks = Chunks(self._nlp.tokenizer)
        self._vocabulary = Vocabulary(self._ends)
        self._memo = _Memo(chunks)
        self._memo_chars = 0
        self._uses = Growing(np.int32)
        """How many texts had each chunk."""
        self._flat = Growing(np.int32)
        """The words of all chunks one after the other, ..."""
        self._bounds = Growing(np.int64)
        """... and where those of each chunk begin; one more than there are chunks."""
        self._bounds.extend([0])
        self._marks: list[bytes] = []
        self._remember(chunks, split)

    def _readable(self, text: str) -> str:
        """Give the text that datatrove's tokenizer reads: without a word on which spaCy fails."""
        if _UNREADABLE not in text:
            return text
        whole = {chunk for chunk in text.split() if _UNREADABLE in chunk}
        words = chain.from_iterable(self._chunks.split(sorted(whole)))
        return text.replace(_UNREADABLE, "") if _UNREADABLE in words else text

    def _numbers(self, chunks: Sequence[str]) -> NDArray[np.int32]:
        """Give the number of each chunk in the memo, where new ones are entered."""
        memo = self._memo
        numbers = np.array(list(map(memo.__getitem__, chunks)), dtype=np.int32)
        if memo.new:
            new, memo.new = memo.new, []
            try:
                split = self._chunks.split(new)
            except BaseException:
                self._start_with((), ())  # numbers without words would be found by the next text
                raise
            self._remember(new, split)
        return numbers

    def _remember(self, chunks: Sequence[str], split: Sequence[Sequence[str]]) -> None:
        self._memo_chars += sum(map(len, chunks))
        self._uses.extend(np.zeros(len(chunks), dtype=np.int32))
        self._bounds.extend(len(self._flat) + np.cumsum(np.fromiter(map(len, split), dtype=np.int64)))
        self._flat.extend(self._vocabulary.ids_of(chain.from_iterable(split)))

    def _mark(self) -> None:
        """Spell what each new chunk is to a sentence: a byte a word."""
        first = len(self._marks)
        bounds = self._bounds.array[first:]
        flags = self._vocabulary.flags[self._flat.array[bounds[0] :]]
        kinds = _KINDS[flags & (ENDS | PUNCTUATION)].tobytes()
        places = (bounds - bounds[0]).tolist()
        self._marks += [kinds[start:stop] for start, stop in pairwise(places)]

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
