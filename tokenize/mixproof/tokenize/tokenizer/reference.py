"""The reference of a tokenizer: the implementation that defines its ids, chosen by the kind of its file.

A file whose name ends in `.json` is a Hugging Face tokenizer, one that ends in `.tiktoken` a complete encoding of
tiktoken; every other file is a SentencePiece model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

from .encoded import Encoded
from .huggingface import HuggingFaceReference
from .sentencepiece import SentencePieceReference
from .tiktoken import ENCODING, TiktokenReference

Kind = Literal["sentencepiece", "huggingface", "tiktoken"]


class Reference(Protocol):
    """Encodes and decodes documents in one thread."""

    vocab_size: int
    """Number of ids, added tokens included."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs; a literal special token is ordinary text."""
        ...

    def decode(self, documents: list[list[int]]) -> list[str]:
        """The texts of lists of ids."""
        ...

    def find_eod(self, piece: str | None, file: Path) -> int:
        """The id of the end of document: that of `piece`, or the tokenizer's own if `piece` is None.

        `file` is the tokenizer's file as it was given, beside which a `tokenizer.json` has its configuration.
        """
        ...

    def find_bos(self, piece: str | None, file: Path) -> int:
        """The id of the beginning of a sequence: that of `piece`, or the tokenizer's own if `piece` is None."""
        ...

    def find_added(self, piece: str) -> int | None:
        """The id of a special, control, added or user-defined piece; None if there is no such piece."""
        ...

    @property
    def special_pieces(self) -> list[str]:
        """Special, control and unknown pieces; text never gives their ids."""
        ...

    @property
    def added_pieces(self) -> list[str]:
        """Added and user-defined pieces, which are matched literally in text."""
        ...


def kind_of(path: str) -> Kind:
    """The kind of a tokenizer's file, by its name."""
    if path.endswith(Path(ENCODING).suffix):
        return "tiktoken"
    return "huggingface" if path.endswith(".json") else "sentencepiece"


@lru_cache(maxsize=4)
def load_reference(path: str) -> Reference:
    """Load a tokenizer once per process.

    Raises:
        RequestError: when the file does not exist or is not a tokenizer.
    """
    kind = kind_of(path)
    if kind == "tiktoken":
        return TiktokenReference(path)
    return HuggingFaceReference(path) if kind == "huggingface" else SentencePieceReference(path)
