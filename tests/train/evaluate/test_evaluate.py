"""Evaluation: bits per byte by hand, every token once, and scores that depend on the document alone."""

from __future__ import annotations

import io
import math
import pydoc_data.topics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import sentencepiece
import torch
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mixproof.ledger.errors import AccountError, DamagedFileError
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.distributed import process_group
from mixproof.train.evaluate.evaluate import Scores, Windows, batches_of, cut_windows, evaluate, write_scores
from mixproof.train.evaluate.heldout_parts import HeldoutDocuments, is_lossless, read_heldout
from mixproof.train.model.model import build_model

Make = Callable[..., Any]
Documents = Callable[..., list[list[int]]]
CPU = torch.device("cpu")


class Bigram(torch.nn.Module):
    """Loss = id of the input + id of the label / 1000 + position / 1,000,000, so that each part can be read off."""

    def forward(self, tokens: Tensor, position_ids: Tensor, mask: None, labels: Tensor) -> Tensor:  # noqa: D102
        self.batch = tokens.shape
        return tokens + labels / 1e3 + position_ids / 1e6


class Uniform(torch.nn.Module):
    """Every one of 8 ids is as likely: 3 bits a token."""

    def forward(self, tokens: Tensor, position_ids: Tensor, mask: None, labels: Tensor) -> Tensor:  # noqa: D102
        return torch.full(tokens.shape, math.log(8))


def heldout(texts: list[list[int]], text_bytes: list[int] | None = None) -> HeldoutDocuments:
    lengths = [len(ids) + 1 for ids in texts]
    return HeldoutDocuments(
        source="en",
        ids=np.array([token for ids in texts for token in (*ids, 2)], np.int32),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        file=["f"] * len(texts),
        record=np.arange(len(texts)),
        text_bytes=np.array(text_bytes or [10] * len(texts)),
        text_xxh128=[""] * len(texts),
    )


def score(model: torch.nn.Module, documents: HeldoutDocuments, length: int, batch: int | None = None) -> Scores:
    return evaluate(model, documents, eod_id=2, sequence_length=length, device=CPU, batch_tokens=batch)


def test_three_bits_a_token_over_the_bytes_of_the_texts() -> None:
    scores = score(Uniform(), heldout([[5, 6, 7], [5]], [12, 4]), 2)
    assert (scores.tokens, scores.text_bytes) == (6, 16)
    assert scores.bits_per_byte == pytest.approx(6 * 3 / 16, rel=1e-7)
    assert scores.loss == pytest.approx(math.log(8), rel=1e-7)
    assert scores.nll_nats == pytest.approx([4 * math.log(8), 2 * math.log(8)], rel=1e-7)


def test_each_document_starts_after_an_eod_and_windows_take_over_one_token() -> None:
    # document 1: inputs 2 5 | 6 7, labels 5 6 | 7 2; document 2: inputs 2 9, labels 9 2
    scores = score(Bigram(), heldout([[5, 6, 7], [9]]), 2)
    inputs, labels, positions = (2 + 5 + 6 + 7, 2 + 9), (5 + 6 + 7 + 2, 9 + 2), (2, 1)
    expected = [i + j / 1e3 + p / 1e6 for i, j, p in zip(inputs, labels, positions, strict=True)]
    assert scores.nll_nats == pytest.approx(expected, abs=1e-5)


def test_windows_are_cut_from_the_start_of_each_document() -> None:
    windows = cut_windows(np.array([0, 5, 6, 10]), 2)
    assert windows.document.tolist() == [0, 0, 0, 1, 2, 2]
    assert windows.first.tolist() == [0, 2, 4, 5, 6, 8]
    assert windows.targets.tolist() == [2, 2, 1, 1, 2, 2]


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 16), st.integers(1, 64))
def test_e10_every_token_is_a_target_once_and_batches_are_bounded(lengths: list[int], length: int, size: int) -> None:
    windows = cut_windows(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), length)
    places = [p for f, n in zip(windows.first, windows.targets, strict=True) for p in range(f, f + n)]
    assert places == list(range(sum(lengths)))
    batches = list(batches_of(windows, size))
    assert sorted(int(w) for batch in batches for w in batch) == list(range(len(windows.first)))
    assert all(len(batch) == 1 or len(batch) * windows.targets[batch].max() <= size for batch in batches)


def test_batches_take_the_longest_windows_first() -> None:
    windows = Windows(np.zeros(5, np.int64), np.zeros(5, np.int64), np.array([3, 8, 1, 8, 2]))
    assert [batch.tolist() for batch in batches_of(windows, 16)] == [[1, 3], [0, 4, 2]]


def test_neighbours_order_and_batch_do_not_matter(documents: Documents) -> None:
    texts = documents(1, 25, 30)
    together = score(Bigram(), heldout(texts), 8, 64).nll_nats
    assert score(Bigram(), heldout(texts[::-1]), 8, 8).nll_nats[::-1] == pytest.approx(together, rel=1e-6)
    alone = [score(Bigram(), heldout([ids]), 8).nll_nats[0] for ids in texts]
    assert together == pytest.approx(alone, rel=1e-6)


@pytest.fixture
def tiny() -> Any:  # noqa: ANN401
    """A real proxy, two layers small, in its process group."""
    shape = Architecture(layers=2, hidden=32, ffn=48, heads=4, kv_heads=2, head_dim=8)
    with process_group("cpu") as ranks:
        yield build_model(shape, vocab_size=1000, sequence_length=16, rope_base=10000, seed=1, device=ranks.device)


def test_a_proxys_losses_are_those_of_its_logits_document_by_document(tiny: Any, documents: Documents) -> None:  # noqa: ANN401
    texts = documents(2, 20, 50)
    scores = score(tiny, heldout(texts), 16, 128)
    for ids, nll in zip(texts, scores.nll_nats, strict=True):
        sequence, total = torch.tensor([2, *ids, 2]), 0.0
        for first in range(0, len(ids) + 1, 16):
            piece = sequence[first : first + 17]
            inputs, positions = piece[None, :-1], torch.arange(len(piece) - 1)[None]
            with torch.inference_mode():
                logits = tiny(inputs, positions, None, runtime_gather_output=True)
            total += float(functional.cross_entropy(logits[0].double(), piece[1:], reduction="sum"))
        assert nll == pytest.approx(total, rel=1e-6)
    assert scores.loss == pytest.approx(math.log(1000), rel=0.05)


def test_scores_are_the_same_bits_again_and_the_model_goes_on_training(tiny: Any, documents: Documents) -> None:  # noqa: ANN401
    texts = heldout(documents(3, 30, 50))
    tiny.train()
    first = score(tiny, texts, 16)
    assert tiny.training
    assert score(tiny, texts, 16).nll_nats.tobytes() == first.nll_nats.tobytes()


def test_a_loss_that_is_not_finite_breaks_e10() -> None:
    class Broken(Uniform):
        def forward(self, tokens: Tensor, position_ids: Tensor, mask: None, labels: Tensor) -> Tensor:
            return torch.where(labels == 6, math.nan, super().forward(tokens, position_ids, None, labels))

    with pytest.raises(AccountError, match="E10 .*source en, stage evaluate.*NaN or infinity in 1 windows"):
        score(Broken(), heldout([[5, 6, 7], [5]]), 8)


def test_scores_are_stored_with_a_row_a_document(tmp_path: Path) -> None:
    first = score(Uniform(), heldout([[5, 6, 7], [5]], [12, 4]), 8)
    second = replace(first, documents=replace(first.documents, source="de"))
    write_scores(tmp_path / "scores.parquet", [first, second])
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.schema.names == ["source", "document", "file", "record", "text_bytes", "tokens", "nll_nats"]
    assert table["source"].to_pylist() == ["en", "en", "de", "de"]
    assert table["document"].to_pylist() == [0, 1, 0, 1]
    assert table["tokens"].to_pylist() == [4, 2, 4, 2]
    assert table["nll_nats"].to_pylist() == [*first.nll_nats, *first.nll_nats]


def test_a_held_out_set_is_read_from_its_parts(make_corpus: Make) -> None:
    corpus = make_corpus({"en": [[5, 6]]}, {"en": [[7, 8, 9], [10]]})
    found = read_heldout(corpus.store, "en", corpus.manifest.sources["en"].heldout, 2)
    assert found.ids.tolist() == [7, 8, 9, 2, 10, 2]
    assert found.starts.tolist() == [0, 4, 6]
    assert found.text_bytes.tolist() == [len("7 8 9"), len("10")]
    assert found.record.tolist() == [0, 1]


def test_a_held_out_set_that_is_not_the_manifests_is_refused(make_corpus: Make) -> None:
    corpus = make_corpus({"en": [[5, 6]]}, {"en": [[7, 8, 9], [10]]})
    record = corpus.manifest.sources["en"].heldout
    with pytest.raises(AccountError, match="E10 .*3 documents, 6 tokens.*2 documents, 6 tokens"):
        read_heldout(corpus.store, "en", record.model_copy(update={"documents": 3}), 2)
    with pytest.raises(AccountError, match="E5 .*2 documents that end with EOD, found 0"):
        read_heldout(corpus.store, "en", record, 3)
    path = corpus.store.path("encode/test/en-heldout-00000.bin")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DamagedFileError, match="en-heldout-00000.bin"):
        read_heldout(corpus.store, "en", record, 2)


def train_sentencepiece(texts: list[str], **options: Any) -> sentencepiece.SentencePieceProcessor:  # noqa: ANN401
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=400, model_type="bpe", minloglevel=2, **options
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def test_a_tokenizer_that_gives_the_texts_back_is_lossless_and_one_that_does_not_is_not() -> None:
    texts = [text[:3000] for text in pydoc_data.topics.topics.values()][:40]
    exact = {"normalization_rule_name": "identity", "byte_fallback": True, "remove_extra_whitespaces": False}
    for options, lossless in ((exact, True), ({}, False)):
        processor = train_sentencepiece(texts, **options)
        documents = heldout([processor.encode(text) for text in texts])
        hashes = [xxhash.xxh3_128_hexdigest(text.encode()) for text in texts]
        documents = replace(documents, text_xxh128=hashes)
        assert is_lossless(documents, processor.decode) is lossless
