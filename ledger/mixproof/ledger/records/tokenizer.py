"""The record of the tokenizer that a build used."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt

from mixproof.ledger.frozen_model import FrozenModel

from .left_out import is_none
from .stored_path import StoredPath


class TokenizerRecord(FrozenModel):
    """The tokenizer that produced every token id of the build."""

    kind: Literal["sentencepiece", "huggingface", "tiktoken"]
    path: StoredPath
    sha256: str
    vocab_size: NonNegativeInt
    """Number of ids, added tokens included."""
    eod_id: NonNegativeInt
    bos_id: NonNegativeInt | None = Field(default=None, exclude_if=is_none)
    """Id that begins every document; absent from the file when documents begin with their text."""

    @property
    def around(self) -> int:
        """Tokens of a document that are not of its text: the EOD, and the BOS if there is one."""
        return 1 if self.bos_id is None else 2
