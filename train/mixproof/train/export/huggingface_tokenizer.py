"""A run's tokenizer as transformers loads it, with ids held against those that the run was trained on.

A `tokenizer.json` is written as it was used: without padding, truncation and what it would add around a text.
Of a SentencePiece model a Hugging Face tokenizer is made.
It is made from the model's own pieces: for BPE every way to put a piece together from two others, in the
order of the pieces' scores, for unigram models the scores; the normalizer from the model's. Control pieces never take
part in merges and `split_special_tokens` is on, so that a literal `</s>` in a text is text, as in SentencePiece; EOD
is `bos` and `eos`. No token is added in front of a text. `tokenizer.model` lies beside it for tools that read it.

Transformers' own `LlamaTokenizer` makes other ids from the same model (it changed 1,502 of 1,658 hard texts of an
identity model), so the files ask for the plain fast tokenizer.

In both, `split_special_tokens` keeps literal special tokens text. Equality cannot be proven for every model:
`differences` counts, and an export says what it found.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentencepiece import sentencepiece_model_pb2

from mixproof.ledger.errors import RequestError
from mixproof.tokenize.tokenizer.reference import Reference, kind_of

MODEL = "tokenizer.model"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPACE = "\u2581"
"""How SentencePiece writes a space within pieces."""

NEVER = -1e6
"""Score of a piece that no text may be cut into."""

_messages: Any = sentencepiece_model_pb2
"""The messages of a model file; protobuf makes them when it is loaded, so no checker sees them."""


@dataclass(frozen=True)
class TokenizerCheck:
    """How far a tokenizer agrees with the reference."""

    texts: int
    """Texts compared."""
    different: int
    """Of those, texts with other ids."""
    example: str
    """The start of the first of them; empty where there is none."""

    @property
    def exact(self) -> bool:
        """Whether every text had the same ids."""
        return self.different == 0


def write_tokenizer(tokenizer: Path, eod_id: int, folder: Path) -> None:
    """Write the files of a tokenizer into `folder`.

    Args:
        tokenizer: the SentencePiece model or the `tokenizer.json`.
        eod_id: the id that ends a document.
        folder: where the files go.

    Raises:
        RequestError: when a SentencePiece model is neither BPE nor unigram.
    """
    if kind_of(str(tokenizer)) == "huggingface":
        _write_form(json.loads(tokenizer.read_bytes()), eod_id, folder)
    else:
        _write_model(tokenizer, eod_id, folder)


def _write_form(form: dict[str, Any], eod_id: int, folder: Path) -> None:
    form |= {"post_processor": None, "padding": None, "truncation": None}
    (folder / TOKENIZER).write_text(json.dumps(form, ensure_ascii=False), encoding="utf-8")
    eod = next(str(token["content"]) for token in form["added_tokens"] if token["id"] == eod_id)
    _write_config({"bos_token": eod, "eos_token": eod}, folder)


def _write_model(model: Path, eod_id: int, folder: Path) -> None:
    proto = _messages.ModelProto()
    proto.ParseFromString(model.read_bytes())
    tokenizer = _tokenizer(proto)
    (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    eod = proto.pieces[eod_id].piece
    unknown = proto.pieces[proto.trainer_spec.unk_id].piece
    _write_config({"bos_token": eod, "eos_token": eod, "unk_token": unknown}, folder)
    shutil.copyfile(model, folder / MODEL)


def _write_config(tokens: dict[str, str], folder: Path) -> None:
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **tokens,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
    }
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def differences(folder: Path, reference: Reference, texts: Sequence[str]) -> TokenizerCheck:
    """Compare the tokenizer in `folder`, as transformers loads it, with the reference."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    encoded = reference.encode(texts)
    expected = np.split(encoded.ids, np.cumsum(encoded.lengths)[:-1])
    different = [text for text, ids in zip(texts, expected, strict=True) if tokenizer(text).input_ids != ids.tolist()]
    return TokenizerCheck(len(texts), len(different), different[0][:80] if different else "")


def _tokenizer(proto: Any) -> Any:  # noqa: ANN401  no types: protobuf's messages, tokenizers' objects
    from tokenizers import AddedToken, Tokenizer, decoders, models

    trainer = proto.trainer_spec
    piece_type = _messages.ModelProto.SentencePiece
    kinds = _messages.TrainerSpec
    model: Any
    if trainer.model_type == kinds.BPE:
        vocabulary = {piece.piece: number for number, piece in enumerate(proto.pieces)}
        unknown = proto.pieces[trainer.unk_id].piece
        model = models.BPE(
            vocabulary, _merges(proto), unk_token=unknown, fuse_unk=True, byte_fallback=trainer.byte_fallback
        )
    elif trainer.model_type == kinds.UNIGRAM:
        ordinary = (piece_type.NORMAL, piece_type.USER_DEFINED, piece_type.UNKNOWN)
        scores = [(piece.piece, piece.score if piece.type in ordinary else NEVER) for piece in proto.pieces]
        model = models.Unigram(scores, unk_id=trainer.unk_id, byte_fallback=trainer.byte_fallback)
    else:
        raise RequestError("tokenizer: only BPE and unigram models of SentencePiece have a Hugging Face form")
    tokenizer = Tokenizer(model)
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


def _merges(proto: Any) -> list[tuple[str, str]]:  # noqa: ANN401  no types: protobuf's messages
    """Every pair of pieces that makes a piece, best score first; only ordinary pieces take part."""
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
