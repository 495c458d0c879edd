"""Engines: what turns texts into ids.

SentencePiece is the reference and can encode by every model. A faster engine may stand in for it only where
it gives the same ids; `encode.py` re-encodes one in `SAMPLE` documents by the reference and fails on a
difference. Which engine encoded a build stands in its circumstances, never in its identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from .tokenizer import Encoded, encode_by_reference, load_processor

REFERENCE = "sentencepiece"
SAMPLE = 1000
"""One in so many documents, by text hash, is encoded by the reference as well."""


class Engine(Protocol):
    """Encodes batches of texts."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs."""
        ...


class Reference:
    """SentencePiece itself."""

    def __init__(self, path: str) -> None:
        self._processor = load_processor(path)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs."""
        return encode_by_reference(self._processor, texts)


@lru_cache(maxsize=4)
def load_engine(name: str, path: str) -> Engine:
    """Load an engine once per process.

    Raises:
        ValueError: for a name that is no engine's.
    """
    if name == REFERENCE:
        return Reference(path)
    raise ValueError(f"no engine {name!r}")


def choose_engine(path: str) -> str:
    """The fastest engine that gives the ids of SentencePiece for this model."""
    load_processor(path)
    return REFERENCE
