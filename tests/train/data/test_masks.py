"""Masks: what Megatron's dataset masks is what the model sees and what the loss counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from megatron.core.datasets.gpt_dataset import _get_ltor_masks_and_position_ids
from megatron.core.transformer.transformer_config import TransformerConfig

from mixproof.ledger.store import Store, publish_bytes
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.compare.facts import facts_of
from mixproof.train.data.blend import Blend
from mixproof.train.data.delivered import delivered
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.data.streams import streams_of
from mixproof.train.distributed import Ranks
from mixproof.train.loop.run import train_run
from mixproof.train.loop.trainer import Trainer
from mixproof.train.model.attention import DeviceRotaryEmbedding, SdpaCoreAttention, document_starts
from mixproof.train.model.micro_batch import step_plan
from mixproof.train.model.model import build_model, model_config
from mixproof.train.model.state import build_state
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]
EOD = 2
TOKENIZER = "tokenizer/test/tok.model"
SHAPE = Architecture(layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8)
WINDOWS = torch.tensor(
    [
        [7, 8, EOD, 9, EOD, EOD, 5, 6, 7, 8],  # documents of 3, 2, 1 and a piece of 4
        [EOD, 5, 5, 5, 5, 5, 5, 5, 5, EOD],
        [5, 6, 7, 8, 9, 5, 6, 7, 8, 9],
    ]
)


def config() -> TransformerConfig:
    return model_config(SHAPE)


def test_starts_say_where_the_document_of_each_token_begins() -> None:
    assert document_starts(WINDOWS, EOD).tolist() == [
        [0, 0, 0, 3, 3, 5, 6, 6, 6, 6],
        [0, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        [0] * 10,
    ]


@pytest.mark.parametrize("way", ["_attend_by_documents", "_attend_by_mask"])
def test_attention_sees_what_megatrons_dataset_lets_it_see(way: str, ranks: Ranks) -> None:
    attention = SdpaCoreAttention(config(), 1, None, "self")
    generator = torch.Generator().manual_seed(3)
    queries = torch.randn(3, 4, 10, 8, generator=generator)
    keys, values = (torch.randn(3, 2, 10, 8, generator=generator) for _ in range(2))
    out = getattr(attention, way)(queries, keys, values, document_starts(WINDOWS, EOD))
    for row, window in enumerate(WINDOWS):
        hidden, _, _ = _get_ltor_masks_and_position_ids(window, EOD, True, True, False, True)
        for head in range(4):
            scores = queries[row, head] @ keys[row, head // 2].T / 8**0.5
            expected = scores.masked_fill(hidden[0], float("-inf")).softmax(dim=-1) @ values[row, head // 2]
            torch.testing.assert_close(out[row, head], expected, rtol=1e-5, atol=1e-6)


def logits_of(model: torch.nn.Module, tokens: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
    places = torch.arange(tokens.size(1)).expand_as(tokens)
    rotation = model.rotary_pos_emb
    assert isinstance(rotation, DeviceRotaryEmbedding)
    with torch.no_grad(), rotation.at_positions(positions):
        logits: torch.Tensor = model(tokens, places, document_starts(tokens, EOD), runtime_gather_output=True)
    return logits


def test_a_document_does_not_depend_on_its_neighbours(ranks: Ranks) -> None:
    model = build_model(SHAPE, vocab_size=50, sequence_length=16, rope_base=10_000, seed=1, device=ranks.device)
    first, second, other = [7, 8, 9, EOD], [11, 12, 13, 14, EOD], [21, 22, 23, EOD]
    window = torch.tensor([first + second, other + second])
    logits = logits_of(model, window, None)
    assert torch.equal(logits[0, 4:], logits[1, 4:])  # the same places, other neighbours
    assert not torch.equal(logits[0, :4], logits[1, :4])
    alone = logits_of(model, torch.tensor([second]), None)
    torch.testing.assert_close(logits[0, 4:], alone[0], rtol=1e-5, atol=1e-5)  # turned by 4 places: the last digits
    reset = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]] * 2)
    torch.testing.assert_close(logits_of(model, window, reset)[0, 4:], alone[0], rtol=0, atol=1e-6)


def test_positions_that_start_again_change_what_a_document_sees_of_others(ranks: Ranks) -> None:
    model = build_model(SHAPE, vocab_size=50, sequence_length=16, rope_base=10_000, seed=1, device=ranks.device)
    window, places = torch.tensor([[7, 8, EOD, 9, 10, 11]]), torch.arange(6)[None]
    with torch.no_grad():
        plain = model(window, places, None, runtime_gather_output=True)
        with model.rotary_pos_emb.at_positions(torch.tensor([[0, 1, 2, 0, 1, 2]])):
            reset = model(window, places, None, runtime_gather_output=True)
    assert torch.equal(plain[0, :3], reset[0, :3])
    assert not torch.allclose(plain[0, 3:], reset[0, 3:], atol=1e-4)


@pytest.fixture
def plain(make_request: MakeRequest, make_corpus: Callable[..., Any], documents: Callable[..., Any]) -> RunRequest:
    """A run over documents of 9 tokens at most in windows of 32."""
    request = make_request(steps=4)
    train = {"guide": documents(1, 400, 8, 600), "manual": documents(2, 400, 8, 600)}
    corpus = make_corpus(train, vocab_size=600, place="short")
    publish_bytes(Store(request.store).path(request.tokenizer.path).read_bytes(), corpus.store.path(TOKENIZER))
    draws = {name: make_draw(corpus.store, corpus.manifest, DrawSize(name, 1 << 20)) for name in train}
    return request.model_copy(
        update={"store": str(corpus.store), "build": corpus.manifest.build, "draws": draws, "heldout": {}}
    )


def with_masks(request: RunRequest, **masks: bool) -> RunRequest:
    return request.model_copy(update={"masks": request.masks.model_copy(update=masks)})


def test_a_run_with_masks_says_so_and_is_another_run(plain: RunRequest) -> None:
    masked = with_masks(plain, document_mask=True, eod_mask_loss=True, reset_position_ids=True)
    one, other = train_run(plain), train_run(masked)
    assert one.key != other.key
    facts = [facts_of(record, None, {}).agreed for record in (one, other)]
    differing = {name for name in facts[0] if facts[0][name] != facts[1][name]}
    assert differing == {"masks.document_mask", "masks.eod_mask_loss", "masks.reset_position_ids"}
    for stated in one.delivered.values():
        assert stated.targets is None
    for source, replayed in delivered(run_folder(Store(plain.store), other.key) / "index", 16).items():
        assert other.delivered[source].targets == replayed.targets
        assert 0 < replayed.targets < replayed.tokens * 0.9


def test_masked_targets_count_neither_in_the_loss_nor_in_its_mean(plain: RunRequest, ranks: Ranks) -> None:
    masked = with_masks(plain, eod_mask_loss=True)
    state = build_state(masked, ranks)
    blend = Blend(streams_of(Store(masked.store), masked), masked.budget)
    total, targets = 0.0, 0
    for number in range(masked.budget.global_batch_size):
        tokens, labels = (torch.as_tensor(blend[number][name])[None] for name in ("tokens", "labels"))
        counts = tokens != EOD
        with torch.no_grad():
            losses = state.model(tokens, torch.arange(32)[None], None, labels=labels)
        total += float(losses[counts].double().sum())
        targets += int(counts.sum())
    trainer = Trainer(state, blend, step_plan(masked, ranks), ranks)
    assert targets < 4 * 32
    assert trainer.step().loss == pytest.approx(total / targets, rel=1e-6)
