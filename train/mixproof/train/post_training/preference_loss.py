"""Losses of preference optimization as functions of log-ratios, and nothing else.

The log-ratio of an answer is ln p by the model - ln p by the starting checkpoint, summed over its tokens and its EOD;
beta times it is the answer's implicit reward. With d the log-ratio of the chosen minus that of the rejected answer:

    dpo, sigmoid    -(1 - s) ln sigmoid(beta d) - s ln sigmoid(-beta d)       s: label smoothing
    dpo, ipo        (d' - 1 / (2 beta))²                                      d': log-ratios per token
    rpo             KL of the Bernoulli with sigmoid(eta (rating of chosen - rating of rejected))
                    from that with sigmoid(beta d)
"""

from __future__ import annotations

from fractions import Fraction

from torch import Tensor
from torch.nn.functional import logsigmoid

from mixproof.train.stage_record import PostTraining


def preference_losses(trained: PostTraining, chosen: Tensor, rejected: Tensor, ratings: Tensor | None) -> Tensor:
    """Return [pairs] the loss of each pair, with a gradient to the log-ratios.

    Args:
        trained: stage and settings.
        chosen: [pairs] log-ratios of the chosen answers; per token for `ipo`.
        rejected: [pairs] the same of the rejected ones.
        ratings: [pairs] difference of both ratings, for `rpo`.
    """
    beta = float(trained.beta or 0)
    difference = chosen - rejected
    if trained.rpo is not None:
        assert ratings is not None, "rpo has ratings"
        wanted = float(Fraction(trained.rpo.eta)) * ratings
        return _bernoulli_divergence(wanted, beta * difference)
    assert trained.dpo is not None, "the stage is dpo or rpo"
    if trained.dpo.loss == "ipo":
        return (difference - 1 / (2 * beta)) ** 2
    smoothing = float(Fraction(trained.dpo.label_smoothing))
    return -(1 - smoothing) * logsigmoid(beta * difference) - smoothing * logsigmoid(-beta * difference)


def _bernoulli_divergence(wanted: Tensor, found: Tensor) -> Tensor:
    """Return KL(Bernoulli(sigmoid(wanted)) || Bernoulli(sigmoid(found)))."""
    of_one = wanted.sigmoid() * (logsigmoid(wanted) - logsigmoid(found))
    of_zero = (-wanted).sigmoid() * (logsigmoid(-wanted) - logsigmoid(-found))
    return of_one + of_zero
