"""Encode conversations and say which of their tokens are supervised.

The ids are those of the whole rendered text by the reference tokenizer, whose offsets place each token in the text. A
token is supervised if all of it is inside a supervised span; one that crosses an edge is not.

A control token that the template writes becomes its id; the same characters in the content of a message stay text. For
a `tokenizer.json`, every special token gets a name with two noncharacters, in the tokenizer and where the template
writes it, so that one pass over the whole text sees no other. In a SentencePiece model and in tiktoken's encodings no
text can produce a control token, so the text between two of them is encoded by itself, as their own tools do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.chat.marks import Marks
from mixproof.pipeline.chat.template import Spans

from .huggingface import HIDDEN, HuggingFaceReference, hide_tokens, run_encoder
from .reference import Reference, load_reference
from .sentencepiece import SentencePieceReference
from .tiktoken import TiktokenReference


@dataclass(frozen=True)
class Conversation:
    """A rendered conversation."""

    text: str
    supervised: Spans
    contents: Spans
    """What comes from the contents of messages; no control token is recognized in it."""

    @property
    def ends_supervised(self) -> bool:
        """Whether the last answer is supervised, and with it the end of the document."""
        last = self.contents[-1][1] if self.contents else 0
        return bool(self.supervised) and self.supervised[-1][1] >= last


@dataclass(frozen=True)
class Masked:
    """The tokens of a conversation, without EOD."""

    ids: NDArray[np.int64]
    """[tokens]"""
    mask: NDArray[np.uint8]
    """[tokens] 1 where the token is supervised."""


_Placed: TypeAlias = tuple[list[int], list[tuple[int, int]]]
"""The ids of a text, and the characters [start, end) that each of them stands for."""


class _Engine(Protocol):
    def encode(self, conversations: Sequence[Conversation]) -> list[_Placed]:
        """The ids of each conversation, and the characters [start, end) that each of them stands for."""
        ...


class MaskedEncoder:
    """Encodes conversations with the reference of a tokenizer.

    Args:
        path: the tokenizer's file.
    """

    def __init__(self, path: str) -> None:
        self._engine = _engine_of(load_reference(path))

    def encode(self, conversations: Sequence[Conversation]) -> list[Masked]:
        """The ids and the mask of each conversation."""
        found = self._engine.encode(conversations)
        return [
            Masked(np.array(ids, np.int64), mask_of(offsets, conversation.supervised))
            for (ids, offsets), conversation in zip(found, conversations, strict=True)
        ]


def count_conversations(path: str, texts: Sequence[str], marks: Sequence[str], around: int = 1) -> list[int]:
    """Tokens of each rendered text with its marks, EODs and BOS included.

    Args:
        path: the tokenizer's file.
        texts: rendered conversations or pairs.
        marks: of each, as JSON.
        around: tokens that are added to each conversation, EOD and BOS.
    """
    encoder = _encoder_of(path)
    parts = [
        [Conversation(*each) for each in Marks.from_json(found).conversations(text)]
        for text, found in zip(texts, marks, strict=True)
    ]
    return [sum(len(each.ids) + around for each in encoder.encode(conversations)) for conversations in parts]


@lru_cache(maxsize=2)
def _encoder_of(path: str) -> MaskedEncoder:
    return MaskedEncoder(path)


def mask_of(offsets: Sequence[tuple[int, int]], supervised: Spans) -> NDArray[np.uint8]:
    """Which tokens are inside a supervised span, uint8 [tokens].

    A token without characters, such as a byte of a character that a later token completes, belongs to the character
    that it precedes.
    """
    if not offsets or not supervised:
        return np.zeros(len(offsets), np.uint8)
    places = np.array(offsets, np.int64)
    starts, ends = np.array(supervised, np.int64).T
    span = np.searchsorted(starts, places[:, 0], side="right") - 1
    last = np.maximum(places[:, 1], places[:, 0] + 1)
    inside: NDArray[np.bool_] = (span >= 0) & (last <= ends[span])
    return inside.astype(np.uint8)


def template_tokens(conversation: Conversation, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    """Where the template, and not the content of a message, writes one of the tokens of a pattern."""
    found, start = [], 0
    for first, last in (*conversation.contents, (len(conversation.text),) * 2):
        found += [match.span() for match in pattern.finditer(conversation.text, start, first)]
        start = last
    return found


def _pattern(tokens: Sequence[str]) -> re.Pattern[str] | None:
    """A pattern of literal tokens, the longest first; None if there are none."""
    longest_first = sorted((token for token in tokens if token), key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _engine_of(reference: Reference) -> _Engine:
    if isinstance(reference, HuggingFaceReference):
        return _HuggingFace(reference)
    if isinstance(reference, TiktokenReference):
        return _in_tiktoken(reference)
    assert isinstance(reference, SentencePieceReference), "there are three kinds of tokenizers"
    return _in_sentencepiece(reference)


class _HuggingFace:
    """A `tokenizer.json` whose special tokens have names that no text contains."""

    def __init__(self, reference: HuggingFaceReference) -> None:
        from tokenizers import Tokenizer  # here, because only some builds need it

        special = set(reference.special_pieces)
        self._tokenizer: Any = Tokenizer.from_str(json.dumps(hide_tokens(reference.form, special), ensure_ascii=False))
        self._pattern = _pattern(sorted(special))

    def encode(self, conversations: Sequence[Conversation]) -> list[_Placed]:
        tokens = [[] if self._pattern is None else template_tokens(each, self._pattern) for each in conversations]
        texts = [_renamed(each.text, found) for each, found in zip(conversations, tokens, strict=True)]
        rows = run_encoder(self._tokenizer.encode_batch, texts)
        return [(row.ids, _in_text(row.offsets, found)) for row, found in zip(rows, tokens, strict=True)]


def _renamed(text: str, tokens: Sequence[tuple[int, int]]) -> str:
    """The text, with the hidden name of each of `tokens`."""
    pieces, start = [], 0
    for first, last in tokens:
        pieces += [text[start:first], HIDDEN.format(text[first:last])]
        start = last
    return "".join([*pieces, text[start:]])


def _in_text(offsets: Sequence[tuple[int, int]], tokens: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Offsets in the text, from those in the text with hidden names, which are two characters longer."""
    if not tokens:
        return list(offsets)
    ends = np.array([last for _, last in tokens]) + 2 * np.arange(1, len(tokens) + 1)
    places = np.array(offsets, np.int64).reshape(-1, 2)
    moved = places - 2 * np.searchsorted(ends, places, side="right")
    return [(start, end) for start, end in moved.tolist()]


class _InStretches:
    """A tokenizer in which no text gives a control token: the text between two of the template's is encoded alone.

    Args:
        control: ids of the control tokens.
        encode: gives the ids of a text, and the characters of each.
    """

    def __init__(self, control: Mapping[str, int], encode: Callable[[str], _Placed]) -> None:
        self._control, self._encode_text = control, encode
        self._pattern = _pattern(list(control))

    def encode(self, conversations: Sequence[Conversation]) -> list[_Placed]:
        return [self._encode(each) for each in conversations]

    def _encode(self, conversation: Conversation) -> _Placed:
        tokens = [] if self._pattern is None else template_tokens(conversation, self._pattern)
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for start, end, token in _pieces(conversation.text, tokens):
            if token is not None:
                ids.append(self._control[token])
                offsets.append((start, end))
                continue
            found, places = self._encode_text(conversation.text[start:end])
            ids += found
            offsets += [(start + first, start + last) for first, last in places]
        return ids, offsets


def _in_sentencepiece(reference: SentencePieceReference) -> _InStretches:
    processor = reference.processor
    numbers = {piece: int(processor.piece_to_id(piece)) for piece in reference.special_pieces}

    def encode(text: str) -> _Placed:
        found = processor.encode(text, return_type="offset_mapping", enable_sampling=False)
        return found["ids"], found["offsets"]

    return _InStretches({piece: number for piece, number in numbers.items() if processor.is_control(number)}, encode)


def _in_tiktoken(reference: TiktokenReference) -> _InStretches:
    def encode(text: str) -> _Placed:
        ids = reference.encode([text]).ids.tolist()
        ends = np.cumsum([len(reference.bytes_of[number]) for number in ids], dtype=np.int64)
        starts_of_chars = np.cumsum([0, *(len(char.encode()) for char in text)])
        first = np.searchsorted(starts_of_chars, np.concatenate([[0], ends[:-1]]), side="right") - 1
        last = np.searchsorted(starts_of_chars, ends, side="left")
        return ids, list(zip(first.tolist(), last.tolist(), strict=True)) if ids else []

    return _InStretches(reference.encoding.special, encode)


def _pieces(text: str, tokens: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, str | None]]:
    """The text between tokens and the tokens, in order, each with its characters; empty text is left out."""
    start = 0
    for first, last in tokens:
        if start < first:
            yield start, first, None
        yield first, last, text[first:last]
        start = last
    if start < len(text):
        yield start, len(text), None
