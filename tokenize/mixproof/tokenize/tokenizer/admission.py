"""Which engine can be exact for a tokenizer, by construction: what gigatoken is known to do as the reference does.

gigatoken reads more than it does exactly. Without an error it ignores dropout, word suffixes, flags of added tokens and
the behavior of a split, and it matches added tokens before it normalizes. So a tokenizer is admitted only if every part
of it is in one of these lists; everything else is encoded by the reference:

- SentencePiece: BPE models with byte fallback, white space escaped and not a suffix, without unused pieces and without
  two pieces of equal score. Identity models without user-defined pieces are encoded directly, all others after
  SentencePiece's own normalizer.
- `tokenizer.json`, byte-level BPE: normalizer none or NFC; pre-tokenizer `ByteLevel`, or one `Split` (isolated, not
  inverted) with an expression of `EXPRESSIONS`, then `ByteLevel` without its own expression.
- `tokenizer.json`, BPE with byte fallback and fused unknown pieces: Llama 2's normalizer (prepend U+2581, replace each
  space by it) or only its replacement; no pre-tokenizer.
- tiktoken encodings with a named pattern; with cl100k's only if every token can be joined from two of lower rank, which
  gigatoken requires there. Characters that this Python's Unicode does not assign go to the reference, because libraries
  disagree on which of them are letters.
- Added tokens that are not special: by gigatoken itself if there is no normalizer, no prefix space and no token has
  `single_word`, `lstrip` or `rstrip`.

Some texts of an admitted `tokenizer.json` are still encoded by the reference, if an expression finds them all
(`exceptions`): texts in which another added token could match, and, with NFC, texts with characters whose normalization
depends on the version of Unicode that a library was made with.

Dropout, sampling, padding, truncation and post-processors are removed before (`huggingface.py`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import groupby
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from .patterns import EXPRESSIONS, PATTERNS
from .tiktoken import TiktokenEncoding

REFERENCE = "sentencepiece"
HUGGINGFACE_REFERENCE = "tokenizers"
TIKTOKEN_REFERENCE = "regex and ranks"
FAST = "gigatoken"
FAST_NORMALIZED = "sentencepiece normalizer, gigatoken"
FAST_EXCEPT_NEW = "gigatoken, regex and ranks for some texts"
FAST_EXCEPT = "gigatoken, tokenizers for some texts"

SPACE = "\u2581"
NFC = {"type": "NFC"}
MARK_RANGES = ((0x300, 0x3400), (0xA000, 0xAC00), (0xD7A4, 0xD800), (0xFB00, 0x10000), (0x10000, 0x20000))
"""Blocks with combining marks and compositions; the others are ideographs, Hangul, private use or unassigned."""
COMPOSED_TO_ASCII = ("\u037e", "\u1fef", "\u212a")
"""The only characters that NFC turns into ASCII: `;`, a grave accent and `K` (Unicode's UnicodeData.txt)."""
MAX_PATTERN_TOKENS = 500
"""More added tokens than this make no pattern that is faster than the reference."""

_messages: Any = sentencepiece_model_pb2
"""The messages of a model file; protobuf creates them at import, so type checkers cannot see them."""
Piece = _messages.ModelProto.SentencePiece


@lru_cache(maxsize=1)
def read_proto(model: bytes) -> tuple[Any, list[tuple[str, float, int]]]:
    """A model's proto, and (piece, score, type) of each id; reading these from the proto each time would be slower."""
    proto = _messages.ModelProto()
    proto.ParseFromString(model)
    return proto, [(piece.piece, piece.score, piece.type) for piece in proto.pieces]


def admit_sentencepiece(model: bytes) -> str:
    """The fastest engine that can be exact for a SentencePiece model."""
    proto, pieces = read_proto(model)
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    types = {piece_type for _, _, piece_type in pieces}
    scores = [score for piece, score, piece_type in pieces if piece_type == Piece.NORMAL and len(piece) > 1]
    if (
        trainer.model_type != _messages.TrainerSpec.BPE
        or not trainer.byte_fallback
        or not normalizer.escape_whitespaces
        or trainer.treat_whitespace_as_suffix
        or Piece.UNUSED in types
        or len(set(scores)) != len(scores)
    ):
        return REFERENCE
    is_identity = not normalizer.precompiled_charsmap and not normalizer.remove_extra_whitespaces
    return FAST if is_identity and Piece.USER_DEFINED not in types else FAST_NORMALIZED


def admit_huggingface(form: dict[str, Any]) -> str:
    """The fastest engine that can be exact for a `tokenizer.json`."""
    model = form["model"]
    ignored = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    if model.get("type") != "BPE" or any(model.get(name) for name in ignored):
        return HUGGINGFACE_REFERENCE
    if not (_is_byte_level(form) or _is_byte_fallback(form)):
        return HUGGINGFACE_REFERENCE
    pattern = exceptions(form)
    if pattern is None:
        return HUGGINGFACE_REFERENCE
    return FAST_EXCEPT if pattern else FAST


def admit_tiktoken(encoding: TiktokenEncoding) -> str:
    """The fastest engine that can be exact for a tiktoken encoding."""
    if encoding.pattern == PATTERNS["cl100k"]:
        return FAST_EXCEPT_NEW if encoding.is_joined_by_rank() else TIKTOKEN_REFERENCE
    return FAST_EXCEPT_NEW if encoding.pattern in EXPRESSIONS.values() else TIKTOKEN_REFERENCE


def plain_added_tokens(form: dict[str, Any]) -> list[dict[str, Any]]:
    """The added tokens that are not special; they are matched in text."""
    return [token for token in form.get("added_tokens") or [] if not token.get("special")]


def exceptions(form: dict[str, Any]) -> str | None:
    """An expression (RE2) that finds every text which gigatoken might not encode exactly.

    An added token is matched in the text as it is, or in its normalized form. Without a normalizer it must be in the
    text. NFC keeps ASCII characters and their neighbors, and only `COMPOSED_TO_ASCII` become ASCII. Llama 2's
    normalizer changes only spaces. `single_word`, `lstrip` and `rstrip` never match more than this.

    Returns:
        "" if there are no such texts, None if no expression finds them all.
    """
    added = plain_added_tokens(form)
    contents = [str(token["content"]) for token in added]
    normalizer = form.get("normalizer")
    has_flags = any(token.get(flag) for token in added for flag in ("single_word", "lstrip", "rstrip"))
    has_prefix_space = bool((form.get("pre_tokenizer") or {}).get("add_prefix_space"))
    if normalizer is None and not (has_flags or (has_prefix_space and added)):
        return ""
    if len(contents) > MAX_PATTERN_TOKENS or not all(contents):
        return None
    alternatives = list(map(re.escape, contents))
    if normalizer == NFC:
        if not "".join(contents).isascii():
            return None
        alternatives += [*(COMPOSED_TO_ASCII if contents else ()), unstable_marks()]
    elif normalizer is not None and any(sign in content for content in contents for sign in (" ", SPACE)):
        return None
    return "|".join(alternatives)


@lru_cache(maxsize=1)
def unassigned_characters() -> str:
    """An RE2 class of the characters that this Python's version of Unicode does not assign."""
    return _class_of([code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cn"])


@lru_cache(maxsize=1)
def unstable_marks() -> str:
    """An RE2 class of the characters that came to Unicode after 3.2 and take part in normalization.

    Those that are unassigned in Python's version may be marks in a later one. Older characters normalize alike in all
    versions (Unicode's normalization stability policy).
    """
    return _class_of([code for start, stop in MARK_RANGES for code in range(start, stop) if _is_unstable(chr(code))])


def _class_of(codes: list[int]) -> str:
    """An RE2 class of sorted code points."""
    runs = [[code for _, code in run] for _, run in groupby(enumerate(codes), lambda each: each[1] - each[0])]
    return "[" + "".join(f"\\x{{{run[0]:x}}}-\\x{{{run[-1]:x}}}" for run in runs) + "]"


def _is_unstable(character: str) -> bool:
    if unicodedata.ucd_3_2_0.category(character) != "Cn":
        return False
    is_unassigned = unicodedata.category(character) == "Cn"
    return is_unassigned or bool(unicodedata.combining(character) or unicodedata.decomposition(character))


def _is_byte_level(form: dict[str, Any]) -> bool:
    if form["model"].get("byte_fallback") or form.get("normalizer") not in (None, NFC):
        return False
    steps = form.get("pre_tokenizer") or {}
    splits = steps.get("pretokenizers", []) if steps.get("type") == "Sequence" else [steps]
    if len(splits) == 1:
        return bool(splits[0].get("type") == "ByteLevel" and splits[0].get("use_regex", True))
    if len(splits) != 2:
        return False
    split, byte_level = splits
    return (
        split.get("type") == "Split"
        and split.get("pattern", {}).get("Regex") in EXPRESSIONS.values()
        and str(split.get("behavior")).lower() == "isolated"
        and not split.get("invert")
        and byte_level.get("type") == "ByteLevel"
        and byte_level.get("use_regex") is False
        and not byte_level.get("add_prefix_space")
    )


def _is_byte_fallback(form: dict[str, Any]) -> bool:
    model, normalizer = form["model"], form.get("normalizer") or {}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend = {"type": "Prepend", "prepend": SPACE}
    steps = normalizer.get("normalizers", []) if normalizer.get("type") == "Sequence" else [normalizer]
    return (
        bool(model.get("byte_fallback") and model.get("fuse_unk"))
        and not model.get("ignore_merges")
        and form.get("pre_tokenizer") is None
        and steps in ([prepend, replace], [replace])
    )
