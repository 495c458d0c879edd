"""Engines: which one may stand in for SentencePiece, and that a difference is never passed over."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from sentencepiece import SentencePieceTrainer

from mixproof.ledger.errors import AccountError
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.columns import column_of
from mixproof.tokenize import shard_encoder
from mixproof.tokenize.encode import encode_shard
from mixproof.tokenize.shard_tokens import Texts
from mixproof.tokenize.tokenizer import engine
from mixproof.tokenize.tokenizer.admission import FAST, FAST_NORMALIZED, REFERENCE, admit_sentencepiece
from mixproof.tokenize.tokenizer.engine import Fast, choose_engine, differing_texts, from_json, load_engine
from mixproof.tokenize.tokenizer.fast_forms import sentencepiece_form
from mixproof.tokenize.tokenizer.rare_texts import RareTexts
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.tokenize.tokenizer.sentencepiece import load_processor
from mixproof.tokenize.tokenizer.tokenizer import store_tokenizer

IDENTITY = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
MakeModel = Callable[..., str]


@pytest.fixture
def make_model(tmp_path: Path, topics: list[str]) -> MakeModel:
    """Train a BPE model of 500 pieces with some settings; give its path."""

    def make(**settings: Any) -> str:  # noqa: ANN401  whatever SentencePiece takes
        model = io.BytesIO()
        lines = (line for text in topics for line in text.splitlines())
        defaults: dict[str, Any] = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 500, "minloglevel": 2}
        SentencePieceTrainer.train(sentence_iterator=lines, model_writer=model, **(defaults | settings))
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.model"
        path.write_bytes(model.getvalue())
        return str(path)

    return make


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (IDENTITY, FAST),
        (IDENTITY | {"add_dummy_prefix": False}, FAST),
        (IDENTITY | {"control_symbols": ["<mask>"]}, FAST),
        (IDENTITY | {"user_defined_symbols": ["<|im|>", "foo bar"]}, FAST_NORMALIZED),
        (IDENTITY | {"remove_extra_whitespaces": True}, FAST_NORMALIZED),
        ({"normalization_rule_name": "nmt_nfkc"}, FAST_NORMALIZED),
        ({"normalization_rule_name": "nmt_nfkc_cf"}, FAST_NORMALIZED),
        ({"byte_fallback": False}, REFERENCE),
        ({"model_type": "unigram"}, REFERENCE),
        ({"model_type": "word", "add_dummy_prefix": False, "hard_vocab_limit": False}, REFERENCE),
        ({"model_type": "char", "control_symbols": ["\u00a7"], "hard_vocab_limit": False}, REFERENCE),
        ({"treat_whitespace_as_suffix": True}, REFERENCE),
        (IDENTITY | {"control_symbols": ["\u00a7"], "eos_id": -1}, REFERENCE),  # the hard set finds a difference
    ],
)
def test_an_engine_is_chosen_by_the_models_proto_and_gives_sentencepieces_ids(
    make_model: MakeModel, topics: list[str], settings: dict[str, Any], name: str
) -> None:
    path = make_model(**settings)
    assert choose_engine(path) == name
    texts = [*topics, "", "a</s>b <s> <unk> <mask> <0x41>", "</s>", "\u00a7 a\u00a7"]
    data = [text.encode() for text in texts]
    expected, found = load_engine(REFERENCE, path).encode(data), load_engine(name, path).encode(data)
    assert np.array_equal(expected.ids, found.ids)
    assert np.array_equal(expected.lengths, found.lengths)
    control = [number for number in range(len(load_processor(path))) if load_processor(path).is_control(number)]
    assert not np.isin(expected.ids, control).any()


def test_a_literal_end_of_document_in_a_text_never_becomes_one(model: Path) -> None:
    assert admit_sentencepiece(model.read_bytes()) == FAST
    assert 2 not in load_engine(FAST, str(model)).encode([b"a</s>b", b"</s>", b" </s> "]).ids


def test_an_engine_that_is_not_equal_is_found_by_the_hard_set(make_model: MakeModel) -> None:
    path = make_model(normalization_rule_name="nmt_nfkc")
    assert "\u304b\u3099" in differing_texts(FAST, path)


def test_a_difference_in_a_sampled_document_stops_the_build(
    make_model: MakeModel, store: Store, write_shard: Callable[..., Texts], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = store_tokenizer(store, Path(make_model(normalization_rule_name="nmt_nfkc")), None)
    texts = write_shard("s", ["one two", "\u304b\u3099"])
    monkeypatch.setattr(shard_encoder, "SAMPLE", 1)
    receipt = encode_shard(store, "right", texts, tokenizer, FAST_NORMALIZED)
    assert receipt.facts["rechecked"] == 2
    with pytest.raises(AccountError, match="E5 .*the ids of the reference for text"):
        encode_shard(store, "wrong", texts, tokenizer, FAST)


def test_documents_with_added_tokens_or_rare_scripts_are_sampled_first(
    make_model: MakeModel, store: Store, write_shard: Callable[..., Texts], topics: list[str]
) -> None:
    settings = IDENTITY | {"user_defined_symbols": ["<|im|>"]}
    tokenizer = store_tokenizer(store, Path(make_model(**settings)), None)
    texts = write_shard("s", [*topics[:20], "a <|im|> b", "a </s> b", "ក្រុង", "plain"])
    by_hash = sum(int(xxhash.xxh3_128_hexdigest(text.encode()), 16) % 1000 == 0 for text in [*topics[:20], "plain"])
    assert encode_shard(store, "key", texts, tokenizer, FAST_NORMALIZED).facts["rechecked"] == 3 + by_hash


def test_rare_texts_of_a_shard_are_bounded(model: Path) -> None:
    rare = RareTexts(load_reference(str(model)))
    batch = column_of(["ក", "plain"] * 30, pa.large_string())
    assert rare.choose(batch) == list(range(0, 60, 2))
    assert rare.choose(batch) == [0, 2]
    assert rare.choose(batch) == []


def test_engine_and_reference_write_the_same_tokens_and_provenance(
    model: Path, topics: list[str], store: Store, tokenizer: TokenizerRecord, write_shard: Callable[..., Texts]
) -> None:
    texts = write_shard("s", topics)
    fast, slow = (encode_shard(store, name, texts, tokenizer, name) for name in (FAST, REFERENCE))
    assert fast.files == slow.files
    assert (fast.account, fast.facts["engine"]) == (slow.account, FAST)


def test_the_fast_engine_is_loaded_anew_before_its_memory_grows_and_goes_on_the_same(
    model: Path, topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [text.encode() for text in topics[:20]]
    fast = Fast(partial(from_json, sentencepiece_form(model.read_bytes(), is_normalized=False)))
    once = fast.encode(data)
    monkeypatch.setattr(engine, "RELOAD_AFTER_BYTES", 0)
    loaded = fast._tokenizer
    again = fast.encode(data)
    assert fast._tokenizer is not loaded
    assert np.array_equal(once.ids, again.ids)
    assert np.array_equal(once.lengths, again.lengths)


def test_no_texts_have_no_ids(model: Path) -> None:
    for name in (FAST, REFERENCE):
        encoded = load_engine(name, str(model)).encode([])
        assert (len(encoded.ids), len(encoded.lengths)) == (0, 0)
