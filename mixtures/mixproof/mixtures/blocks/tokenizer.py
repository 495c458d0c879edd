"""The block `tokenizer` of a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool

from mixproof.mixtures.values.quantities import ByteCount
from mixproof.mixtures.values.spec_part import SpecPart
from mixproof.mixtures.values.whole_numbers import TokenId, VocabularySize


class TokenizerTraining(SpecPart):
    """A SentencePiece BPE model trained on a sample of the training documents."""

    vocab_size: VocabularySize = 32000
    """Number of pieces, including control and byte pieces."""
    bytes: ByteCount = 200_000_000
    """UTF-8 bytes of the training sample, distributed over the sources by their bytes."""


class Tokenizer(SpecPart):
    """The tokenizer: exactly one of `sentencepiece`, `huggingface`, `tiktoken` and `train`."""

    sentencepiece: str | None = None
    """Path of a SentencePiece model."""
    huggingface: str | None = None
    """Path of a `tokenizer.json`."""
    tiktoken: str | None = None
    """Path of a tiktoken rank file: a base64 token and its rank per line. Needs `pattern`, `special_tokens`, `eod`."""
    pattern: str | None = None
    """For `tiktoken`: the pattern that splits a text into pieces: `cl100k`, `o200k`, `llama3`, `qwen2`, or a regular
    expression."""
    special_tokens: dict[str, TokenId] = Field(default_factory=dict)
    """For `tiktoken`: special tokens with their ids. A text that contains one literally does not get its id."""
    train: TokenizerTraining | None = None
    """Train a tokenizer on this build's training documents."""
    eod: str | None = None
    """Piece to use as end of document (EOD) instead of the tokenizer's own."""
    bos: StrictBool | str = False
    """Begin every document with a beginning-of-sequence token (BOS): `true` for the tokenizer's own, or a piece."""

    @property
    def kind(self) -> Literal["sentencepiece", "huggingface", "tiktoken"]:
        """The kind of its file; a trained tokenizer is a SentencePiece model."""
        if self.tiktoken is not None:
            return "tiktoken"
        return "huggingface" if self.huggingface is not None else "sentencepiece"
