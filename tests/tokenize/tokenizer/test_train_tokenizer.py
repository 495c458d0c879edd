"""Training a tokenizer: the same bytes every time, from a sample that the shards do not change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.tokenizer import TokenizerTraining
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.tokenize.shard_tokens import Texts
from mixproof.tokenize.tokenizer.train_tokenizer import (
    CUT_BYTES,
    cut_text,
    ranks_of,
    take_bytes,
    train_model,
    train_tokenizer,
)

WriteShard = Callable[..., Texts]


@given(text=st.text(alphabet="ab \n日é👍", max_size=3000).map(lambda text: text * 5))
def test_cutting_loses_nothing_and_stays_below_sentencepieces_limit(text: str) -> None:
    pieces = list(cut_text(text))
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode()) <= CUT_BYTES < 4_192 for piece in pieces)


def test_a_text_is_cut_behind_white_space_where_there_is_some() -> None:
    assert [len(piece) for piece in cut_text("x" * 3_000 + " " + "y" * 3_000)] == [3_001, 3_000]
    assert [len(piece) for piece in cut_text("x" * 6_000)] == [4_000, 2_000]


def test_texts_are_taken_until_their_bytes_reach_the_quota() -> None:
    ranked = [(1, "aaaa"), (2, "bbbb"), (3, "cccc")]
    assert list(take_bytes(ranked, 4)) == ranked[:1]
    assert list(take_bytes(ranked, 5)) == ranked[:2]
    assert list(take_bytes(ranked, 0)) == []


def test_the_rank_is_the_lower_half_of_the_text_hash() -> None:
    number = xxhash.xxh3_128_intdigest(b"one")
    assert ranks_of([xxhash.xxh3_128_digest(b"one")]).tolist() == [number % 2**64]


def test_the_same_texts_give_the_same_model_that_gives_every_text_back(topics: list[str]) -> None:
    model = train_model(topics, 600)
    assert model == train_model(topics, 600)
    processor = SentencePieceProcessor(model_proto=model)
    assert (processor.vocab_size(), processor.eos_id()) == (600, 2)
    for text in [*topics[:5], "  two spaces ", "\ttab\n\n", "日本語 👍🏽 e\u0301", "a\u00a0b"]:
        assert processor.decode(processor.encode(text)) == text


def test_a_vocabulary_that_the_sample_cannot_give_says_what_it_could() -> None:
    with pytest.raises(RequestError, match=r"cannot give 300 pieces: Vocabulary size too high \(300\).*<= 26\d"):
        train_model(["abc"], 300)
    with pytest.raises(RequestError, match="cannot give 100 pieces: Vocabulary size is smaller than required_chars"):
        train_model(["abc"], 100)


@pytest.mark.parametrize("vocab_size", [3_000_000_000, 2**63, 0])
def test_a_vocabulary_size_that_sentencepiece_cannot_read_is_refused(vocab_size: int) -> None:
    with pytest.raises(RequestError, match=rf"vocab_size: {vocab_size} is not between 1 and 2147483647"):
        train_model(["abc"], vocab_size)


def test_training_says_nothing(capfd: pytest.CaptureFixture[str], topics: list[str]) -> None:
    train_model(topics[:10], 400)
    assert capfd.readouterr() == ("", "")


def test_shards_do_not_change_the_model_and_a_second_build_trains_nothing(
    topics: list[str], store: Store, write_shard: WriteShard, cluster: Cluster
) -> None:
    training = TokenizerTraining(vocab_size=500, bytes=200_000)
    one = {"manual": [write_shard("whole", topics)]}
    record = train_tokenizer(training, one, None, store, cluster)
    assert record.vocab_size == 500
    two = {"manual": [write_shard("front", topics[:30]), write_shard("back", topics[30:], first_record=30)]}
    assert train_tokenizer(training, two, None, store, cluster) == record
    before = cluster.stages_run
    assert train_tokenizer(training, two, None, store, cluster) == record
    assert cluster.stages_run == before


def test_documents_that_are_not_kept_are_not_learned_from(
    topics: list[str], store: Store, write_shard: WriteShard, cluster: Cluster
) -> None:
    training = TokenizerTraining(vocab_size=500, bytes=10_000_000)
    odd = "ЖЖЖЖ " * 20_000
    shard = write_shard("s", [*topics, odd], keep=[True] * len(topics) + [False])
    record = train_tokenizer(training, {"manual": [shard]}, None, store, cluster)
    assert record == train_tokenizer(training, {"manual": [write_shard("t", topics)]}, None, store, cluster)


def test_each_source_is_sampled_by_its_share_of_the_bytes(
    topics: list[str], store: Store, write_shard: WriteShard, cluster: Cluster
) -> None:
    sources = {"large": [write_shard("l", topics)], "small": [write_shard("s", ["ŝ" * 50] * 40)]}
    record = train_tokenizer(TokenizerTraining(vocab_size=500, bytes=400_000), sources, None, store, cluster)
    processor = SentencePieceProcessor(model_file=str(store.path(record.path)))
    assert processor.encode("ŝ", out_type=str)[-1] == "ŝ", "4 kB of 700 kB are enough to learn the letter"
