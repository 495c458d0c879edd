"""KL divergence of a model from its starting checkpoint, exact over the vocabulary at each supervised token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from megatron.core.models.gpt import GPTModel
from numpy.typing import NDArray
from torch import Tensor

from mixproof.ledger.fingerprint import derive_seed
from mixproof.train.distributed import Ranks
from mixproof.train.model.token_losses import without_output

from .evaluate import cut_windows
from .heldout_parts import HeldoutDocuments

ROWS = {"cpu": 128, "cuda": 4096}
"""Positions whose logits are held at once."""
REPLICATES = 1000
"""Of the bootstrap of an interval."""


def divergence(
    model: GPTModel,
    reference: GPTModel,
    documents: HeldoutDocuments,
    chosen: NDArray[np.int64],
    *,
    eod_id: int,
    sequence_length: int,
    ranks: Ranks,
) -> NDArray[np.float64]:
    """Sum KL(model || reference) in nats over the supervised tokens of documents.

    Args:
        model: the trained model; its mode is restored afterwards.
        reference: the starting checkpoint.
        documents: a held-out set with a mask.
        chosen: indices of the documents to score; longer ones are cut into windows, as for their losses.
        eod_id: the token that precedes every document.
        sequence_length: of the windows.
        ranks: each scores every n-th window.

    Returns:
        [documents] the sums; 0 for documents that were not chosen.
    """
    assert documents.mask is not None, "only supervised tokens are scored"
    sums = torch.zeros(len(documents.file), dtype=torch.float64, device=ranks.device)
    windows = cut_windows(documents.starts, sequence_length)
    scored = np.flatnonzero(np.isin(windows.document, chosen))
    before = np.concatenate([[eod_id], documents.ids]).astype(np.int64)  # of each token; every document ends in an EOD
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(ranks.device.type, enabled=False):
            for window in scored[ranks.rank :: ranks.size].tolist():
                first = int(windows.first[window])
                targets = slice(first, first + int(windows.targets[window]))
                mask = torch.from_numpy(documents.mask[targets] == 1).to(ranks.device)
                if bool(mask.any()):
                    ids = torch.from_numpy(before[targets])[None].to(ranks.device)
                    sums[int(windows.document[window])] += _of_window(model, reference, ids, mask)
    finally:
        model.train(was_training)
    ranks.sum(sums)
    found: NDArray[np.float64] = sums.cpu().numpy()
    return found


def interval_over_prompts(
    kl_nats: NDArray[np.float64], tokens: NDArray[np.int64], prompts: Sequence[str]
) -> tuple[float, float]:
    """Return the 95% interval of the divergence per token: percentiles of a bootstrap over prompts.

    The answers to a prompt are drawn together. The seed is fixed, so the interval can be computed again.

    Args:
        kl_nats: [answers] sums of the divergence.
        tokens: [answers] numbers of tokens.
        prompts: hash of the prompt of each answer.
    """
    names, number = np.unique(np.array(prompts), return_inverse=True)
    amounts, units = (np.bincount(number, values, len(names)) for values in (kl_nats, tokens))
    draw = np.random.default_rng(derive_seed("kl"))
    drawn = draw.integers(0, len(names), (REPLICATES, len(names)))
    low, high = np.quantile(amounts[drawn].sum(1) / units[drawn].sum(1), [0.025, 0.975]).tolist()
    return low, high


def _of_window(model: GPTModel, reference: GPTModel, ids: Tensor, mask: Tensor) -> Tensor:
    positions = torch.arange(ids.size(1), device=ids.device)[None]
    states = []
    for each in (model, reference):
        with without_output(each):
            states.append(each(ids, positions, None)[:, 0][mask])
    weights = [each.shared_embedding_or_output_weight() for each in (model, reference)]
    total = torch.zeros((), dtype=torch.float64, device=ids.device)
    rows = ROWS[ids.device.type]
    for first in range(0, len(states[0]), rows):
        ours, theirs = (
            torch.log_softmax(state[first : first + rows] @ weight.T, dim=1).double()
            for state, weight in zip(states, weights, strict=True)
        )
        total += (ours.exp() * (ours - theirs)).sum()
    return total
