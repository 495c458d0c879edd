"""Words and sentences of spaCy's rule-based tokenizer, with a memo of the chunks between white space.

spaCy splits such chunks one by one, so a memo of chunks gives the same words, and only new chunks are split
(`chunks.py`). The memo holds the words of a chunk as the bytes of their ids, so the words of a text take one look-up
per chunk and one join. It has two generations: when it is full, the newer one becomes the older, from which only the
chunks that are used again are kept. The words of a text do not depend on earlier texts.

Differences from datatrove: when special cases such as emoticons overlap, spaCy joins them across chunks (`8 ) )` versus
`)  )`); here every chunk is split alone. And spaCy fails on `IS_ALPHA` from its second occurrence on, so datatrove
removes these letters from the text; here they are removed from the first occurrence on.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import splitter
from .chunks import Chunks
from .splitter import Splitter, Words
from .vocabulary import ENDS, PUNCTUATION, Vocabulary

PART_CHARS = 1 << 20
"""Characters of a long text that are split into chunks at a time."""
JOINED_CHUNKS = 1 << 14
_ID_BYTES = 4
_OTHER = b"w"
_FLAGS = np.arange(256, dtype=np.uint8)
_KINDS = np.where(_FLAGS & ENDS, ord("e"), np.where(_FLAGS & PUNCTUATION, ord("p"), ord(_OTHER))).astype(np.uint8)
"""The role of a word in a sentence, by its flags."""
_SENTENCE = re.compile(b"e[ep]*w")
"""A closing mark, and the first word after it that is not punctuation."""
_UNREADABLE = "IS_ALPHA"
"""The name of spaCy's first symbol, for which its vocabulary mistakes this word."""


class _Memo(dict[str, bytes]):
    """The ids of the words of each chunk, which is split when it is looked up for the first time."""

    def __init__(self, chunks: Chunks, vocabulary: Vocabulary, older: Mapping[str, bytes]) -> None:
        super().__init__()
        self._chunks, self._vocabulary, self.older = chunks, vocabulary, older
        self.chars = sum(map(len, older))

    def __missing__(self, chunk: str) -> bytes:
        ids = self.older.get(chunk)
        if ids is None:
            ids = array("i", self._vocabulary.ids_of(self._chunks.split(chunk))).tobytes()
        self.chars += len(chunk)
        self[chunk] = ids
        return ids


class MemoSplitter(Splitter):
    """Words and sentences of spaCy's rule-based tokenizer; each chunk is split once."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - spaCy is optional
        super().__init__(tokenizer)
        nlp = tokenizer.tokenizer
        self._rules = nlp.tokenizer
        self._ends = frozenset(nlp.get_pipe("sentencizer").punct_chars)
        self._weighed = 0
        self._start_with({}, ())

    def size(self) -> tuple[int, int]:
        """Number of chunks in the memo, and their characters."""
        return len(self._memo) + len(self._memo.older), self._memo.chars

    def words(self, text: str) -> Words:
        """The words of a text."""
        if self._memo.chars > self._weighed + splitter.WEIGHED_CHARS:
            splitter.make_room()
            self._weighed = self._memo.chars
        readable = self._readable(text)
        by_chunk: list[bytes] = []
        for part in _parts(readable):
            by_chunk += map(self._memo.__getitem__, part.split())
        ids = np.frombuffer(_joined(by_chunk), dtype=np.int32)
        return Words(ids, self._vocabulary, by_chunk if readable is text else None)

    def sentences(self, line: str, words: Words | None = None, first: int = 0) -> int:
        """Count the sentences of a line as spaCy's sentencizer does.

        A sentence begins at the first token after a closing mark that is not punctuation. White space other than one
        space after a word is such a token.
        """
        line = self._readable(line)
        spelled = line.split()
        if words is None or words.by_chunk is None:
            vocabulary = self._vocabulary
            chunks: Sequence[bytes] = list(map(self._memo.__getitem__, spelled))
        else:
            vocabulary, chunks = words.vocabulary, words.by_chunk[first : first + len(spelled)]
        kinds = _kinds_of(np.frombuffer(_joined(chunks), dtype=np.int32), vocabulary)
        wide = _wide_breaks(line, spelled)
        if wide:
            ends = list(accumulate(len(chunk) // _ID_BYTES for chunk in chunks))
            cuts = [0, *(ends[index] for index in wide), len(kinds)]
            kinds = _OTHER.join(kinds[start:stop] for start, stop in pairwise(cuts))
        return 1 + len(_SENTENCE.findall(kinds))

    def fewest_sentences(self, words: Words) -> int:
        """The count for the text as one line with single spaces; line breaks never reduce it."""
        return 1 if words.by_chunk is None else 1 + len(_SENTENCE.findall(_kinds_of(words.ids, words.vocabulary)))

    def shrink(self) -> None:
        """Forget chunks not used since the last time, and beyond the bound the latest, which are the rarest."""
        kept = dict(islice(self._memo.items(), splitter.MAX_CHUNKS // 2))
        ids = np.frombuffer(_joined(list(kept.values())), dtype=np.int32)
        used, numbers = np.unique(ids, return_inverse=True)
        data, spelled = numbers.astype(np.int32).tobytes(), self._vocabulary.spelled()
        stops = pairwise([0, *accumulate(map(len, kept.values()))])
        older = {chunk: data[start:stop] for chunk, (start, stop) in zip(kept, stops, strict=True)}
        self._start_with(older, [spelled[word] for word in used.tolist()])

    def _start_with(self, older: Mapping[str, bytes], words: Sequence[str]) -> None:
        self._chunks = Chunks(self._rules)
        self._vocabulary = Vocabulary(self._ends)
        self._vocabulary.ids_of(words)
        self._memo = _Memo(self._chunks, self._vocabulary, older)
        self._weighed = self._memo.chars

    def _readable(self, text: str) -> str:
        """The text that datatrove's tokenizer reads: without a word on which spaCy fails."""
        if _UNREADABLE not in text:
            return text
        whole = {chunk for chunk in text.split() if _UNREADABLE in chunk}
        return text.replace(_UNREADABLE, "") if any(_UNREADABLE in self._chunks.split(one) for one in whole) else text


def _joined(chunks: Sequence[bytes]) -> bytes:
    """Join in pieces: `bytes.join` allocates 80 bytes for each item."""
    if len(chunks) <= JOINED_CHUNKS:
        return b"".join(chunks)
    starts = range(0, len(chunks), JOINED_CHUNKS)
    return b"".join([b"".join(chunks[start : start + JOINED_CHUNKS]) for start in starts])


def _parts(text: str) -> Iterator[str]:
    """A text in parts cut at white space, so that few of its chunks are strings at the same time."""
    start = 0
    while len(text) - start > PART_CHARS:
        end = start + PART_CHARS
        cut = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
        if cut <= start:
            after = (text.find(" ", end), text.find("\n", end))
            cut = min((index for index in after if index >= 0), default=len(text))
        yield text[start:cut]
        start = cut
    yield text[start:] if start else text


def _kinds_of(ids: NDArray[np.int32], vocabulary: Vocabulary) -> bytes:
    """The role of each word in a sentence, one byte per word."""
    return _KINDS[vocabulary.flags[ids]].tobytes()


def _wide_breaks(line: str, chunks: Sequence[str]) -> list[int]:
    """Indices in `chunks` after which white space is a token of spaCy: anything but a single space."""
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
