"""Engines: what turns texts into ids, and which of them gives the ids of the reference.

A SentencePiece model's reference is SentencePiece (4-7 MB/s a core), a `tokenizer.json`'s the tokenizers package.
gigatoken is several times faster, but it is not the same
tokenizer: it turns a literal `</s>` in a text into the control id, normalizes in its own way, and knows no
unigram models. So it stands in only where the model's proto says that it can be made equal:

- identity BPE models with byte fallback and nothing special: without its added tokens, and without merges
  that make or use control, unknown or byte pieces;
- other BPE models with byte fallback: behind SentencePiece's own normalizer, user-defined pieces kept;
- a `tokenizer.json` with a BPE model that gigatoken reads: without its special tokens;
- anything else, as tied scores, unused pieces, unigram models: the reference.

A chosen engine has to encode the hard set as the reference does before it may encode a build, and
`encode.py` has the reference encode one in `SAMPLE` documents again and fails on a difference. Which engine
encoded a build stands in its circumstances, never in its identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from .encoded import Encoded
from .hard_texts import hard_texts
from .huggingface import HuggingFaceReference
from .reference import Reference, kind_of, load_reference
from .sentencepiece import load_processor

REFERENCE = "sentencepiece"
HUGGINGFACE_REFERENCE = "tokenizers"
FAST = "gigatoken"
FAST_NORMALIZED = "sentencepiece normalizer, gigatoken"
SAMPLE = 1000
"""One in so many documents, by text hash, is encoded by the reference as well."""

RENEWED_AFTER_BYTES = 128_000_000
"""UTF-8 bytes after which gigatoken is loaded anew; bounds its memory, by some 100 MB on ordinary text."""

_messages: Any = sentencepiece_model_pb2
"""The messages of a model file; protobuf makes them when it is loaded, so no checker sees them."""
Piece = _messages.ModelProto.SentencePiece


class Engine(Protocol):
    """Encodes batches of texts."""

    def encode(self, texts: Sequence[bytes]) -> Encoded:
        """The ids of each text, given in UTF-8, without EODs."""
        ...


class Slow:
    """The reference as an engine."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def encode(self, texts: Sequence[bytes]) -> Encoded:
        """The ids of each text, given in UTF-8, without EODs."""
        return self._reference.encode([text.decode() for text in texts])


class Fast:
    """gigatoken, made equal to a tokenizer; behind SentencePiece's normalizer where there is one to use.

    A text a call: a batch starts with an empty memo of words each time, which costs a quarter more on batches of 4 MB.
    The memo of single calls grows for ever, by 0.7 bytes a byte of ordinary text and by 9 of random letters, so the
    tokenizer is loaded anew, in 50 ms, after every `RENEWED_AFTER_BYTES`.
    """

    def __init__(self, form: str | bytes, normalizer: SentencePieceProcessor | None) -> None:
        self._form, self._normalizer = form, normalizer
        self._load()

    def _load(self) -> None:
        import gigatoken  # here, because the reference does without

        self._tokenizer: Any = gigatoken.Tokenizer.from_json(self._form).backend
        self._bytes = 0

    def encode(self, texts: Sequence[bytes]) -> Encoded:
        """The ids of each text, given in UTF-8, without EODs."""
        if self._bytes > RENEWED_AFTER_BYTES:
            self._load()
        self._bytes += sum(map(len, texts))
        encode = self._tokenizer.encode
        if self._normalizer is None:
            rows = [encode(text) for text in texts]
        else:
            rows = [encode(text) for text in self._normalizer.normalize([text.decode() for text in texts])]
        ids: NDArray[np.uint32] = np.concatenate(rows) if rows else np.zeros(0, np.uint32)
        return Encoded(ids.view(np.int32), np.fromiter(map(len, rows), np.int64, len(rows)))


def _tokenizer_json(model: bytes, *, normalized: bool) -> bytes:
    """A model in the form that gigatoken reads, without what would make its ids differ from SentencePiece's.

    SentencePiece joins the two neighbours whose joined piece has the best score, whichever way the piece is cut in
    two; a `tokenizer.json` ranks each way of cutting. Here those of one piece follow each other, the longest left side
    first. Pieces that no text may give, and user-defined ones, which are found before any joining, take no part.
    """
    proto, pieces = _read(model)
    joined = sorted(((score, piece) for piece, score, kind in pieces if kind == Piece.NORMAL), reverse=True)
    known = {piece for _, piece in joined}
    steps: list[dict[str, object]] = [{"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]
    if proto.normalizer_spec.add_dummy_prefix and not normalized:
        steps.insert(0, {"type": "Prepend", "prepend": "\u2581"})
    form = {
        "version": "1.0",
        "added_tokens": [
            {"id": number, "content": piece, "special": False, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for number, (piece, _, kind) in enumerate(pieces)
            if kind == Piece.USER_DEFINED
        ],
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "model": {
            "type": "BPE",
            "unk_token": proto.trainer_spec.unk_piece,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: number for number, (piece, _, _) in enumerate(pieces)},
            "merges": [
                (piece[:cut], piece[cut:])
                for _, piece in joined
                for cut in range(len(piece) - 1, 0, -1)
                if piece[cut:] in known and piece[:cut] in known  # ends are known less often than beginnings
            ],
        },
    }
    return orjson.dumps(form)


@lru_cache(maxsize=1)
def _read(model: bytes) -> tuple[Any, list[tuple[str, float, int]]]:
    """A model's proto, and piece, score and kind of each id; asking the proto for each takes longer than reading it."""
    proto = _messages.ModelProto()
    proto.ParseFromString(model)
    return proto, [(piece.piece, piece.score, piece.type) for piece in proto.pieces]


def classify(model: bytes) -> str:
    """The engine that can be made equal to SentencePiece for a model, by what its proto says."""
    proto, pieces = _read(model)
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    kinds = {kind for _, _, kind in pieces}
    scores = [score for piece, score, kind in pieces if kind == Piece.NORMAL and len(piece) > 1]
    if (
        trainer.model_type != _messages.TrainerSpec.BPE
        or not trainer.byte_fallback
        or not normalizer.escape_whitespaces
        or trainer.treat_whitespace_as_suffix
        or Piece.UNUSED in kinds
        or len(set(scores)) != len(scores)
    ):
        return REFERENCE
    plain = not normalizer.precompiled_charsmap and not normalizer.remove_extra_whitespaces
    return FAST if plain and Piece.USER_DEFINED not in kinds else FAST_NORMALIZED


@lru_cache(maxsize=4)
def load_engine(name: str, path: str) -> Engine:
    """Load an engine once per process.

    Args:
        name: what `choose_engine` said.
        path: of the tokenizer.

    Raises:
        ValueError: for a name that is no engine's.
    """
    if name == reference_of(path):
        return Slow(load_reference(path))
    if name not in (FAST, FAST_NORMALIZED):
        raise ValueError(f"no engine {name!r}")
    reference = load_reference(path)
    if isinstance(reference, HuggingFaceReference):
        form = reference.fast_form()
        assert form is not None, "choose_engine takes gigatoken for BPE models only"
        return Fast(form, None)
    normalizer = load_processor(path) if name == FAST_NORMALIZED else None
    return Fast(_tokenizer_json(Path(path).read_bytes(), normalized=normalizer is not None), normalizer)


def reference_of(path: str) -> str:
    """The engine whose ids are the truth for this tokenizer."""
    return HUGGINGFACE_REFERENCE if kind_of(path) == "huggingface" else REFERENCE


@lru_cache(maxsize=4)
def choose_engine(path: str) -> str:
    """The fastest engine that gives the ids of the reference for this tokenizer, on the hard set as well."""
    if kind_of(path) == "huggingface":
        return FAST if _reads(path) and not differing_texts(FAST, path) else reference_of(path)
    name = classify(Path(path).read_bytes())
    return name if name != reference_of(path) and not differing_texts(name, path) else reference_of(path)


def _reads(path: str) -> bool:
    """Whether gigatoken reads a `tokenizer.json`: it says itself what it does not know."""
    reference = load_reference(path)
    if not isinstance(reference, HuggingFaceReference) or reference.fast_form() is None:
        return False
    try:
        load_engine(FAST, path)
    except (RuntimeError, ValueError):
        return False
    return True


def differing_texts(name: str, path: str) -> list[str]:
    """Texts of the hard set whose ids by an engine are not those of the reference."""
    reference = load_reference(path)
    texts = hard_texts(reference.pieces[:50])
    expected, found = reference.encode(texts), load_engine(name, path).encode([text.encode() for text in texts])
    if np.array_equal(expected.ids, found.ids) and np.array_equal(expected.lengths, found.lengths):
        return []
    sides = [np.split(side.ids, np.cumsum(side.lengths)[:-1]) for side in (expected, found)]
    return [text for text, one, other in zip(texts, *sides, strict=True) if not np.array_equal(one, other)]
