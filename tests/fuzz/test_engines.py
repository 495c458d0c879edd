"""Where the fast engine is admitted it gives the ids of the reference, on tokenizers in the forms of well-known ones.

`make fuzz` encodes 20,000 texts with each tokenizer and every character of Unicode with five of them; other runs of the
tests encode a few texts.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mixproof.tokenize.tokenizer.engine import choose_engine, load_engine, reference_of, split_rows
from tokenizer_forms import Form, all_forms, texts_for

TRIES = int(os.environ.get("MIXPROOF_FUZZ_TRIES", "100"))
TEXTS = 10 * TRIES if TRIES >= 2000 else 60
BATCH = 2000
FAST_FORMS = {
    *("gpt2-none", "gpt2-prefix-none", "llama3-none", "qwen-none", "o200k-none", "tekken-none", "neox-none"),
    *("llama2-none", "gpt2-special", "llama3-special", "qwen-special", "tekken-special", "llama2-special"),
    *("gpt2-plain", "llama3-plain", "o200k-plain", "gpt2-normalized", "gpt2-single_word", "llama3-single_word"),
    *("gpt2-stripping", "tekken-stripping", "qwen-stripping", "gpt2-prefix-ascii", "qwen-ascii", "neox-ascii"),
    *("llama2-ascii", "sp-llama2", "sp-plain", "sp-user", "sp-overlapping", "sp-nfkc", "sp-casefold"),
}
"""Tokenizers that are worth a fast engine; all others are encoded by the reference."""


def differing(path: str, texts: list[str]) -> list[str]:
    """Texts whose ids by the chosen engine are not those of the reference."""
    data = [text.encode() for text in texts]
    expected, found = (
        split_rows(load_engine(name, path).encode(data)) for name in (reference_of(path), choose_engine(path))
    )
    return [text for text, right, ids in zip(texts, expected, found, strict=True) if not np.array_equal(right, ids)]


@pytest.mark.parametrize("form", all_forms(), ids=lambda form: form.name)
def test_an_admitted_engine_gives_the_ids_of_the_reference(form: Form, tmp_path: Path) -> None:
    path = str(form.make(tmp_path))
    assert (choose_engine(path) != reference_of(path)) == (form.name in FAST_FORMS)
    if form.name in FAST_FORMS:
        for seed in range(-(-TEXTS // BATCH)):
            assert differing(path, texts_for(form, min(TEXTS, BATCH), seed)) == []


@pytest.mark.parametrize("name", ["gpt2-none", "qwen-none", "o200k-none", "tekken-none", "sp-nfkc"])
def test_no_character_of_unicode_is_encoded_differently(name: str, tmp_path: Path) -> None:
    form = next(form for form in all_forms() if form.name == name)
    path = str(form.make(tmp_path))
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    few = [character for at, character in enumerate(characters) if at % 61 == 0 or 0x300 <= at < 0x370]
    used = characters if TRIES >= 2000 else few
    texts = ["".join(f"a{sign} {sign}1{sign}" for sign in used[at : at + 32]) for at in range(0, len(used), 32)]
    assert differing(path, texts) == []
