"""A run's tokenizer in the form that transformers loads, with its ids checked against those used in training.

A `tokenizer.json` is written as it was used in training: without padding, truncation or post-processing. A tiktoken
encoding becomes a byte-level `tokenizer.json` with the same pattern.

A SentencePiece model is converted from its own pieces. A BPE model gets every pair of pieces that forms a piece as a
merge, ordered by the pieces' scores; a unigram model keeps its scores; the normalizer is the model's. Control pieces
take part in no merge. EOD is `eos`, and also `bos` unless the build has a BOS; no token is
added in front of a text. `tokenizer.model` is copied
for tools that read it. Transformers' `LlamaTokenizer` gives different ids for the same model (on 1,502 of 1,658 hard
texts of an identity model), so the files name the plain fast tokenizer class.

In both cases `split_special_tokens` is on, so that a literal `</s>` in a text stays text, unless the run has a chat
template that writes control tokens (`chat_template.py`). Equal ids cannot be proven
for every model: `differences` counts the texts that differ, and the export reports the count.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentencepiece import sentencepiece_model_pb2

from mixproof.ledger.errors import RequestError
from mixproof.tokenize.tokenizer.fast_forms import tiktoken_form
from mixproof.tokenize.tokenizer.huggingface import for_encoding
from mixproof.tokenize.tokenizer.reference import Reference, kind_of
from mixproof.tokenize.tokenizer.tiktoken import parse_encoding

MODEL = "tokenizer.model"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPACE = "\u2581"
"""SentencePiece's symbol for a space within pieces."""

NEVER = -1e6
"""Score that keeps a piece out of every segmentation."""

_messages: Any = sentencepiece_model_pb2
"""Protobuf message classes of a model file; they are created at import time, so type checkers cannot see them."""


@dataclass(frozen=True)
class TokenizerCheck:
    """Agreement of a tokenizer with the reference."""

    texts: int
    """Number of texts compared."""
    different: int
    """Number of texts with different ids."""
    example: str
    """Start of the first text that differs; empty if none does."""

    @property
    def exact(self) -> bool:
        """Whether all texts have the same ids."""
        return self.different == 0


def write_tokenizer(
    tokenizer: Path, eod_id: int, folder: Path, bos_id: int | None = None, *, control_tokens: bool = False
) -> None:
    """Write the files of a tokenizer into `folder`.

    Args:
        tokenizer: the SentencePiece model, the `tokenizer.json` or the `encoding.tiktoken`.
        eod_id: the id of the end-of-document token.
        folder: the output folder.
        bos_id: the id that begins every document; None: none.
        control_tokens: whether control tokens are recognized in texts, for a chat template that writes them.

    Raises:
        RequestError: when a SentencePiece model is neither BPE nor unigram.
    """
    kind = kind_of(str(tokenizer))
    if kind == "tiktoken":
        encoding = parse_encoding(json.loads(tokenizer.read_bytes()), str(tokenizer))
        tokens = _write_huggingface(tiktoken_form(encoding), eod_id, folder, bos_id)
    elif kind == "huggingface":
        tokens = _write_huggingface(json.loads(tokenizer.read_bytes()), eod_id, folder, bos_id)
    else:
        tokens = _write_sentencepiece(tokenizer, eod_id, folder, bos_id)
    _write_config(tokens, folder, control_tokens=control_tokens)


def _write_huggingface(content: dict[str, Any], eod_id: int, folder: Path, bos_id: int | None) -> dict[str, str]:
    content = for_encoding(content)
    (folder / TOKENIZER).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    names = {token["id"]: str(token["content"]) for token in content["added_tokens"]}
    return _ends(names, eod_id, bos_id)


def _write_sentencepiece(model: Path, eod_id: int, folder: Path, bos_id: int | None) -> dict[str, str]:
    proto = _messages.ModelProto()
    proto.ParseFromString(model.read_bytes())
    tokenizer = _converted(proto)
    (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    unknown = proto.pieces[proto.trainer_spec.unk_id].piece
    names = {number: piece.piece for number, piece in enumerate(proto.pieces)}
    shutil.copyfile(model, folder / MODEL)
    return {**_ends(names, eod_id, bos_id), "unk_token": unknown}


def _ends(names: Mapping[int, str], eod_id: int, bos_id: int | None) -> dict[str, str]:
    """BOS and EOS; without a BOS, a text follows the EOD of the document before it."""
    return {"bos_token": names[eod_id if bos_id is None else bos_id], "eos_token": names[eod_id]}


def _write_config(tokens: dict[str, str], folder: Path, *, control_tokens: bool) -> None:
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **tokens,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": not control_tokens,
    }
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def differences(folder: Path, reference: Reference, texts: Sequence[str]) -> TokenizerCheck:
    """Compare the tokenizer in `folder`, loaded by transformers, with the reference on texts without control tokens."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    encoded = reference.encode(texts)
    expected = np.split(encoded.ids, np.cumsum(encoded.lengths)[:-1])
    found = (tokenizer(text, split_special_tokens=True).input_ids for text in texts)
    different = [text for text, ids, own in zip(texts, expected, found, strict=True) if own != ids.tolist()]
    return TokenizerCheck(len(texts), len(different), different[0][:80] if different else "")


def _converted(proto: Any) -> Any:  # noqa: ANN401  no types: protobuf's messages, tokenizers' objects
    """A SentencePiece model as a `tokenizers.Tokenizer`."""
    from tokenizers import AddedToken, Tokenizer, decoders

    piece_type = _messages.ModelProto.SentencePiece
    tokenizer = Tokenizer(_segmentation_model(proto))
    normalizer = _normalizer(proto.normalizer_spec)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    decode = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if proto.normalizer_spec.add_dummy_prefix:
        decode.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(decode)
    for piece in proto.pieces:
        if piece.type in (piece_type.CONTROL, piece_type.USER_DEFINED):
            token = AddedToken(piece.piece, normalized=False, special=piece.type == piece_type.CONTROL)
            (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


def _segmentation_model(proto: Any) -> Any:  # noqa: ANN401  no types: protobuf's messages, tokenizers' objects
    from tokenizers import models

    trainer, model_type = proto.trainer_spec, _messages.TrainerSpec
    if trainer.model_type == model_type.BPE:
        vocabulary = {piece.piece: index for index, piece in enumerate(proto.pieces)}
        unknown = proto.pieces[trainer.unk_id].piece
        return models.BPE(
            vocabulary, _merges(proto), unk_token=unknown, fuse_unk=True, byte_fallback=trainer.byte_fallback
        )
    if trainer.model_type == model_type.UNIGRAM:
        piece_type = _messages.ModelProto.SentencePiece
        ordinary = (piece_type.NORMAL, piece_type.USER_DEFINED, piece_type.UNKNOWN)
        scores = [(piece.piece, piece.score if piece.type in ordinary else NEVER) for piece in proto.pieces]
        return models.Unigram(scores, unk_id=trainer.unk_id, byte_fallback=trainer.byte_fallback)
    raise RequestError("tokenizer: SentencePiece models of type BPE and unigram can be exported; this one is neither")


def _merges(proto: Any) -> list[tuple[str, str]]:  # noqa: ANN401  no types: protobuf's messages
    """Every pair of normal pieces that forms a normal piece, best score first."""
    normal = _messages.ModelProto.SentencePiece.NORMAL
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == normal}
    merges: list[tuple[str, str]] = []
    for piece in sorted((piece for piece in scores if len(piece) > 1), key=lambda piece: -scores[piece]):
        cuts = range(1, len(piece))
        merges += [(piece[:cut], piece[cut:]) for cut in cuts if piece[:cut] in scores and piece[cut:] in scores]
    return merges


def _normalizer(spec: Any) -> Any:  # noqa: ANN401  no types: protobuf's messages, tokenizers' objects
    from tokenizers import Regex, normalizers

    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.escape_whitespaces:
        steps.append(normalizers.Replace(" ", SPACE))
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence(steps) if steps else None
