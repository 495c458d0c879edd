"""The ids and the mask of a rendered conversation, independent of the code that encoded it.

The ids are those of the whole text by the reference tokenizer, in which a control token is one where the template
writes it, and text in the content of a message. A token is supervised if every character that it stands for is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import sentencepiece

from mixproof.ledger.records.tokenizer import TokenizerRecord

from .reference_ids import without_randomness, without_special_text
from .tiktoken_ids import TiktokenIds

Span = tuple[int, int]


class Rendered(NamedTuple):
    """A rendered conversation."""

    text: str
    supervised: Sequence[Span]
    contents: Sequence[Span]


class Tokens(NamedTuple):
    """Its ids and its mask, without EOD."""

    ids: list[int]
    mask: list[int]


def ends_supervised(conversation: Rendered) -> bool:
    """Whether the end of the document is supervised: whether the end of the last message is."""
    end = max((last for _, last in conversation.contents), default=0)
    return any(last >= end for _, last in conversation.supervised)


def rendered_of(text: str, marks: str) -> list[Rendered]:
    """The conversations of a stored text, two for a pair, from its marks (JSON)."""
    form = json.loads(marks)
    spans = [list(zip(form[name][::2], form[name][1::2], strict=True)) for name in ("supervised", "contents")]
    if "cut" not in form:
        return [Rendered(text, *spans)]
    cut = form["cut"]
    before = [[span for span in each if span[1] <= cut] for each in spans]
    after = [[(first - cut, last - cut) for first, last in each if first >= cut] for each in spans]
    return [Rendered(text[:cut], *before), Rendered(text[cut:], *after)]


class ConversationIds:
    """Encodes conversations with the reference of a build's tokenizer."""

    def __init__(self, path: Path, record: TokenizerRecord) -> None:
        self.before = record.around - 1
        """Tokens before the text of each document: a BOS, if the build has one."""
        self._is_huggingface = record.kind == "huggingface"
        self._tiktoken = TiktokenIds(path) if record.kind == "tiktoken" else None
        if self._tiktoken is not None:
            self._control: dict[str, int] = json.loads(path.read_bytes())["special_tokens"]
            return
        if not self._is_huggingface:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
            numbers = range(self._processor.vocab_size())
            control = [number for number in numbers if self._processor.is_control(number)]
            self._control = {self._processor.id_to_piece(number): number for number in control}
            return
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from tokenizers import Tokenizer

        form = json.loads(path.read_bytes()) | {"post_processor": None, "padding": None, "truncation": None}
        self._control = {token["content"]: token["id"] for token in form.get("added_tokens") or [] if token["special"]}
        self._joins_first = '"first"' in json.dumps(form.get("pre_tokenizer"))
        self._whole: Any = Tokenizer.from_str(json.dumps(without_randomness(form), ensure_ascii=False))
        self._apart: Any = Tokenizer.from_str(json.dumps(without_special_text(form), ensure_ascii=False))
        self._apart.encode_special_tokens = True

    @property
    def control_ids(self) -> frozenset[int]:
        """The ids of control tokens."""
        return frozenset(self._control.values())

    def encode(self, conversation: Rendered) -> Tokens | None:
        """The ids and the mask of a conversation; None if this tokenizer gives no independent ids for its text.

        That is so only where a message contains a control token literally and the tokenizer treats the start of a text
        in its own way.
        """
        text = conversation.text
        literal = any(token in text[first:last] for first, last in conversation.contents for token in self._control)
        if self._is_huggingface and not literal:
            row = self._whole.encode(text, add_special_tokens=False)
            return Tokens(row.ids, _mask(row.offsets, conversation))
        if self._is_huggingface and self._joins_first:
            return None
        ids: list[int] = []
        places: list[Span] = []
        for first, last, token in self._stretches(conversation):
            found = ([self._control[token]], [(0, last - first)]) if token else self._plain(text[first:last])
            ids += found[0]
            places += [(first + start, first + end) for start, end in found[1]]
        return Tokens(ids, _mask(places, conversation))

    def _plain(self, text: str) -> tuple[list[int], list[Span]]:
        """The ids of a text without control tokens, and the characters of each."""
        if self._is_huggingface:
            row = self._apart.encode(text, add_special_tokens=False)
            return row.ids, row.offsets
        if self._tiktoken is not None:
            (ids,) = self._tiktoken.encode([text])
            return ids, _by_bytes(text, [len(self._tiktoken.token_of[number]) for number in ids])
        proto = self._processor.encode(text, return_type="proto", enable_sampling=False)
        offsets = accumulate((len(char.encode()) for char in text), initial=0)
        chars = {offset: number for number, offset in enumerate(offsets)}
        return [piece.id for piece in proto.pieces], [(chars[piece.begin], chars[piece.end]) for piece in proto.pieces]

    def _stretches(self, conversation: Rendered) -> list[tuple[int, int, str]]:
        """The text in pieces: control tokens of the template, and what is between them."""
        inside = bytearray(len(conversation.text))
        for first, last in conversation.contents:
            inside[first:last] = b"\1" * (last - first)
        found: list[tuple[int, int, str]] = []
        at = start = 0
        longest_first = sorted(self._control, key=len, reverse=True)
        while at < len(conversation.text):
            token = next((each for each in longest_first if each and conversation.text.startswith(each, at)), "")
            if token and not any(inside[at : at + len(token)]):
                found += [(start, at, "")] if start < at else []
                found.append((at, at + len(token), token))
                at = start = at + len(token)
            else:
                at += 1
        return found + ([(start, at, "")] if start < at else [])


def _by_bytes(text: str, sizes: Sequence[int]) -> list[Span]:
    """The characters of consecutive tokens, given their sizes in bytes; a part of a character stands for all of it."""
    chars = [number for number, char in enumerate(text) for _ in char.encode()]
    ends = list(accumulate(sizes))
    return [(chars[end - size], chars[end - 1] + 1) for end, size in zip(ends, sizes, strict=True)]


def _mask(places: Sequence[Span], conversation: Rendered) -> list[int]:
    inside = bytearray(len(conversation.text) + 1)
    for first, last in conversation.supervised:
        inside[first:last] = b"\1" * (last - first)
    return [int(all(inside[start : max(end, start + 1)])) for start, end in places]
