"""The gradients of objectives are those of plain automatic differentiation through the whole vocabulary."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch.nn.functional import cross_entropy, logsigmoid

from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.distributed import Ranks
from mixproof.train.model.micro_batch import Batch, StepPlan, forward_context
from mixproof.train.model.model import build_model
from mixproof.train.model.training_loss import hidden_rows
from mixproof.train.post_training.preferences import PreferenceObjective
from mixproof.train.record import MasksRecord
from mixproof.train.stage_record import DpoRecord, PostTraining, RpoRecord

MASKS = MasksRecord(
    document_mask=True, eod_mask_loss=False, reset_position_ids=True, best_fit=True, supervised=True, pairs=True
)
SHAPE = Architecture(layers=2, hidden=16, ffn=32, heads=2, kv_heads=1, head_dim=8)
LENGTHS = [[5, 4, 3, 6], [7, 8, 0, 0]]
"""Two pairs in the first window of 20 tokens, one in the second; the rest is padding. Prompts have two tokens."""


def pairs_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    shape = (2, 20)
    positions, mask, values = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape), torch.zeros(*shape, 2).double()
    for row, lengths in enumerate(LENGTHS):
        at = 0
        for number, length in enumerate(lengths):
            positions[row, at : at + length] = torch.arange(length)
            mask[row, at + 2 : at + length] = 1
            if length:
                values[row, at] = torch.tensor([-3.0 - number, 1.5 * number])
            at += length
    return {
        "tokens": torch.randint(50, shape, generator=generator),
        "labels": torch.randint(50, shape, generator=generator),
        "position_ids": positions,
        "loss_mask": mask,
        "source": torch.zeros(2, dtype=torch.int64),
        "values": values,
    }


def trained(stage: Literal["dpo", "rpo"], loss: Literal["sigmoid", "ipo"]) -> PostTraining:
    return PostTraining(
        stage=stage,
        too_long="drop",
        shares_by="supervised",
        planned={},
        templates={},
        dpo=DpoRecord(beta="0.3", label_smoothing="0.2", loss=loss) if stage == "dpo" else None,
        rpo=RpoRecord(beta="0.3", eta="0.5") if stage == "rpo" else None,
    )


@pytest.mark.parametrize(("stage", "loss"), [("dpo", "sigmoid"), ("dpo", "ipo"), ("rpo", "sigmoid")])
def test_gradients_of_pairs(ranks: Ranks, stage: Literal["dpo", "rpo"], loss: Literal["sigmoid", "ipo"]) -> None:
    model = build_model(SHAPE, vocab_size=50, sequence_length=20, rope_base=10000, seed=3, device=ranks.device).train()
    batch = pairs_batch()
    plan = StepPlan(2, 2, 20, math.inf, MASKS, 2, 2)
    names, weights = zip(*model.named_parameters(), strict=True)
    found = PreferenceObjective(trained(stage, loss)).loss(model, batch, plan, in_bfloat16=False)
    gradients = torch.autograd.grad(found.to_minimize, weights)
    with forward_context(model, batch, plan, in_bfloat16=False) as starts:
        rows = hidden_rows(model, batch["tokens"], batch["position_ids"], starts)
    nats = cross_entropy(
        rows @ model.shared_embedding_or_output_weight().T, batch["labels"].reshape(-1), reduction="none"
    )
    nats = (nats.view(2, 20) * batch["loss_mask"]).double()
    total = torch.zeros((), dtype=torch.float64)
    for row, lengths in enumerate(LENGTHS):
        bounds = [0, *torch.tensor(lengths).cumsum(0).tolist()]
        ratios, ratings = [], []
        for number, (first, last) in enumerate(pairwise(bounds)):
            if lengths[number]:
                ratio = -nats[row, first:last].sum() - (-3.0 - number)
                ratios.append(ratio / (lengths[number] - 2) if loss == "ipo" else ratio)
                ratings.append(1.5 * number)
        for pair in range(0, len(ratios), 2):
            difference = ratios[pair] - ratios[pair + 1]
            if stage == "rpo":
                wanted = torch.tensor(0.5 * (ratings[pair] - ratings[pair + 1]), dtype=torch.float64).sigmoid()
                here = (0.3 * difference).sigmoid()
                total = total + wanted * (wanted / here).log() + (1 - wanted) * ((1 - wanted) / (1 - here)).log()
            elif loss == "ipo":
                total = total + (difference - 1 / 0.6) ** 2
            else:
                total = total - 0.8 * logsigmoid(0.3 * difference) - 0.2 * logsigmoid(-0.3 * difference)
    assert float(found.value) == pytest.approx(float(total.detach()), abs=1e-5)
    assert found.counts.tolist() == [[1, 1], [1, 0]]
    for name, one, other in zip(names, gradients, torch.autograd.grad(total, weights), strict=True):
        assert torch.allclose(one, other.float(), atol=1e-6), name
