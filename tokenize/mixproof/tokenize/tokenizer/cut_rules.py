"""Which rule of `cuts.py` holds for a tokenizer, by construction: everything that is not listed here is encoded whole.

- `tokenizer.json`, words: every part of the pre-tokenizer is in `_splits_words` or `_splits_more`, at least one in the
  former, and every part of the normalizer maps a letter and the white space after it to strings that do not depend on
  each other.
- `tokenizer.json`, pairs: BPE without pre-tokenizer, whose normalizer only replaces spaces (and puts one before the
  text, if no added token could split it).
- SentencePiece, pairs: BPE models, after the model's own normalizer. Unigram models add scores in single precision from
  the start of a text on, so their ids depend on the whole of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .admission import SPACE, Piece, read_proto
from .cuts import Cuts, PairCuts, WordCuts, pairs_of
from .patterns import EXPRESSIONS

NORMALIZERS = frozenset(
    {"NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents", "BertNormalizer", "Precompiled"}
)
"""Normalizers that change a character only together with the marks and joiners after it."""
SPACES_TO_ONE = {"type": "Replace", "pattern": {"Regex": " {2,}"}}
"""A part of T5's normalizer; runs of spaces are never cut."""
WHITE_SPACE = " \n\t"


def cuts_of_huggingface(form: dict[str, Any], normalized: Callable[[str], str]) -> Cuts | None:
    """The cuts of a `tokenizer.json`.

    Args:
        form: the parsed file, without post-processor and dropout.
        normalized: the tokenizer's normalizer.
    """
    added = tuple(str(token["content"]) for token in form.get("added_tokens") or [])
    if not all(added):
        return None
    if form.get("pre_tokenizer") is None:
        return _pair_cuts(form, added)
    normalizers = list(_parts(form.get("normalizer"), "normalizers"))
    has_normalized = any(
        token.get("normalized") and not token.get("special") for token in form.get("added_tokens") or []
    )
    if not all(map(_is_local, normalizers)) or (normalizers and has_normalized):
        return None
    parts = list(_parts(form["pre_tokenizer"], "pretokenizers"))
    if not any(map(_splits_words, parts)) or not all(_splits_words(part) or _splits_more(part) for part in parts):
        return None
    if all(map(_is_known_expression, parts)) and not any(part.get("add_prefix_space") for part in parts):
        return WordCuts(WHITE_SPACE, "PS" if normalizers in ([], [{"type": "NFC"}]) else "", added)
    white_space = "".join(each for each in WHITE_SPACE if normalized(each) == " ")  # no other space is put before it
    is_bert = [part["type"] for part in parts] == ["BertPreTokenizer"]
    return WordCuts(white_space, "P" if is_bert else "", added)


def cuts_of_sentencepiece(model: bytes) -> Cuts | None:
    """The cuts of a normalized text for a SentencePiece model."""
    proto, pieces = read_proto(model)
    if proto.trainer_spec.model_type != proto.trainer_spec.BPE:
        return None
    known = frozenset(piece for piece, _, kind in pieces if len(piece) == 1 and kind == Piece.NORMAL)
    return PairCuts(
        pairs_of([piece for piece, _, _ in pieces]), None if proto.trainer_spec.byte_fallback else known, ()
    )


def without_normalizer(model: bytes) -> bytes:
    """The same SentencePiece model for texts that are normalized already."""
    proto, _ = read_proto(model)
    plain = type(proto)()
    plain.CopyFrom(proto)
    spec = plain.normalizer_spec
    spec.name, spec.precompiled_charsmap, spec.normalization_rule_tsv = "identity", b"", ""
    spec.add_dummy_prefix = spec.remove_extra_whitespaces = spec.escape_whitespaces = False
    return bytes(plain.SerializeToString())


def without_prefix(form: dict[str, Any]) -> dict[str, Any]:
    """A `tokenizer.json` that puts no space before a text, for all pieces but the first."""
    kept = [part for part in _parts(form.get("normalizer"), "normalizers") if part.get("type") != "Prepend"]
    return form | {"normalizer": {"type": "Sequence", "normalizers": kept} if kept else None}


def _pair_cuts(form: dict[str, Any], added: tuple[str, ...]) -> Cuts | None:
    model = form["model"]
    ignored = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    if model.get("type") != "BPE" or any(model.get(name) for name in ignored):
        return None
    prepend = {"type": "Prepend", "prepend": SPACE}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    parts = list(_parts(form.get("normalizer"), "normalizers"))
    plain = [token for token in form.get("added_tokens") or [] if not token.get("special")]
    if parts not in ([], [replace], [prepend, replace]) or (prepend in parts and plain):
        return None
    if parts and any(token.get("normalized") for token in plain):
        return None
    entries = list(model["vocab"])
    as_bytes = [f"<0x{byte:02X}>" for byte in range(256)] if model.get("byte_fallback") else []
    joined_bytes = any("<0x" in entry for entry in set(entries).difference(as_bytes))
    has_bytes = bool(as_bytes) and set(as_bytes) <= set(entries) and not joined_bytes
    known = None if has_bytes else frozenset(entry for entry in entries if len(entry) == 1)
    return PairCuts(pairs_of(entries), known, added, SPACE if parts else " ")


def _parts(step: dict[str, Any] | None, name: str) -> Iterator[dict[str, Any]]:
    """The parts of a normalizer or pre-tokenizer, sequences in sequences unfolded."""
    if step is None:
        return
    if step.get("type") == "Sequence":
        for part in step[name]:
            yield from _parts(part, name)
    else:
        yield step


def _is_local(normalizer: dict[str, Any]) -> bool:
    kind = normalizer.get("type")
    if kind == "Strip":  # pieces end with a letter; only the first may begin with one
        return not normalizer.get("strip_left")
    return kind in NORMALIZERS or {"type": kind, "pattern": normalizer.get("pattern")} == SPACES_TO_ONE


def _splits_words(part: dict[str, Any]) -> bool:
    """Whether a part of a pre-tokenizer always splits between a letter and white space."""
    kind = part.get("type")
    if kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer"):
        return True
    if kind == "Metaspace":
        return bool(part.get("split", True)) and part.get("replacement", SPACE) == SPACE
    return _is_known_expression(part) and not _is_bytes_only(part)


def _splits_more(part: dict[str, Any]) -> bool:
    """Whether a part of a pre-tokenizer decides by single characters where else to split."""
    return part.get("type") in ("Digits", "Punctuation") or _is_bytes_only(part)


def _is_known_expression(part: dict[str, Any]) -> bool:
    if part.get("type") == "ByteLevel":
        return True
    is_isolated = str(part.get("behavior")).lower() == "isolated" and not part.get("invert")
    return part.get("type") == "Split" and is_isolated and part.get("pattern", {}).get("Regex") in EXPRESSIONS.values()


def _is_bytes_only(part: dict[str, Any]) -> bool:
    return part.get("type") == "ByteLevel" and part.get("use_regex") is False
