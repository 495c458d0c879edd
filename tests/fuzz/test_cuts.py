"""Pieces of a text have the ids of the whole, on tokenizers in the forms of well-known ones."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from mixproof.tokenize.tokenizer import cuts
from mixproof.tokenize.tokenizer.cuts import pieces_of
from mixproof.tokenize.tokenizer.engine import split_rows
from mixproof.tokenize.tokenizer.huggingface import HuggingFaceReference
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.tokenize.tokenizer.sentencepiece import SentencePieceReference
from tokenizer_forms import Form, all_forms, texts_for

TRIES = int(os.environ.get("MIXPROOF_FUZZ_TRIES", "100"))
TEXTS = max(3, TRIES // 5 if TRIES >= 2000 else 0)
FRAGMENTS = 40
WHOLE_FORMS = {
    *("deepseek-none", "qwen-normalized", "neox-normalized", "llama2-normalized", "t5-normalized", "llama2-plain"),
    *("llama2-single_word", "llama2-ascii", "neox-ascii", "qwen-ascii", "qwen-stripping", "bert-stripping", "sp-t5"),
}
"""Tokenizers whose texts are never cut."""
BETWEEN = (
    "a quick fox, ",
    "one\n\ntwo ",
    "l'été fut long; ",
    "我们在这里。",
    "x ",
    "日本 の ",
    "don't ",
    "\n",
    "  ",
    "",
)


def spaced_texts(form: Form, count: int) -> list[str]:
    """Random fragments with words between them, so that texts can be cut at many places."""
    chance = random.Random(form.name)  # noqa: S311  test data, not a secret
    fragments = iter(texts_for(form, FRAGMENTS * count, 3))
    return ["".join(next(fragments) + chance.choice(BETWEEN) for _ in range(FRAGMENTS)) for _ in range(count)]


@pytest.mark.parametrize("form", all_forms(), ids=lambda form: form.name)
def test_pieces_of_a_text_have_the_ids_of_the_whole(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = load_reference(str(form.make(tmp_path)))
    assert isinstance(reference, HuggingFaceReference | SentencePieceReference)
    assert (reference.cuts is None) == (form.name in WHOLE_FORMS)
    texts = spaced_texts(form, TEXTS)
    whole = reference.encode(texts)
    monkeypatch.setattr(cuts, "PIECE_CHARS", 3)
    pieces = [list(pieces_of(text, reference.cuts)) for text in texts]
    assert ["".join(each) for each in pieces] == texts
    assert form.name in WHOLE_FORMS or sum(map(len, pieces)) > 5 * TEXTS
    found = reference.encode(texts)
    for text, right, ids in zip(texts, split_rows(whole), split_rows(found), strict=True):
        assert np.array_equal(right, ids), text
