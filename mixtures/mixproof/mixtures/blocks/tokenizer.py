"""The block `tokenizer` of a spec."""

from __future__ import annotations

from mixproof.mixtures.values.quantities import ByteCount
from mixproof.mixtures.values.spec_part import SpecPart
from mixproof.mixtures.values.whole_numbers import VocabularySize


class TokenizerTraining(SpecPart):
    """A SentencePiece BPE model trained on a sample of the training documents."""

    vocab_size: VocabularySize = 32000
    """Number of pieces, including control and byte pieces."""
    bytes: ByteCount = 200_000_000
    """UTF-8 bytes of the training sample, distributed over the sources by their bytes."""


class Tokenizer(SpecPart):
    """The tokenizer: exactly one of `sentencepiece`, `huggingface` and `train`."""

    sentencepiece: str | None = None
    """Path of a SentencePiece model."""
    huggingface: str | None = None
    """Path of a `tokenizer.json`."""
    train: TokenizerTraining | None = None
    """Train a tokenizer on this build's training documents."""
    eod: str | None = None
    """Piece to use as end of document (EOD) instead of the tokenizer's own."""
