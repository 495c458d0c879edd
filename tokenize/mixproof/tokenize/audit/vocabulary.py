"""The tokenizer of a build: its checksum, its vocabulary size, and whether the reference loads it."""

from __future__ import annotations

import json
from pathlib import Path

import sentencepiece

from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.tokenize.audit.parts.reencode import load_reference

from .checksums import check_file
from .report import Checks


def check_tokenizer(root: Path, tokenizer: TokenizerRecord, checks: Checks) -> Path | None:
    """Check the tokenizer's checksum and vocabulary size; its file if it can encode, or None if a check failed."""
    path = check_file(root, tokenizer.path, tokenizer.sha256, checks)
    if path is None:
        return None
    at = checks.at(file=str(root / tokenizer.path))
    try:
        size = _COUNT[tokenizer.kind](path)
        load_reference(path, tokenizer)
    except Exception as error:  # noqa: BLE001  the tokenizers package raises no narrower class
        at.true("schema", False, f"a tokenizer of kind {tokenizer.kind}", str(error).splitlines()[0])
        return None
    return path if at.equal("E5", "ids in the vocabulary", size, tokenizer.vocab_size) else None


def _pieces_in(path: Path) -> int:
    return int(sentencepiece.SentencePieceProcessor(model_file=str(path)).get_piece_size())


def _ids_in(path: Path) -> int:
    """One more than the largest id of a `tokenizer.json`; its vocabulary is a map to ids or a list in order of ids."""
    form = json.loads(path.read_bytes())
    vocabulary = form["model"]["vocab"]
    ids: list[int] = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
    ids += [token["id"] for token in form.get("added_tokens") or []]
    return 1 + max(ids)


def _tokens_in(path: Path) -> int:
    """One more than the largest id of a tiktoken encoding."""
    form = json.loads(path.read_bytes())
    ranks = [int(line.split()[1]) for line in form["ranks"].splitlines() if line]
    special: list[int] = list(form["special_tokens"].values())
    return 1 + max(*ranks, *special)


_COUNT = {"sentencepiece": _pieces_in, "huggingface": _ids_in, "tiktoken": _tokens_in}
