"""SentencePiece models as Hugging Face tokenizers: the same ids, or a count of the texts that differ."""

from __future__ import annotations

import io
import json
import pydoc_data.topics
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceTrainer

from mixproof.tokenize.hard_texts import hard_texts
from mixproof.tokenize.sentencepiece import load_processor
from mixproof.train.huggingface_tokenizer import TokenizerCheck, differences, write_tokenizer

TOPICS = [str(text) for text in pydoc_data.topics.topics.values()]


def check(folder: Path, texts: list[str], **settings: Any) -> TokenizerCheck:  # noqa: ANN401  SentencePiece's options
    """Train a model, write it as a Hugging Face tokenizer, and compare."""
    model = io.BytesIO()
    lines = (line for text in TOPICS for line in text.split("\n") if line)
    SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=700, num_threads=1, minloglevel=2, **settings
    )
    path = folder / "given.model"
    path.write_bytes(model.getvalue())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    write_tokenizer(path, 2, folder)
    return differences(folder, load_processor(str(path)), texts)


@pytest.mark.parametrize("dummy_prefix", [True, False])
def test_identity_models_are_exact_on_hard_texts(tmp_path: Path, dummy_prefix: bool) -> None:
    found = check(
        tmp_path,
        [*TOPICS, *hard_texts(["</s>", "<s>", "<unk>"])],
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=dummy_prefix,
    )
    assert found.exact and found.texts > 1500, found


def test_a_normalizing_model_is_exact_on_the_manual_and_counted_where_it_is_not(tmp_path: Path) -> None:
    found = check(tmp_path, [*TOPICS, "a\u0301\u0302\u0303"], model_type="bpe", byte_fallback=True)
    assert (found.different, found.example) == (1, "a\u0301\u0302\u0303")
