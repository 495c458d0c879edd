"""KL divergence of a model from its starting checkpoint, exact over the vocabulary at each supervised token."""

from __future__ import annotations

import numpy as np
import torch
from megatron.core.models.gpt import GPTModel
from numpy.typing import NDArray
from torch import Tensor

from mixproof.train.distributed import Ranks
from mixproof.train.model.token_losses import without_output

from .heldout_parts import HeldoutDocuments

ROWS = {"cpu": 128, "cuda": 4096}
"""Positions whose logits are held at once."""


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
        chosen: indices of the documents to score; each is cut at `sequence_length` tokens.
        eod_id: the token that precedes every document.
        sequence_length: of the windows.
        ranks: each scores every n-th document.

    Returns:
        [documents] the sums; 0 for documents that were not chosen.
    """
    assert documents.mask is not None, "only supervised tokens are scored"
    sums = torch.zeros(len(documents.file), dtype=torch.float64, device=ranks.device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(ranks.device.type, enabled=False):
            for document in chosen[ranks.rank :: ranks.size].tolist():
                first, last = int(documents.starts[document]), int(documents.starts[document + 1])
                last = min(last, first + sequence_length)
                ids = np.concatenate([[eod_id], documents.ids[first : last - 1]]).astype(np.int64)
                mask = torch.from_numpy(documents.mask[first:last] == 1).to(ranks.device)
                sums[document] = _of_document(model, reference, torch.from_numpy(ids)[None].to(ranks.device), mask)
    finally:
        model.train(was_training)
    ranks.sum(sums)
    found: NDArray[np.float64] = sums.cpu().numpy()
    return found


def _of_document(model: GPTModel, reference: GPTModel, ids: Tensor, mask: Tensor) -> Tensor:
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
