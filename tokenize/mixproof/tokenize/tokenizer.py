"""The tokenizer of a build: a SentencePiece model, its end of document (EOD), and its place in the store.

SentencePiece is the reference: its ids are the truth, byte for byte. The model file is copied into the
store under the hash of its bytes, so that a build keeps what it was encoded with. EOD is the model's
`eos` piece, or the piece that the spec names; it must be a control piece, because text can never produce
one of those, and so an EOD in a dataset is always the end of a document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.manifest import TokenizerRecord
from mixproof.ledger.store import Store

STAGE = "tokenizer"
STAGE_VERSION = 1
MODEL = "tok.model"


@dataclass(frozen=True)
class Encoded:
    """The ids of a batch of texts, one after another."""

    ids: NDArray[np.int32] | NDArray[np.int64]
    """[tokens] without EODs."""
    lengths: NDArray[np.int64]
    """[texts] ids of each; 0 where a text encodes to nothing."""


@lru_cache(maxsize=4)
def load_processor(path: str) -> SentencePieceProcessor:
    """Load a model once per process.

    Raises:
        RequestError: when there is no such file, or it is not a SentencePiece model.
    """
    if not Path(path).is_file():
        raise RequestError(f"tokenizer: no file {path}")
    try:
        return SentencePieceProcessor(model_file=path)
    except (RuntimeError, OSError) as error:
        raise RequestError(f"tokenizer: {path} is not a SentencePiece model: {error}") from None


def find_eod(processor: SentencePieceProcessor, piece: str | None) -> int:
    """The id of the end of document: of `piece`, or the model's own `eos` where `piece` is None.

    Raises:
        RequestError: when there is none, or it is a piece that text can produce.
    """
    if piece is None:
        eod_id = int(processor.eos_id())
        if eod_id < 0:
            raise RequestError("tokenizer: the model has no eos piece; name its end of document with `eod: PIECE`")
        return eod_id
    eod_id = int(processor.piece_to_id(piece))
    if processor.id_to_piece(eod_id) != piece:
        raise RequestError(f"tokenizer.eod: the model has no piece {piece!r}")
    if not processor.is_control(eod_id):
        raise RequestError(
            f"tokenizer.eod: {piece!r} is no control piece, so a text that holds it would end there; "
            "name a control piece of the model"
        )
    return eod_id


def store_tokenizer(store: Store, model: Path, eod: str | None) -> TokenizerRecord:
    """Check a model and copy it into the store, under a key of its bytes.

    Args:
        store: where it goes.
        model: the SentencePiece model's file.
        eod: piece to use as end of document; None: the model's own.

    Raises:
        RequestError: as `load_processor` and `find_eod`.
    """
    processor = load_processor(str(model))
    eod_id = find_eod(processor, eod)
    data = model.read_bytes()
    key = store_model(store, data)
    return TokenizerRecord(
        kind="sentencepiece",
        path=f"{STAGE}/{key}/{MODEL}",
        sha256=hashlib.sha256(data).hexdigest(),
        vocab_size=int(processor.vocab_size()),
        eod_id=eod_id,
    )


def store_model(store: Store, model: bytes) -> str:
    """Put a model file into the store, unless it is there; return its key."""
    key = stage_key(STAGE, STAGE_VERSION, {}, hashlib.sha256(model).hexdigest())
    if store.receipt(STAGE, key) is None:
        with store.attempt(STAGE, key) as attempt:
            attempt.path(MODEL).write_bytes(model)
            attempt.commit()
    return key


def encode_by_reference(processor: SentencePieceProcessor, texts: Sequence[str]) -> Encoded:
    """Encode texts by SentencePiece, on one thread."""
    arrays = processor.encode(list(texts), return_type="numpy", num_threads=1)
    lengths = np.fromiter((len(array) for array in arrays), np.int64, len(arrays))
    return Encoded(np.concatenate(arrays) if arrays else np.zeros(0, np.int32), lengths)


@dataclass(frozen=True)
class TokenCounter:
    """Counts the tokens of texts, EODs included; travels to tasks as a path."""

    path: str
    """Local path of the model."""

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with its EOD; 0 for one that encodes to nothing, which no dataset holds."""
        lengths = encode_by_reference(load_processor(self.path), texts).lengths
        return [int(length) + 1 if length else 0 for length in lengths]
