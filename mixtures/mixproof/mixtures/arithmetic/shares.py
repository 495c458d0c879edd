"""Exact shares of a mixture, phase by phase: the ones written, and the ones a rule gives.

`proportional` follows the sources' training tokens. `temperature` takes them to the power 1/temperature,
computed in 50 decimal digits and cut to whole weights of 18, so that every machine has the same shares.
`unimax` (Chung et al. 2023) gives every source the same, and a source that its cap stops gives the rest
to the others. `times` multiplies a rule's weights: for unimax before the caps, so that they still hold.
The written share of a source that is split by a column goes to its parts by their tokens, as if it were not split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import KeyPath
from mixproof.mixtures.quantities import percent_string
from mixproof.mixtures.spec import ShareSpec, Spec
from mixproof.mixtures.split_sources import parts_of

EXACT = Context(prec=50)
WEIGHT_DIGITS = 18


@dataclass(frozen=True)
class Supply:
    """What a run takes and what each source can give, in one unit (tokens or samples)."""

    total: int
    """What the run takes from all sources together."""
    tokens_of: Mapping[str, int]
    """Training tokens by source."""
    capacity_of: Mapping[str, int]
    """What each source can give under its cap, in the unit of `total`."""


@dataclass(frozen=True)
class PhaseShares:
    """The shares of one phase."""

    until: Fraction
    """Where the phase ends, as a share of the run."""
    shares: dict[str, Fraction]
    """Positive shares by source, in order of the names; they sum to 1."""


def resolve_mixture(spec: Spec, mixture: str, supply: Supply) -> tuple[PhaseShares, ...]:
    """Return the exact shares of each phase; a mixture without phases has one.

    Raises:
        SpecError: when a rule finds no source to give to, or too little to give.

    """
    declared = spec.mixtures[mixture]
    if not declared.phases:
        return (PhaseShares(Fraction(1), _shares(spec, declared, supply, ("mixtures", mixture))),)
    return tuple(
        PhaseShares(phase.until, _shares(spec, phase, supply, ("mixtures", mixture, "phases", index)))
        for index, phase in enumerate(declared.phases)
    )


def shares_of_run(phases: tuple[PhaseShares, ...]) -> dict[str, Fraction]:
    """Weigh the phases by their length: each source's share of the whole run."""
    total: dict[str, Fraction] = {}
    start = Fraction(0)
    for phase in phases:
        for name, share in phase.shares.items():
            total[name] = total.get(name, Fraction(0)) + (phase.until - start) * share
        start = phase.until
    return {name: share / start for name, share in sorted(total.items())}


def _shares(spec: Spec, blend: ShareSpec, supply: Supply, path: KeyPath) -> dict[str, Fraction]:
    if blend.shares is not None:
        shares: Mapping[str, Fraction] = _by_part(spec, blend.shares, supply.tokens_of, path)
    elif blend.rule == "unimax":
        shares = _unimax(spec, _times(blend, supply), supply, path)
    else:
        temperature = blend.temperature if blend.temperature is not None else Fraction(1)
        weights = _powers(supply.tokens_of, temperature)
        shares = _normalized({name: weights[name] * times for name, times in _times(blend, supply).items()})
    if not shares:
        raise SpecError(f"{spec.where(*path)}: every source is multiplied by 0; leave one of them in")
    return {name: share for name, share in sorted(shares.items()) if share > 0}


def _by_part(
    spec: Spec, shares: Mapping[str, Fraction], tokens_of: Mapping[str, int], path: KeyPath
) -> Mapping[str, Fraction]:
    """Give the share of a split source to those of its parts that are not named beside it, by their tokens."""
    found = dict(shares)
    for whole in set(shares) - set(spec.sources):
        share = found.pop(whole)
        tokens = {part: tokens_of.get(part, 0) for part in parts_of(spec, whole) if part not in shares}
        total = sum(tokens.values())
        if share and not total:
            raise SpecError(f"{spec.where(*path, whole)}: no other part of {whole} has a token; name its parts alone")
        found.update({part: share * count / total for part, count in tokens.items() if share})
    return found


def _times(blend: ShareSpec, supply: Supply) -> dict[str, Fraction]:
    every = {name: blend.times.get(name, Fraction(1)) for name, tokens in supply.tokens_of.items() if tokens}
    return {name: times for name, times in every.items() if times}


def _normalized(weights: Mapping[str, Fraction]) -> dict[str, Fraction]:
    total = sum(weights.values(), Fraction(0))
    return {name: weight / total for name, weight in weights.items()}


def _powers(tokens_of: Mapping[str, int], temperature: Fraction) -> dict[str, Fraction]:
    """Weights that go as tokens to the power 1/temperature; the largest is 10^18."""
    if temperature == 1:
        return {name: Fraction(tokens) for name, tokens in tokens_of.items()}
    power = EXACT.divide(Decimal(temperature.denominator), Decimal(temperature.numerator))
    largest = EXACT.ln(Decimal(max(tokens_of.values(), default=1) or 1))
    weights = {}
    for name, tokens in tokens_of.items():
        distance = EXACT.subtract(EXACT.ln(Decimal(tokens)), largest) if tokens else Decimal("-Infinity")
        weight = EXACT.scaleb(EXACT.exp(EXACT.multiply(distance, power)), Decimal(WEIGHT_DIGITS))
        weights[name] = Fraction(max(int(weight), 1 if tokens else 0))
    return weights


def _unimax(spec: Spec, weights: Mapping[str, Fraction], supply: Supply, path: KeyPath) -> dict[str, Fraction]:
    """Fill all sources alike; those that reach their capacity stop, and the rest is filled further."""
    capacity = {name: supply.capacity_of.get(name, 0) for name in weights}
    if sum(capacity.values()) < supply.total:
        raise SpecError(
            f"{spec.where(*path)}: unimax needs {supply.total:,} and its sources give {sum(capacity.values()):,} "
            f"under their caps ({percent_string(Fraction(sum(capacity.values()), supply.total))}); "
            "ask for fewer tokens, raise `target.max_epochs`, or add text"
        )
    given: dict[str, Fraction] = {}
    filling = dict(weights)
    while filling:
        level = (supply.total - sum(given.values(), Fraction(0))) / sum(filling.values(), Fraction(0))
        full = {name for name, weight in filling.items() if capacity[name] < level * weight}
        if not full:
            given.update({name: level * weight for name, weight in filling.items()})
            break
        for name in full:
            given[name] = Fraction(capacity[name])
            del filling[name]
    return {name: amount / supply.total for name, amount in given.items()}
