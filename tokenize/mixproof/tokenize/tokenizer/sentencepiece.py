"""SentencePiece as the reference of a SentencePiece model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from mixproof.ledger.errors import RequestError

from .cut_rules import cuts_of_sentencepiece, without_normalizer
from .cuts import Rows, encode_bounded, pieces_of
from .encoded import Encoded

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
    except (RuntimeError, OSError, UnicodeDecodeError) as error:  # the last: a message that quotes the file
        raise RequestError(f"tokenizer: {path} is not a SentencePiece model: {error}") from None


class SentencePieceReference:
    """One model. Text can never produce one of its control pieces."""

    def __init__(self, path: str) -> None:
        self.processor = load_processor(path)
        self._path = path
        self.vocab_size = int(self.processor.vocab_size())
        self.cuts = cuts_of_sentencepiece(Path(path).read_bytes())
        """Where long normalized texts are cut; None: nowhere."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs."""
        return encode_bounded(texts, partial(_rows, self.processor), self._rows_of_pieces)

    def _rows_of_pieces(self, text: str) -> Rows:
        if self.cuts is None:
            return _rows(self.processor, [text])
        normalized: str = self.processor.normalize(text)
        return [row for piece in pieces_of(normalized, self.cuts) for row in _rows(self._of_normalized, [piece])]

    @cached_property
    def _of_normalized(self) -> SentencePieceProcessor:
        """The model for texts that are normalized already."""
        return SentencePieceProcessor(model_proto=without_normalizer(Path(self._path).read_bytes()))

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
        return self._control(piece, "eod", "end there")

    def find_bos(self, piece: str | None, file: Path) -> int:
        """The id of `piece`, or of the model's own `bos` if `piece` is None; `file` has no other configuration.

        Raises:
            RequestError: when there is no such piece, or text can produce it.
        """
        if piece is None:
            bos_id = int(self.processor.bos_id())
            if bos_id < 0:
                raise RequestError("tokenizer.bos: the model has no bos piece; name a control piece: `bos: PIECE`")
            return bos_id
        return self._control(piece, "bos", "start a new document there")

    def _control(self, piece: str, key: str, effect: str) -> int:
        number = int(self.processor.piece_to_id(piece))
        if self.processor.id_to_piece(number) != piece:
            raise RequestError(f"tokenizer.{key}: the model has no piece {piece!r}")
        if not self.processor.is_control(number):
            raise RequestError(
                f"tokenizer.{key}: {piece!r} is not a control piece, so a text that contains it would {effect}; "
                "set it to a control piece of the model"
            )
        return number

    def find_added(self, piece: str) -> int | None:
        """The id of a control or user-defined piece; None if there is no such piece."""
        known = piece in self.special_pieces or piece in self.added_pieces
        return int(self.processor.piece_to_id(piece)) if known else None

    @cached_property
    def special_pieces(self) -> list[str]:
        """Control, unknown and unused pieces, in the order of their ids."""
        kinds = _messages.ModelProto.SentencePiece
        return self._pieces((kinds.CONTROL, kinds.UNKNOWN, kinds.UNUSED))

    @cached_property
    def added_pieces(self) -> list[str]:
        """User-defined pieces, in the order of their ids."""
        return self._pieces((_messages.ModelProto.SentencePiece.USER_DEFINED,))

    def _pieces(self, types: Sequence[int]) -> list[str]:
        proto = _messages.ModelProto()
        proto.ParseFromString(Path(self._path).read_bytes())
        return [piece.piece for piece in proto.pieces if piece.type in types]


def _rows(processor: SentencePieceProcessor, texts: list[str]) -> Rows:
    rows: Rows = processor.encode(texts, return_type="numpy", num_threads=1, enable_sampling=False)
    return rows
