"""The reference of a tokenizer: the implementation whose ids are the truth, by the kind of its file.

A file that ends in `.json` is a Hugging Face tokenizer, any other a SentencePiece model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, Protocol

from .encoded import Encoded
from .huggingface import HuggingFaceReference
from .sentencepiece import SentencePieceReference


class Reference(Protocol):
    """Encodes and decodes one document or thousands, on one thread."""

    vocab_size: int
    """Number of ids, added tokens included."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs; a literal special token is text."""
        ...

    def decode(self, documents: list[list[int]]) -> list[str]:
        """The texts of lists of ids."""
        ...

    def find_eod(self, piece: str | None) -> int:
        """The id of the end of document: of `piece`, or the tokenizer's own where it is None."""
        ...

    @property
    def pieces(self) -> list[str]:
        """What a hard text should hold literally: special and user-defined pieces."""
        ...


def kind_of(path: str) -> Literal["sentencepiece", "huggingface"]:
    """The kind of tokenizer that a file is, by its name."""
    return "huggingface" if path.endswith(".json") else "sentencepiece"


@lru_cache(maxsize=4)
def load_reference(path: str) -> Reference:
    """Load a tokenizer once per process.

    Raises:
        RequestError: when there is no such file, or it is no tokenizer.
    """
    return HuggingFaceReference(path) if kind_of(path) == "huggingface" else SentencePieceReference(path)
