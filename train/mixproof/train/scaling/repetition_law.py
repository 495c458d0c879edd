"""The data-constrained scaling law: the loss of a model whose tokens repeat, with published constants.

Muennighoff et al. 2023, "Scaling Data-Constrained Language Models" (arXiv:2305.16264):

    L = E + A / N'^a + B / D'^b
    D' = U (1 + R_D* (1 − e^(−R_D / R_D*)))      R_D = tokens / U − 1, at least 0
    N' = V (1 + R_N* (1 − e^(−R_N / R_N*)))      R_N = parameters / V − 1, at least 0

U is the number of unique tokens and V the number of parameters that is optimal for them; parameters beyond V learn
little from U. The constants were fitted to 182 runs on English web text with GPT-2's tokenizer, so losses are in nats
per GPT-2 token. Only the form carries over to other text: how fast repeated tokens lose their value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mixproof.mixtures.arithmetic.repetition import effective_tokens


@dataclass(frozen=True)
class DataConstrainedLaw:
    """The form with its constants."""

    irreducible: float
    """E, nats per token."""
    parameter_scale: float
    """A."""
    token_scale: float
    """B."""
    parameter_exponent: float
    """a."""
    token_exponent: float
    """b."""
    excess_parameters: float
    """R_N*: excess parameters, as a multiple of the optimal ones, at which one more is worth 1/e of the first."""

    def loss(self, parameters: float, tokens: float, unique_tokens: float) -> float:
        """Estimate the loss of a run, nats per token.

        Args:
            parameters: number of weights.
            tokens: tokens trained on, repeats included.
            unique_tokens: different tokens among them; values above `tokens` count as `tokens`.

        Raises:
            ValueError: when an argument is not positive.
        """
        if min(parameters, tokens, unique_tokens) <= 0:
            raise ValueError(f"all arguments must be positive: {parameters}, {tokens}, {unique_tokens}")
        unique = min(unique_tokens, tokens)
        by_parameters = self.parameter_scale / self._effective_parameters(parameters, unique) ** self.parameter_exponent
        by_tokens = self.token_scale / effective_tokens(unique, tokens / unique) ** self.token_exponent
        return float(self.irreducible + by_parameters + by_tokens)

    def optimal_parameters(self, tokens: float) -> float:
        """Compute-optimal number of parameters for `tokens` tokens (Hoffmann et al. 2022)."""
        ratio = (self.parameter_exponent * self.parameter_scale) / (self.token_exponent * self.token_scale)
        balance = ratio ** (1 / (self.parameter_exponent + self.token_exponent))
        return float(balance * (balance * tokens) ** (self.token_exponent / self.parameter_exponent))

    def _effective_parameters(self, parameters: float, unique_tokens: float) -> float:
        enough = min(parameters, self.optimal_parameters(unique_tokens))
        excess = parameters / enough - 1
        return enough * (1 + self.excess_parameters * -math.expm1(-excess / self.excess_parameters))


PUBLISHED = DataConstrainedLaw(
    irreducible=math.exp(0.6254804),
    parameter_scale=math.exp(6.255414),
    token_scale=math.exp(7.3049974),
    parameter_exponent=0.3526596,
    token_exponent=0.3526596,
    excess_parameters=5.309743,
)
"""As published with the paper; R_D* = 15.387756 is in `mixproof.mixtures.arithmetic.repetition`."""
