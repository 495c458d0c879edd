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

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from .encoded import Encoded
from .hard_texts import hard_texts
from .huggingface import HuggingFaceReference
from .reference import kind_of, load_reference
from .sentencepiece import load_processor

REFERENCE = "sentencepiece"
HUGGINGFACE_REFERENCE = "tokenizers"
FAST = "gigatoken"
FAST_NORMALIZED = "sentencepiece normalizer, gigatoken"
SAMPLE = 1000
"""One in so many documents, by text hash, is encoded by the reference as well."""

_messages: Any = sentencepiece_model_pb2
"""The messages of a model file; protobuf makes them when it is loaded, so no checker sees them."""
Piece = _messages.ModelProto.SentencePiece


class Engine(Protocol):
    """Encodes batches of texts."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs."""
        ...


class Fast:
    """gigatoken, made equal to a tokenizer; behind SentencePiece's normalizer where there is one to use."""

    def __init__(self, form: str, normalizer: SentencePieceProcessor | None) -> None:
        import gigatoken  # here, because it takes 0.4 s that the reference does without

        self._normalizer = normalizer
        self._tokenizer: Any = gigatoken.Tokenizer.from_json(form)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs."""
        batch = list(texts) if self._normalizer is None else self._normalizer.normalize(list(texts))
        rows = self._tokenizer.encode_batch(batch, parallel=False).layout
        offsets = np.asarray(rows.offsets.data)
        ids = np.asarray(rows.content.data)[offsets[0] : offsets[-1]]
        return Encoded(ids.astype(np.int64), np.diff(offsets).astype(np.int64))


def _tokenizer_json(model: bytes, *, normalized: bool) -> str:
    """A model as gigatoken reads it, without what would make its ids differ from SentencePiece's."""
    from gigatoken._load.sentencepiece import sentencepiece_to_tokenizer_json

    proto = _proto(model)
    fixed = {piece.piece for piece in proto.pieces if piece.type in (Piece.UNKNOWN, Piece.CONTROL, Piece.BYTE)}
    named = {piece.piece for piece in proto.pieces if piece.type == Piece.USER_DEFINED}
    tokenizer = json.loads(sentencepiece_to_tokenizer_json(model))
    added = [token | {"special": False} for token in tokenizer["added_tokens"] if token["content"] in named]
    tokenizer["added_tokens"] = added
    merges = tokenizer["model"]["merges"]
    whole = fixed | named
    tokenizer["model"]["merges"] = [[left, right] for left, right in merges if not {left, right, left + right} & whole]
    if normalized:
        escape = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [escape]}
    return json.dumps(tokenizer, ensure_ascii=False)


def _proto(model: bytes) -> Any:  # noqa: ANN401  see `_messages`
    proto = _messages.ModelProto()
    proto.ParseFromString(model)
    return proto


def classify(model: bytes) -> str:
    """The engine that can be made equal to SentencePiece for a model, by what its proto says."""
    proto = _proto(model)
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    kinds = {piece.type for piece in proto.pieces}
    scores = [piece.score for piece in proto.pieces if piece.type == Piece.NORMAL and len(piece.piece) > 1]
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
        return load_reference(path)
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
    expected, found = reference.encode(texts), load_engine(name, path).encode(texts)
    if np.array_equal(expected.ids, found.ids) and np.array_equal(expected.lengths, found.lengths):
        return []
    sides = [np.split(side.ids, np.cumsum(side.lengths)[:-1]) for side in (expected, found)]
    return [text for text, one, other in zip(texts, *sides, strict=True) if not np.array_equal(one, other)]
