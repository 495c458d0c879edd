"""The blocks `train.dpo`, `train.rpo` and `train.reward` of a spec: what stages on pairs and ratings learn."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from mixproof.mixtures.values.quantities import PositiveNumber, Share
from mixproof.mixtures.values.spec_part import SpecPart


class Dpo(SpecPart):
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290)."""

    beta: PositiveNumber = Fraction(1, 10)
    """Strength of the pull towards the starting checkpoint: implicit reward = beta × (ln p - ln p of the start)."""
    label_smoothing: Share = Fraction(0)
    """Assumed share of pairs whose answers are swapped."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """`sigmoid`: -ln sigmoid of the difference of rewards. `ipo` (Azar et al. 2023, arXiv 2310.12036): the squared
    distance of the difference of mean log-ratios per token from 1 / (2 beta)."""


class Rpo(SpecPart):
    """Reward-aware preference optimization (Nemotron-4 340B, arXiv 2406.11704).

    The difference of implicit rewards should be eta times the difference of the ratings of both answers.
    """

    beta: PositiveNumber = Fraction(1, 10)
    """Strength of the pull towards the starting checkpoint, as for `dpo`."""
    eta: PositiveNumber = Fraction(1)
    """Scale of the ratings."""
