"""The search space: mixtures in whole units of share that respect the target's supply and caps exactly.

A share is a whole number of units, of which 10,000 make a whole, so a candidate is exact, sums to 1 and has a short
spelling (`12.34%`). A source has no unit, or at least `least_units` and at most what its supply and cap allow. With
shares that are fixed (`pins.py`), the units divide what is left, and a group in a fixed ratio counts as one source.
`project` maps any weights to such a mixture: sources far below the floor are left out, the others keep their
proportions between floor and cap (one common factor, found by bisection), and units left over by rounding go to the
largest remainders with room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.arithmetic.rounding import ceil, largest_remainder
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.values.quantities import percent_string

from .pins import Pins

UNITS = 10_000
LEAST_SHARE = Fraction(1, 200)
"""A source is left out or has at least half a percent; less has no measurable effect on a small proxy."""
MOST_SOURCES = 256
"""The time of a predictor's fit and of the optimum grows with the cube of the sources: minutes at this number."""
BISECTIONS = 100

UnitArray = NDArray[np.int64]
Units = tuple[int, ...]
"""The units of one mixture, in the order of the space's sources."""


@dataclass(frozen=True)
class Space:
    """All mixtures that may be run."""

    sources: tuple[str, ...]
    """What is searched: sources, and groups of sources in fixed ratios."""
    center: tuple[Fraction, ...]
    """Shares around which candidates are drawn; they sum to 1."""
    most_units: tuple[int, ...]
    """By source, what supply and cap allow; 0 when that is below the floor."""
    least_units: tuple[int, ...]
    """By source, the smallest number of units if it is used."""
    pins: Pins | None = None
    """What is not searched; None if every source is."""
    anchor_shares: tuple[Fraction, ...] | None = None
    """Shares of the anchor, before they are brought into the space; None: the center."""

    @classmethod
    def of(
        cls,
        center: Mapping[str, Fraction],
        most: Mapping[str, Fraction],
        least: Fraction | Mapping[str, Fraction] = LEAST_SHARE,
        pins: Pins | None = None,
    ) -> Space:
        """Build the space from shares and limits.

        Args:
            center: shares around which candidates are drawn; they sum to 1. Their order is the space's.
            most: largest share of each source that supply and cap allow; above 1 means no limit.
            least: smallest positive share, of all sources or by source.
            pins: what is not searched.

        Raises:
            SpecError: when all sources together cannot fill a mixture.
        """
        sources = tuple(center)
        floors = least if isinstance(least, Mapping) else dict.fromkeys(sources, least)
        least_units = tuple(max(1, ceil(floors[name] * UNITS)) for name in sources)
        room = [min(UNITS, int(most[name] * UNITS)) for name in sources]
        most_units = tuple(units if units >= floor else 0 for units, floor in zip(room, least_units, strict=True))
        if sum(most_units) < UNITS:
            limits = ", ".join(f"{name} {percent_string(most[name])}" for name in sources)
            raise SpecError(
                f"no mixture stays within supply and caps: at most {limits}, "
                f"{percent_string(Fraction(sum(most_units), UNITS))} together; "
                "request fewer target tokens, raise `target.max_epochs`, or add text"
            )
        return cls(sources, tuple(center[name] for name in sources), most_units, least_units, pins)

    @property
    def anchor(self) -> tuple[int, ...]:
        """The mixture of the space that is nearest to the anchor's shares, by default the center."""
        given = self.anchor_shares
        weights = self.weights(Fraction(1)) if given is None else np.array([float(share) for share in given])
        return tuple(int(units) for units in self.project(weights[None])[0])

    def mixture(self, units: Sequence[int]) -> dict[str, Fraction]:
        """The positive shares of sources, exactly, with those that are fixed."""
        shares = exact_shares(self.sources, units)
        return shares if self.pins is None else self.pins.mixture(shares)

    def by_source(self, shares: Sequence[float]) -> dict[str, float]:
        """Shares of all sources, also those that are fixed, from shares [sources] of the space."""
        by_name = dict(zip(self.sources, map(float, shares), strict=True))
        return by_name if self.pins is None else self.pins.by_source(by_name)

    @property
    def prior(self) -> tuple[FloatArray, FloatArray]:
        """The center's shares [sources], and how much a divergence of each counts."""
        return self.weights(Fraction(1)), np.ones(len(self.sources))

    @property
    def bounds_of_sums(self) -> list[tuple[FloatArray, float, float]]:
        """Sums of shares with their limits: factors [sources] of the shares, the smallest and the largest sum."""
        return [(np.ones(len(self.sources)), 1.0, 1.0)]

    def weights(self, power: Fraction) -> FloatArray:
        """The center's shares [sources] to a power, normalized to sum to 1; 0 for a source without room."""
        weights = np.array([float(share) ** float(power) if share > 0 else 0.0 for share in self.center])
        weights *= np.array(self.most_units) > 0
        if weights.sum() == 0:
            weights = np.array(self.most_units, dtype=np.float64)
        return np.asarray(weights / weights.sum(), dtype=np.float64)

    def project(self, weights: FloatArray) -> UnitArray:
        """Project weights [mixtures, sources], not negative, into the space: units [mixtures, sources]."""
        most = np.array(self.most_units, dtype=np.float64)
        weights = np.where(most > 0, np.maximum(weights, 0.0), 0.0)
        weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        taken = self._select_sources(weights)
        weights = np.where(taken, np.maximum(weights, 1e-9), 0.0)
        least = np.where(taken, np.array(self.least_units, dtype=np.float64), 0.0)
        filled = _fill(weights, least, np.where(taken, most, 0.0))
        return np.array([round_units(row, self.most_units) for row in filled], dtype=np.int64)

    def holds(self, units: Sequence[int]) -> bool:
        """Whether a mixture is in the space."""
        limits = zip(units, self.least_units, self.most_units, strict=True)
        return sum(units) == UNITS and all(n == 0 or least <= n <= most for n, least, most in limits)

    def _select_sources(self, weights: FloatArray) -> NDArray[np.bool_]:
        """Which sources are used: those closer to the floor than to 0, and enough of them to fill a mixture."""
        most, least, room_needed = np.array(self.most_units), np.array(self.least_units), UNITS
        taken = weights * UNITS >= least / 2
        order = np.argsort(-(weights + 1e-6 * self.weights(Fraction(1))), axis=1, kind="stable")
        for row in range(len(weights)):
            sources = [int(source) for source in order[row] if most[source] > 0]
            wanted = np.array([source for source in sources if taken[row, source]], dtype=np.int64)
            chosen = wanted[np.cumsum(least[wanted]) <= room_needed].tolist()
            room = int(sum(most[source] for source in chosen))
            for source in sources:
                if room >= room_needed:
                    break
                if source not in chosen:
                    chosen.append(source)
                    room += int(most[source])
            taken[row] = False
            taken[row, chosen] = True
        return taken


def shares_of(units: UnitArray | Sequence[Sequence[int]]) -> FloatArray:
    """Shares [mixtures, sources] of units, as floats for predictors."""
    return np.asarray(units, dtype=np.float64) / UNITS


def exact_shares(sources: Sequence[str], units: Sequence[int]) -> dict[str, Fraction]:
    """The positive shares of one mixture, exactly."""
    return {name: Fraction(int(count), UNITS) for name, count in zip(sources, units, strict=True) if count}


def distances(units: UnitArray, others: UnitArray) -> FloatArray:
    """Share that must move [mixtures, others] to turn one mixture into another: half the summed differences."""
    return np.asarray(np.abs(units[:, None, :] - others[None, :, :]).sum(axis=2) / (2 * UNITS), dtype=np.float64)


def _fill(weights: FloatArray, least: FloatArray, most: FloatArray) -> FloatArray:
    """Scale each row by one factor so that, clipped to [least, most], it sums to UNITS."""
    low, high = np.zeros((len(weights), 1)), np.full((len(weights), 1), 1e15)
    for _ in range(BISECTIONS):
        middle = np.sqrt(np.maximum(low, 1e-3) * high)
        short = np.clip(weights * middle, least, most).sum(axis=1, keepdims=True) < UNITS
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.asarray(np.clip(weights * high, least, most), dtype=np.float64)


def round_units(filled: FloatArray, most: Sequence[int]) -> list[int]:
    """Round to whole units that sum to UNITS, none above its limit."""
    units = [int(amount) for amount in filled]
    remaining = UNITS - sum(units)
    by_remainder = sorted(range(len(units)), key=lambda source: (units[source] - filled[source], source))
    while remaining:
        moved = 0
        for source in by_remainder:
            if remaining and filled[source] > 0 and units[source] < most[source]:
                units[source] += 1
                remaining -= 1
                moved += 1
        assert moved, "the sources in use have room for a whole mixture"
    return units


def rounded_center(tokens_of: Mapping[str, int]) -> dict[str, Fraction]:
    """Proportional shares, rounded to units."""
    total = sum(tokens_of.values())
    dealt = largest_remainder(UNITS, {name: Fraction(tokens, total) for name, tokens in tokens_of.items()})
    return {name: Fraction(units, UNITS) for name, units in dealt.items()}
