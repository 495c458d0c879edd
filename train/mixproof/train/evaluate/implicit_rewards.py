"""Implicit rewards of held-out pairs: beta times how much more likely the model finds an answer than its start does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from megatron.core.models.gpt import GPTModel

from mixproof.train.distributed import Ranks
from mixproof.train.request import RunRequest

from .divergence import divergence
from .evaluate import Scores
from .pair_terms import PairTerms
from .references import References


def with_implicit_rewards(
    scores: Scores, request: RunRequest, model: GPTModel, references: References, ranks: Ranks
) -> Scores:
    """Add rewards and divergence to the scores of pairs; other scores are returned as they are."""
    trained = request.post_training
    beta = None if trained is None else trained.beta
    if trained is None or beta is None or scores.documents.source in (trained.answers_scored or ()):
        return scores
    ratios = -scores.nll_nats - references.of_heldout(scores.documents).log_probability
    if trained.dpo is not None and trained.dpo.loss == "ipo":
        ratios = ratios / scores.documents.targets
    kl = divergence(
        model,
        references.model,
        scores.documents,
        np.arange(0, len(ratios), 2),
        eod_id=request.tokenizer.eod_id,
        sequence_length=request.budget.sequence_length,
        ranks=ranks,
    )
    return replace(scores, pairs=PairTerms(float(beta) * ratios, kl))
