"""Exact shares of a mixture, phase by phase: written shares, and shares given by a rule.

`proportional` uses the sources' training tokens. `temperature` raises them to the power 1/temperature, computed in
50 decimal digits and truncated to integer weights of 18 digits, so that every machine gets the same shares. `unimax`
(Chung et al. 2023, "UniMax") gives every source the same share; what a source cannot supply within its cap goes to the
others. `times` multiplies a rule's weights; for unimax it does so before the caps, which therefore still hold. The
written share of a split source is divided among its parts by their tokens, as if the source were not split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

from mixproof.mixtures.blocks.mixture import ShareSpec
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import KeyPath
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import parts_of
from mixproof.mixtures.values.quantities import percent_string

EXACT = Context(prec=50)
WEIGHT_DIGITS = 18


@dataclass(frozen=True)
class Supply:
    """What a run needs and what each source can supply, both in tokens or both in samples."""

    total: int
    """What the run needs from all sources together."""
    tokens_of: Mapping[str, int]
    """Training tokens by source."""
    capacity_of: Mapping[str, int]
    """What each source can supply within its cap, in the unit of `total`."""


@dataclass(frozen=True)
class PhaseShares:
    """The shares of one phase."""

    until: Fraction
    """End of the phase, as a share of the run."""
    shares: dict[str, Fraction]
    """Positive shares by source, sorted by name; they sum to 1."""


def resolve_mixture(spec: Spec, mixture: str, supply: Supply) -> tuple[PhaseShares, ...]:
    """Return the exact shares of each phase; a mixture without phases has one.

    Raises:
        SpecError: when a rule leaves no source, or the sources cannot supply enough.

    """
    declared = spec.mixtures[mixture]
    if not declared.phases:
        return (PhaseShares(Fraction(1), _shares(spec, declared, supply, ("mixtures", mixture))),)
    return tuple(
        PhaseShares(phase.until, _shares(spec, phase, supply, ("mixtures", mixture, "phases", index)))
        for index, phase in enumerate(declared.phases)
    )


def shares_of_run(phases: tuple[PhaseShares, ...]) -> dict[str, Fraction]:
    """Each source's share of the whole run: the phases, weighted by length."""
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
        shares = _unimax(spec, _weights(blend, supply), supply, path)
    else:
        temperature = blend.temperature if blend.temperature is not None else Fraction(1)
        weights = _powers(supply.tokens_of, temperature)
        shares = _normalized({name: weights[name] * multiplier for name, multiplier in _weights(blend, supply).items()})
    if not shares:
        raise SpecError(f"{spec.where(*path)}: `times` sets every source to 0; keep at least one")
    return {name: share for name, share in sorted(shares.items()) if share > 0}


def _by_part(
    spec: Spec, shares: Mapping[str, Fraction], tokens_of: Mapping[str, int], path: KeyPath
) -> Mapping[str, Fraction]:
    """Divide the share of a split source, by tokens, among those of its parts that have no written share."""
    found = dict(shares)
    for whole in set(shares) - set(spec.sources):
        share = found.pop(whole)
        tokens = {part: tokens_of.get(part, 0) for part in parts_of(spec, whole) if part not in shares}
        total = sum(tokens.values())
        if share and not total:
            raise SpecError(
                f"{spec.where(*path, whole)}: parts of {whole} without a written share have no tokens; remove it"
            )
        found.update({part: share * count / total for part, count in tokens.items() if share})
    return found


def _weights(blend: ShareSpec, supply: Supply) -> dict[str, Fraction]:
    multipliers = {name: blend.times.get(name, Fraction(1)) for name, tokens in supply.tokens_of.items() if tokens}
    return {name: multiplier for name, multiplier in multipliers.items() if multiplier}


def _normalized(weights: Mapping[str, Fraction]) -> dict[str, Fraction]:
    total = sum(weights.values(), Fraction(0))
    return {name: weight / total for name, weight in weights.items()}


def _powers(tokens_of: Mapping[str, int], temperature: Fraction) -> dict[str, Fraction]:
    """Weights proportional to tokens^(1/temperature); the largest is 10^18."""
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
    """Fill all sources equally; a source that reaches its capacity stops, and the others are filled further."""
    capacity = {name: supply.capacity_of.get(name, 0) for name in weights}
    if sum(capacity.values()) < supply.total:
        raise SpecError(
            f"{spec.where(*path)}: unimax needs {supply.total:,}, but its sources supply {sum(capacity.values()):,} "
            f"within their caps ({percent_string(Fraction(sum(capacity.values()), supply.total))}); "
            "request fewer tokens, raise `target.max_epochs`, or add text"
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
