"""The ids of a text by the reference implementation of a build's tokenizer, independent of the code that encoded it.

The reference of a SentencePiece model is SentencePiece, that of a `tokenizer.json` the tokenizers package, that of a
tiktoken encoding the algorithm of its definition (`tiktoken_ids.py`). Rules that
every build follows: a literal special token in a text is ordinary text; nothing is added around a document; nothing is
padded or truncated; nothing is random (BPE dropout and sampling belong to training a model, not to encoding a corpus).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import sentencepiece

from mixproof.ledger.records.tokenizer import TokenizerRecord

from .tiktoken_ids import TiktokenIds

UNREACHABLE = "\ufdd0{}\ufdd1"
"""New name of a vocabulary entry that no text may produce; the two noncharacters are not used in interchanged text."""
BYTES = 256


class ReferenceIds(Protocol):
    """Encodes and decodes documents."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without EODs."""
        ...

    def decode(self, documents: Sequence[list[int]]) -> list[str]:
        """The text of each list of ids."""
        ...

    @property
    def restores_every_text(self) -> bool:
        """Whether decoding a text's ids always gives the text, by construction."""
        ...


def reference_ids(path: Path, record: TokenizerRecord) -> ReferenceIds:
    """Load the reference of a tokenizer.

    Raises:
        RuntimeError, ValueError, KeyError: when the file is not a tokenizer of this kind.
    """
    if record.kind == "tiktoken":
        return TiktokenIds(path)
    return _Tokenizers(path) if record.kind == "huggingface" else _SentencePiece(path)


class _SentencePiece:
    def __init__(self, path: Path) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self._processor.encode(list(texts), out_type=int, enable_sampling=False, num_threads=1)
        return ids

    def decode(self, documents: Sequence[list[int]]) -> list[str]:
        texts: list[str] = self._processor.decode(list(documents))
        return texts

    @property
    def restores_every_text(self) -> bool:
        return False  # it cannot tell U+2581 from a space


class _Tokenizers:
    def __init__(self, path: Path) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a Ray task has one CPU
        from tokenizers import Tokenizer

        form = json.loads(path.read_bytes())
        form |= {"post_processor": None, "padding": None, "truncation": None}
        self.restores_every_text = is_lossless(form)
        self._decoder: Any = Tokenizer.from_str(json.dumps(form, ensure_ascii=False))
        self._encoder: Any = Tokenizer.from_str(json.dumps(without_special_text(form), ensure_ascii=False))
        self._encoder.encode_special_tokens = True

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [row.ids for row in self._encoder.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, documents: Sequence[list[int]]) -> list[str]:
        texts: list[str] = self._decoder.decode_batch(list(documents), skip_special_tokens=False)
        return texts


def is_lossless(form: dict[str, Any]) -> bool:
    """Whether a tokenizer is byte-level BPE that neither changes a text nor has an unknown byte.

    Pre-tokenizers of these types keep every character; an added token must not take white space from its neighbors.
    """
    step = form.get("pre_tokenizer") or {}
    steps = step.get("pretokenizers", []) if step.get("type") == "Sequence" else [step]
    kinds = [each.get("type") for each in steps]
    keeps = all(
        kind in ("ByteLevel", "Digits") or (kind == "Split" and str(each.get("behavior")).lower() != "removed")
        for kind, each in zip(kinds, steps, strict=True)
    )
    return (
        form.get("normalizer") is None
        and keeps
        and kinds.count("ByteLevel") == 1
        and not any(each.get("add_prefix_space") for each in steps)
        and (form.get("decoder") or {}).get("type") == "ByteLevel"
        and form["model"].get("type") == "BPE"
        and not any(form["model"].get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix"))
        and sum(len(entry) == 1 for entry in form["model"]["vocab"]) >= BYTES
        and not any(token.get("lstrip") or token.get("rstrip") for token in form.get("added_tokens") or [])
    )


def without_randomness(form: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer without dropout and sampling."""
    model = {name: value for name, value in form["model"].items() if name not in ("alpha", "nbest_size")}
    if "dropout" in model:
        model["dropout"] = None
    return form | {"model": model}


def without_special_text(form: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer without dropout, its special tokens out of reach of any text; all ids stay.

    Only special tokens that are also entries of the model's vocabulary are renamed; the unknown token keeps its name.
    """
    model = dict(without_randomness(form)["model"])
    vocabulary = model["vocab"]
    entries = set(vocabulary) if isinstance(vocabulary, dict) else {entry for entry, _ in vocabulary}
    unknown = model.get("unk_token")
    if model.get("unk_id") is not None:
        unknown = vocabulary[model["unk_id"]][0]
    special = {token["content"] for token in form.get("added_tokens") or [] if token.get("special")}
    hidden = (special & entries) - {unknown}
    names = {entry: UNREACHABLE.format(entry) for entry in hidden}
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(entry, entry): number for entry, number in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(entry, entry), score] for entry, score in vocabulary]
    if "merges" in model:
        pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if hidden.isdisjoint([*pair, "".join(pair)])]
    added = [
        token | {"content": names.get(token["content"], token["content"])} for token in form.get("added_tokens") or []
    ]
    return form | {"model": model, "added_tokens": added}
