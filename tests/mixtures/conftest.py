"""Small specs: a base text, and a way to load it with parts replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec

BASE = """\
schema: 1
name: small
sources:
  web: {files: "web/*.jsonl"}
  code: {files: "code/", format: code}
  wiki: {files: "wiki.parquet"}
tokenizer: {sentencepiece: tok.model}
mixtures:
  main: {web: 70%, code: 20%, wiki: 10%}
train:
  sequence_length: 10
  proxies:
    nano: {tokens: 1000, global_batch_size: 2, lr: 1.0e-3}
"""

LoadText = Callable[[str], Spec]
LoadWith = Callable[[str, str], Spec]


@pytest.fixture
def base() -> str:
    """Give the small spec's text."""
    return BASE


@pytest.fixture
def load_text(tmp_path: Path) -> LoadText:
    """Load a spec from its text, written to `spec.yaml`."""

    def load(text: str) -> Spec:
        path = tmp_path / "spec.yaml"
        path.write_text(text, encoding="utf-8")
        return load_spec(path).spec

    return load


@pytest.fixture
def load_with(load_text: LoadText) -> LoadWith:
    """Load the small spec with one of its texts replaced by another."""

    def load(old: str, new: str) -> Spec:
        assert BASE.count(old) == 1
        return load_text(BASE.replace(old, new))

    return load


@pytest.fixture
def small(load_text: LoadText) -> Spec:
    """Give the small spec as it is."""
    return load_text(BASE)
