"""Packed streams: every token of a draw is a target once per pass, and a piece sees nothing of its neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mixproof.ledger.errors import AccountError
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.data.packed_stream import PackedStream
from mixproof.train.distributed import Ranks
from mixproof.train.model.micro_batch import Batch, StepPlan, micro_batch_loss
from mixproof.train.model.model import build_model
from mixproof.train.record import MasksRecord

EOD = 2
MASKS = MasksRecord(document_mask=True, eod_mask_loss=False, reset_position_ids=True, best_fit=True)
FIRST_MASKED = MASKS.model_copy(update={"eod_mask_loss": True})
DOCUMENTS = [[5, 6, 7], [8, 9], list(range(10, 25)), [30]]
"""With EODs 4, 3, 16 and 2 tokens."""
OpenStream = Callable[..., PackedStream]


@pytest.fixture
def open_stream(make_corpus: Callable[..., Any]) -> OpenStream:
    def opened(documents: list[list[int]] = DOCUMENTS, masks: MasksRecord = MASKS, length: int = 8) -> PackedStream:
        corpus = make_corpus({"a": documents}, place=str(len(documents)))
        draw = make_draw(corpus.store, corpus.manifest, DrawSize("a", 10**6))
        prefix = corpus.store.folder(draw.prefix)
        return PackedStream(prefix, draw, seed=1, sequence_length=length, masks=masks, eod_id=EOD)

    return opened


def windows_of(stream: PackedStream, epoch: int = 0) -> list[dict[str, list[float]]]:
    first = epoch * stream.windows
    samples = [stream.sample(k) for k in range(first, first + stream.windows)]
    return [{name: tensor.tolist() for name, tensor in sample.items()} for sample in samples]


def test_a_piece_starts_from_an_eod_or_from_the_token_before_it(open_stream: OpenStream) -> None:
    """25 tokens take four windows of 8: two of the long document, 4 + 3, and 2."""
    stream = open_stream()
    assert (stream.windows, stream.padding) == (4, 4 * 8 - 25)
    found = {tuple(window["labels"]): window for window in windows_of(stream)}
    begin = found[10, 11, 12, 13, 14, 15, 16, 17]
    assert begin["tokens"] == [EOD, 10, 11, 12, 13, 14, 15, 16]
    assert begin["position_ids"] == list(range(8)) and begin["loss_mask"] == [1] * 8
    end = found[18, 19, 20, 21, 22, 23, 24, EOD]
    assert end["tokens"] == [17, 18, 19, 20, 21, 22, 23, 24]
    two = found[5, 6, 7, EOD, 8, 9, EOD, EOD]
    assert two["tokens"] == [EOD, 5, 6, 7, EOD, 8, 9, EOD]
    assert two["position_ids"] == [0, 1, 2, 3, 0, 1, 2, 0] and two["loss_mask"] == [1] * 7 + [0]


def test_every_token_is_a_target_once_per_pass(open_stream: OpenStream) -> None:
    stream = open_stream()
    for epoch in range(3):
        targets = Counter(
            label
            for window in windows_of(stream, epoch)
            for label, counts in zip(window["labels"], window["loss_mask"], strict=True)
            if counts
        )
        assert targets == Counter([*(id_ for ids in DOCUMENTS for id_ in ids), *[EOD] * 4])


def test_eod_mask_loss_leaves_out_the_first_token_of_each_document(open_stream: OpenStream) -> None:
    counted = sum(sum(window["loss_mask"]) for window in windows_of(open_stream(masks=FIRST_MASKED)))
    assert counted == 25 - 4


def test_epochs_are_shuffled_and_the_same_whenever_they_are_read(open_stream: OpenStream) -> None:
    documents = [[id_] * 3 for id_ in range(10, 50)]
    stream, again = open_stream(documents), open_stream(documents)
    assert windows_of(stream, 2) == windows_of(again, 2)
    assert windows_of(stream, 0) != windows_of(stream, 1)


def test_a_draw_that_is_not_whole_is_an_error(make_corpus: Callable[..., Any]) -> None:
    corpus = make_corpus({"a": DOCUMENTS})
    draw = make_draw(corpus.store, corpus.manifest, DrawSize("a", 10**6))
    prefix = corpus.store.folder(draw.prefix)
    path = prefix.with_name(f"{prefix.name}.bin")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(AccountError, match="E6 does not close"):
        PackedStream(prefix, draw, seed=1, sequence_length=8, masks=MASKS, eod_id=EOD)


def test_the_loss_of_a_piece_does_not_depend_on_its_window(open_stream: OpenStream, ranks: Ranks) -> None:
    """The same document alone and beside others has the same loss at each of its targets."""
    shape = Architecture(layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8)
    model = build_model(shape, vocab_size=1000, sequence_length=8, rope_base=10_000, seed=1, device=ranks.device)
    plan = StepPlan(1, 1, sequence_length=8, clip=1.0, masks=MASKS, eod_id=EOD, samples_per_step=1)

    def losses(stream: PackedStream, target: int) -> list[float]:
        for k in range(stream.windows):
            batch: Batch = {name: tensor[None] for name, tensor in stream.sample(k).items()}
            where = torch.nonzero(batch["labels"][0] == target)
            if len(where):
                start = int(where[0, 0])
                _, each = micro_batch_loss(model, batch, plan, in_bfloat16=False)
                return each[0, start : start + 3].tolist()
        raise AssertionError(f"no window has the target {target}")

    alone, beside = open_stream([[8, 9], [40] * 7]), open_stream()
    np.testing.assert_allclose(losses(alone, 8), losses(beside, 8), rtol=1e-5)
