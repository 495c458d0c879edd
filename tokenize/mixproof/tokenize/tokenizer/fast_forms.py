"""The forms of tokenizers that gigatoken reads, without what would make its ids differ from those of the reference."""

from __future__ import annotations

from typing import Any

import orjson

from .admission import SPACE, Piece, plain_added_tokens, read_proto
from .tiktoken import TiktokenEncoding


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


def tiktoken_form(encoding: TiktokenEncoding) -> dict[str, Any]:
    """A tiktoken encoding as a `tokenizer.json`, with its special tokens.

    tiktoken joins the two neighbors whose joined bytes have the lowest rank, however the token is divided; here the
    divisions of one token follow each other, shortest left side first. A piece that is a token is taken whole
    (`ignore_merges`). Ids differ from tiktoken's where two divisions of one token overlap.
    """
    letters = byte_letters()
    known = encoding.ranks
    names = {token: "".join(map(letters.__getitem__, token)) for token in known}
    split = {"type": "Split", "pattern": {"Regex": encoding.pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": number, "content": token, "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for token, number in sorted(encoding.special.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "ignore_merges": True,
            "vocab": {names[token]: rank for token, rank in known.items()},
            "merges": [
                (names[token[:cut]], names[token[cut:]])
                for token in sorted(known, key=known.__getitem__)
                for cut in range(1, len(token))
                if token[:cut] in known and token[cut:] in known
            ],
        },
    }


def byte_letters() -> dict[int, str]:
    """The character that stands for each byte in a byte-level `tokenizer.json` (GPT-2's `bytes_to_unicode`)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(0x100 + index) for index, byte in enumerate(others)}


def huggingface_form(form: dict[str, Any], *, with_added: bool) -> bytes:
    """A `tokenizer.json` without special tokens, which are ordinary text here.

    Args:
        form: the parsed file, without dropout, padding, truncation and post-processor.
        with_added: whether gigatoken matches the added tokens that are not special.
    """
    return orjson.dumps(form | {"added_tokens": plain_added_tokens(form) if with_added else []})
