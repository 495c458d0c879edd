"""SentencePiece models as Hugging Face tokenizers: the same ids, or a count of the texts that differ."""

from __future__ import annotations

import io
import json
import pydoc_data.topics
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from mixproof.tokenize.tokenizer.hard_texts import hard_texts
from mixproof.tokenize.tokenizer.huggingface import HuggingFaceReference
from mixproof.tokenize.tokenizer.sentencepiece import SentencePieceReference
from mixproof.train.export.huggingface_tokenizer import TokenizerCheck, differences, write_tokenizer

EOD = "<|endoftext|>"
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
    return differences(folder, SentencePieceReference(str(path)), texts)


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


def given(model: Any, words: Any, trainer: Any, folder: Path) -> TokenizerCheck:  # noqa: ANN401  no types
    """Train a `tokenizer.json` that adds an EOD around every text, write it for export, and compare."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = words
    tokenizer.train_from_iterator(TOPICS[:20], trainer)
    eod = tokenizer.get_vocab()[EOD]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{EOD} $A {EOD}", special_tokens=[(EOD, eod)])
    tokenizer.enable_truncation(5)
    path = folder / "given" / "tokenizer.json"
    path.parent.mkdir()
    tokenizer.save(str(path))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    write_tokenizer(path, eod, folder)
    written = AutoTokenizer.from_pretrained(folder)
    assert (written.eos_token, written.eos_token_id, len(written)) == (EOD, eod, tokenizer.get_vocab_size())
    return differences(folder, HuggingFaceReference(str(path)), [*TOPICS, *hard_texts([EOD], mixtures=50)])


def test_a_given_tokenizer_json_is_written_as_runs_used_it(tmp_path: Path) -> None:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    settings: dict[str, Any] = {"special_tokens": [EOD], "initial_alphabet": alphabet, "show_progress": False}
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found = given(models.BPE(), words, trainers.BpeTrainer(vocab_size=600, **settings), tmp_path)
    assert found.exact and found.texts > 300, found


def test_a_special_token_that_a_text_can_reach_in_transformers_is_counted(tmp_path: Path) -> None:
    trainer = trainers.WordLevelTrainer(vocab_size=300, special_tokens=[EOD, "[UNK]"], show_progress=False)
    model = models.WordLevel(unk_token="[UNK]")  # noqa: S106  no password
    found = given(model, pre_tokenizers.WhitespaceSplit(), trainer, tmp_path)
    assert found.different > 0 and EOD in found.example
