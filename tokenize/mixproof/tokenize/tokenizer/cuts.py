"""Where a long text may be cut so that the ids of its pieces are the ids of the whole.

Reference tokenizers need 50 to 170 times the bytes of a text, so long texts are encoded in pieces. Two rules find the
cuts, and each follows from how a tokenizer works (`cut_rules.py` decides which one holds):

- **Words.** The pre-tokenizer splits the text at the position, regardless of the rest, and treats both sides
  alone. This holds between a letter and white space, and for some expressions between a letter and a sign.
- **Pairs.** BPE only ever joins neighbors into entries of its vocabulary. If no entry contains the two characters at
  the position side by side, no entry crosses it, and the joins on one side do not change those on the other.

No added token may touch the position: it is matched in text before anything else.
"""

from __future__ import annotations

import platform
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError

from .encoded import Encoded, joined

MANY = 8
"""A piece of up to this many times PIECE_CHARS is encoded without checking the free memory."""
WHOLE_MULTIPLE = 170
"""Bytes of memory per byte of a text that is encoded as a whole: the largest that was measured, for Chinese."""
Rows = list[NDArray[np.int32]]
"""The ids of each text or piece."""
PIECE_CHARS = 1 << 19
"""Characters of a piece; the search for a cut begins there, so a piece may be longer."""


class UncutTextError(RequestError):
    """A text is too long to be encoded as a whole, and cannot be cut."""


class Cuts(Protocol):
    """Decides where a text may be cut."""

    def allows(self, text: str, at: int) -> bool:
        """Whether the text may be cut before the character `at`, which is neither the first nor after the last."""
        ...


def encode_bounded(texts: Sequence[str], few: Callable[[list[str]], Rows], long: Callable[[str], Rows]) -> Encoded:
    """Encode texts a few at a time.

    Args:
        texts: the texts.
        few: gives the ids of texts that have up to PIECE_CHARS together.
        long: gives the ids of the pieces of one longer text.

    Raises:
        UncutTextError: when a text has no place for a cut and memory is short.
    """
    rows: Rows = []
    for group in _groups(texts):
        rows += few(group) if len(group[0]) <= PIECE_CHARS else [joined(long(group[0]), np.int32)]
    return Encoded(joined(rows, np.int32), np.fromiter(map(len, rows), np.int64, len(rows)))


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Groups of texts of up to PIECE_CHARS together; a longer text is a group of its own."""
    group: list[str] = []
    chars = 0
    for text in texts:
        if group and chars + len(text) > PIECE_CHARS:
            yield group
            group, chars = [], 0
        group.append(text)
        chars += len(text)
    if group:
        yield group


def pieces_of(text: str, cuts: Cuts | None) -> Iterator[str]:
    """Yield the pieces of a text, each of PIECE_CHARS up to the next cut; the whole text if there is no cut."""
    start = 0
    while cuts is not None and len(text) - start > PIECE_CHARS:
        end = next((at for at in range(start + PIECE_CHARS, len(text)) if cuts.allows(text, at)), len(text))
        yield _checked(text[start:end])
        start = end
    if start < len(text) or not text:
        yield _checked(text[start:])


def _checked(piece: str) -> str:
    """The piece, unless encoding it could take more memory than is free.

    Raises:
        UncutTextError: with its size and what is free.
    """
    if len(piece) > MANY * PIECE_CHARS:
        size, free = len(piece.encode()), psutil.virtual_memory().available
        if size * WHOLE_MULTIPLE > free:
            raise UncutTextError(
                f"a text of {size / 1e6:,.0f} MB cannot be cut with this tokenizer, and encoding it whole may take "
                f"{size * WHOLE_MULTIPLE / 1e9:,.0f} GB, but only {free / 1e9:,.1f} GB are free on {platform.node()}: "
                "set `limits: {document_bytes: ...}` below its size, or build where more memory is free"
            )
    return piece


@dataclass(frozen=True)
class WordCuts:
    """Cuts between a letter and the white space after it, or a sign."""

    white_space: str
    """Characters that the tokenizer treats as white space between words."""
    signs: str
    """Signs that always start a new word after a letter, as first letters of general categories: P, S."""
    added: tuple[str, ...]
    """Contents of all added tokens, special ones too."""

    def allows(self, text: str, at: int) -> bool:
        """Whether the text may be cut before the character `at`."""
        after = text[at]
        if after in self.white_space:
            follows = at + 1 < len(text) and is_letter(text[at + 1])
        else:
            follows = is_sign(after, self.signs)
        return follows and is_letter(text[at - 1]) and not touches(self.added, text, at)


@dataclass(frozen=True)
class PairCuts:
    """Cuts between two characters that are side by side in no entry of the vocabulary."""

    pairs: frozenset[str]
    known: frozenset[str] | None
    """Characters that are entries by themselves: unknown ones may be joined to one unknown piece. None: they never are,
    because each is encoded as its bytes."""
    added: tuple[str, ...]
    space: str = " "
    """What stands for a space in the vocabulary, if texts are cut before they are normalized."""

    def allows(self, text: str, at: int) -> bool:
        """Whether the text may be cut before the character `at`."""
        pair = text[at - 1 : at + 1].replace(" ", self.space)
        is_known = self.known is None or (pair[0] in self.known and pair[1] in self.known)
        return is_known and pair not in self.pairs and not touches(self.added, text, at)


def touches(tokens: Sequence[str], text: str, at: int) -> bool:
    """Whether one of the tokens occurs in the text across the position, or begins or ends there."""
    return any(token in text[max(0, at - len(token)) : at + len(token)] for token in tokens)


def pairs_of(entries: Sequence[str]) -> frozenset[str]:
    """All pairs of characters that are side by side in an entry."""
    return frozenset(entry[at : at + 2] for entry in entries for at in range(len(entry) - 1))


@lru_cache(maxsize=1 << 12)
def is_letter(character: str) -> bool:
    """Whether a character is a letter that no normalization changes, under every version of Unicode since 3.2.

    Syllables of Hangul are decomposed into letters.
    """
    is_stable = "\uac00" <= character <= "\ud7a3" or unicodedata.normalize("NFKD", character) == character
    return is_stable and _category(character) == "L"


@lru_cache(maxsize=1 << 12)
def is_sign(character: str, categories: str) -> bool:
    """Whether a character has one of the categories P and S; an apostrophe never, because it may be part of a word."""
    category = _category(character)
    return category is not None and category in categories and category in "PS" and character != "'"


def _category(character: str) -> str | None:
    """The general category's first letter if it has not changed since Unicode 3.2."""
    category = unicodedata.category(character)[0]
    return category if unicodedata.ucd_3_2_0.category(character)[0] == category else None
