"""SentencePiece as the reference of a SentencePiece model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from mixproof.ledger.errors import RequestError

from .encoded import Encoded, joined

_messages: Any = sentencepiece_model_pb2
"""The messages of a model file; protobuf creates them at import, so type checkers cannot see them."""


@lru_cache(maxsize=4)
def load_processor(path: str) -> SentencePieceProcessor:
    """Load a model once per process.

    Raises:
        RequestError: when the file does not exist or is not a SentencePiece model.
    """
    if not Path(path).is_file():
        raise RequestError(f"tokenizer: no file {path}; correct the path in the spec")
    try:
        return SentencePieceProcessor(model_file=path)
    except (RuntimeError, OSError) as error:
        raise RequestError(f"tokenizer: {path} is not a SentencePiece model: {error}") from None


class SentencePieceReference:
    """One model. Text can never produce one of its control pieces."""

    def __init__(self, path: str) -> None:
        self.processor = load_processor(path)
        self._path = path
        self.vocab_size = int(self.processor.vocab_size())

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs."""
        arrays = self.processor.encode(list(texts), return_type="numpy", num_threads=1, enable_sampling=False)
        lengths = np.fromiter((len(array) for array in arrays), np.int64, len(arrays))
        return Encoded(joined(arrays, np.int32), lengths)

    def decode(self, documents: list[list[int]]) -> list[str]:
        """The texts of lists of ids."""
        texts: list[str] = self.processor.decode(documents)
        return texts

    def find_eod(self, piece: str | None, file: Path) -> int:
        """The id of `piece`, or of the model's own `eos` if `piece` is None; `file` has no other configuration.

        Raises:
            RequestError: when there is no such piece, or text can produce it.
        """
        if piece is None:
            eod_id = int(self.processor.eos_id())
            if eod_id < 0:
                raise RequestError("tokenizer: the model has no eos piece; set its end of document with `eod: PIECE`")
            return eod_id
        eod_id = int(self.processor.piece_to_id(piece))
        if self.processor.id_to_piece(eod_id) != piece:
            raise RequestError(f"tokenizer.eod: the model has no piece {piece!r}")
        if not self.processor.is_control(eod_id):
            raise RequestError(
                f"tokenizer.eod: {piece!r} is not a control piece, so a text that contains it would end there; "
                "set it to a control piece of the model"
            )
        return eod_id

    @property
    def special_pieces(self) -> list[str]:
        """Control, unknown and unused pieces, in the order of their ids."""
        kinds = _messages.ModelProto.SentencePiece
        return self._pieces((kinds.CONTROL, kinds.UNKNOWN, kinds.UNUSED))

    @property
    def added_pieces(self) -> list[str]:
        """User-defined pieces, in the order of their ids."""
        return self._pieces((_messages.ModelProto.SentencePiece.USER_DEFINED,))

    def _pieces(self, types: Sequence[int]) -> list[str]:
        proto = _messages.ModelProto()
        proto.ParseFromString(Path(self._path).read_bytes())
        return [piece.piece for piece in proto.pieces if piece.type in types]
