"""Rewards of held-out answers by a reward model, and its errors.

An answer is scored alone: [EOD, prompt, answer without its EOD], the head on the last position. Answers are padded on
the right, which a causal model does not see. Scoring is float32.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from megatron.core.models.gpt import GPTModel
from numpy.typing import NDArray

from mixproof.train.distributed import Ranks
from mixproof.train.model.reward_head import reward_head_of
from mixproof.train.model.token_losses import without_output
from mixproof.train.stage_record import RewardRecord

from .attribute_terms import AttributeTerms
from .evaluate import BATCH_TOKENS, Scores
from .heldout_parts import HeldoutDocuments
from .pair_terms import PairTerms


def reward_scores(
    model: GPTModel, documents: HeldoutDocuments, reward: RewardRecord, *, eod_id: int, ranks: Ranks
) -> Scores:
    """Score a held-out set of pairs or ratings.

    Args:
        model: with a head; its mode is restored afterwards.
        documents: the set, with the columns of its provenance.
        reward: loss and attributes.
        eod_id: the token that precedes every document.
        ranks: each scores every n-th batch.
    """
    rewards = rewards_of(model, documents, len(reward.attributes) or 1, eod_id=eod_id, ranks=ranks)
    losses = np.zeros(len(rewards), np.float64)
    if reward.loss == "bradley_terry":
        terms = PairTerms(rewards[:, 0])
        losses[::2] = np.logaddexp(0, -(terms.differences - documents.margins[::2]))
        return Scores(documents, losses, pairs=terms, units=len(rewards) // 2)
    attributes = AttributeTerms(reward.attributes, documents.attributes(reward.attributes), rewards)
    losses = np.nansum(attributes.squared_errors, axis=1)
    return replace(Scores(documents, losses, units=int(np.isfinite(attributes.rated).sum())), attributes=attributes)


def rewards_of(
    model: GPTModel, documents: HeldoutDocuments, outputs: int, *, eod_id: int, ranks: Ranks
) -> NDArray[np.float64]:
    """Return [documents, outputs] the rewards of documents."""
    order = np.argsort(-documents.tokens, kind="stable")
    found = torch.zeros(len(order), outputs, dtype=torch.float64, device=ranks.device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(ranks.device.type, enabled=False):
            for batch in _batches(order, documents.tokens, BATCH_TOKENS[ranks.device.type])[ranks.rank :: ranks.size]:
                found[torch.from_numpy(batch).to(ranks.device)] = _of_batch(model, documents, batch, eod_id, ranks)
    finally:
        model.train(was_training)
    ranks.sum(found)
    rewards: NDArray[np.float64] = found.cpu().numpy()
    return rewards


def _batches(order: NDArray[np.int64], tokens: NDArray[np.int64], limit: int) -> list[NDArray[np.int64]]:
    """Divide documents, longest first, into batches of at most `limit` padded tokens."""
    batches, first = [], 0
    while first < len(order):
        rows = max(1, math.floor(limit / int(tokens[order[first]])))
        batches.append(order[first : first + rows])
        first += rows
    return batches


def _of_batch(
    model: GPTModel, documents: HeldoutDocuments, batch: NDArray[np.int64], eod_id: int, ranks: Ranks
) -> torch.Tensor:
    lengths = documents.tokens[batch]
    ids = np.full((len(batch), int(lengths.max())), eod_id, np.int64)
    for row, document in enumerate(batch.tolist()):
        first = int(documents.starts[document])
        ids[row, 1 : lengths[row]] = documents.ids[first : first + int(lengths[row]) - 1]
    tokens = torch.from_numpy(ids).to(ranks.device)
    positions = torch.arange(ids.shape[1], device=ranks.device).expand_as(tokens)
    with without_output(model):
        hidden = model(tokens, positions, None).transpose(0, 1)
    last = hidden[torch.arange(len(batch), device=ranks.device), torch.from_numpy(lengths - 1).to(ranks.device)]
    rewards: torch.Tensor = reward_head_of(model)(last.float()).double()
    return rewards
