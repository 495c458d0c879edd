"""What compares a model with the checkpoint that it started from: implicit rewards of pairs, and divergence.

The implicit reward of an answer is beta times how much more likely the model finds it than its start does.
"""

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


def with_reference(
    scores: Scores, request: RunRequest, model: GPTModel, references: References, ranks: Ranks
) -> Scores:
    """After preference optimization, add the divergence to scores, and the rewards to those of pairs."""
    trained = request.post_training
    beta = None if trained is None else trained.beta
    if trained is None or beta is None:
        return scores
    is_pairs = scores.documents.source not in (trained.answers_scored or ())
    kl = divergence(
        model,
        references.model,
        scores.documents,
        np.arange(0, len(scores.nll_nats), 2 if is_pairs else 1),
        eod_id=request.tokenizer.eod_id,
        sequence_length=request.budget.sequence_length,
        ranks=ranks,
    )
    if not is_pairs:
        return replace(scores, kl_nats=kl)
    ratios = -scores.nll_nats - references.of_heldout(scores.documents).log_probability
    if trained.dpo is not None and trained.dpo.loss == "ipo":
        ratios = ratios / scores.documents.targets
    return replace(scores, kl_nats=kl, pairs=PairTerms(float(beta) * ratios))
