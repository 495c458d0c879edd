"""The forms of tokenizers that gigatoken reads, without what would make its ids differ from those of the reference."""

from __future__ import annotations

from typing import Any

import orjson

from .admission import SPACE, Piece, plain_added_tokens, read_proto


def sentencepiece_form(model: bytes, *, is_normalized: bool) -> bytes:
    """A SentencePiece BPE model as a `tokenizer.json`.

    SentencePiece joins the two neighbors whose joined piece has the best score, however the piece is divided; a
    `tokenizer.json` ranks each division. Here the divisions of one piece follow each other, longest left side first.
    Pieces that no text may give, and user-defined ones, which are matched before any joining, are in no merge.

    Args:
        model: the bytes of the model file.
        is_normalized: whether texts are normalized by SentencePiece before they are encoded.
    """
    proto, pieces = read_proto(model)
    joined = sorted(((score, piece) for piece, score, kind in pieces if kind == Piece.NORMAL), reverse=True)
    known = {piece for _, piece in joined}
    steps: list[dict[str, object]] = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    if proto.normalizer_spec.add_dummy_prefix and not is_normalized:
        steps.insert(0, {"type": "Prepend", "prepend": SPACE})
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
                if piece[cut:] in known and piece[:cut] in known  # suffixes are known less often than prefixes
            ],
        },
    }
    return orjson.dumps(form)


def huggingface_form(form: dict[str, Any], *, with_added: bool) -> bytes:
    """A `tokenizer.json` without special tokens, which are ordinary text here.

    Args:
        form: the parsed file, without dropout, padding, truncation and post-processor.
        with_added: whether gigatoken matches the added tokens that are not special.
    """
    return orjson.dumps(form | {"added_tokens": plain_added_tokens(form) if with_added else []})
