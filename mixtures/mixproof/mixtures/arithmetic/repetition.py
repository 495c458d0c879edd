"""An estimate of how much repeated tokens are worth.

Muennighoff et al. 2023 ("Scaling Data-Constrained Language Models", eq. 5) fit effective tokens
U·(1 + R*·(1 − e^(−R/R*))), R = epochs − 1, with R* = 15.387756. Two epochs are worth 1.968 passes over new
tokens, four 3.726, eight 6.624. Below one epoch nothing repeats, and every token counts fully.
"""

from __future__ import annotations

import math

R_STAR = 15.387756
"""Number of repetitions after which another one is worth 1/e of a new token."""


def effective_tokens(unique_tokens: float, epochs: float) -> float:
    """Estimate how many new tokens are worth as much as `epochs` passes over `unique_tokens`.

    Raises:
        ValueError: for negative numbers.

    """
    if unique_tokens < 0 or epochs < 0:
        raise ValueError(f"tokens and epochs must not be negative: {unique_tokens}, {epochs}")
    if epochs <= 1:
        return unique_tokens * epochs
    return unique_tokens * (1 + R_STAR * -math.expm1(-(epochs - 1) / R_STAR))
