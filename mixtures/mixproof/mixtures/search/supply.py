"""The search space of a spec: the mixtures that its sources, target and caps allow.

The center is the proportional mixture. A source's largest share is what its cap allows in the target run (tokens
times epochs, divided by target tokens) or, without a target, what a proxy run can use in whole training windows. The
smallest positive share gives a proxy run at least one sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from mixproof.mixtures.arithmetic.budget import supply_of, windows
from mixproof.mixtures.spec import Spec

from .space import LEAST_SHARE, UNITS, Space, rounded_center


def space_of(spec: Spec, proxy: str, tokens_of: Mapping[str, int]) -> Space:
    """Build the space of the candidates of a proxy.

    Args:
        spec: a checked spec.
        proxy: name of the proxy that measures the candidates.
        tokens_of: training tokens of every source, including EODs.

    Raises:
        SpecError: when all sources together cannot fill a mixture within their caps.
    """
    recipe, length = spec.train.proxies[proxy], spec.train.sequence_length
    samples = -(-recipe.tokens // (length * recipe.global_batch_size)) * recipe.global_batch_size
    supply = supply_of(spec, samples, tokens_of)
    most = {
        name: Fraction(supply.capacity_of[name], supply.total) if windows(tokens, length) else Fraction(0)
        for name, tokens in tokens_of.items()
    }
    center = rounded_center(dict(sorted(tokens_of.items())))
    return Space.of(center, most, max(LEAST_SHARE, Fraction(1, samples)))


def draw_tokens(spec: Spec, proxy: str, space: Space) -> dict[str, int]:
    """Tokens of each source that a candidate can read in one pass at most, so that all rounds share their draws."""
    recipe, length = spec.train.proxies[proxy], spec.train.sequence_length
    samples = -(-recipe.tokens // (length * recipe.global_batch_size)) * recipe.global_batch_size
    return {
        name: -(-samples * most // UNITS) * length + 1
        for name, most in zip(space.sources, space.most_units, strict=True)
        if most
    }
