"""Where the search may look: whole units of share, within the target's supply and caps, exactly.

A share is a whole number of units, 10,000 to the whole, so that a candidate is exact, sums to 1 and has a short
spelling (`12.34%`). A source has no unit, or at least `least_units` and at most what its supply and cap allow.
`project` takes any weights to the nearest such mixture in proportion: sources far below the floor go out, the others
keep their proportions between floor and cap (one common factor, found by bisection), and what is left over by rounding
goes to the largest remainders that have room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.arithmetic.rounding import ceil, largest_remainder
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.quantities import percent_string

from .predictor import FloatArray

UNITS = 10_000
LEAST_SHARE = Fraction(1, 200)
"""A source is left out, or has at least half a percent: less teaches a small proxy nothing that it could show."""
BISECTIONS = 100

UnitArray = NDArray[np.int64]


@dataclass(frozen=True)
class Space:
    """All mixtures that may be run."""

    sources: tuple[str, ...]
    center: tuple[Fraction, ...]
    """Shares that candidates are drawn around; they sum to 1."""
    most_units: tuple[int, ...]
    """By source, what supply and cap allow; 0 where that is below the floor."""
    least_units: int
    """Of a source that takes part."""

    @classmethod
    def of(cls, center: Mapping[str, Fraction], most: Mapping[str, Fraction], least: Fraction = LEAST_SHARE) -> Space:
        """Build the space of these sources.

        Args:
            center: share of each source, around which candidates are drawn; sums to 1. Its order is the space's.
            most: largest share of each source that its supply and cap allow; above 1 means no limit.
            least: smallest positive share.

        Raises:
            SpecError: when all sources together cannot fill a mixture.
        """
        sources = tuple(center)
        least_units = max(1, ceil(least * UNITS))
        room = [min(UNITS, int(most[name] * UNITS)) for name in sources]
        most_units = tuple(units if units >= least_units else 0 for units in room)
        if sum(most_units) < UNITS:
            limits = ", ".join(f"{name} {percent_string(most[name])}" for name in sources)
            raise SpecError(
                f"no mixture stays within supply and caps: at most {limits}, which is "
                f"{percent_string(Fraction(sum(most_units), UNITS))} together; "
                "ask for fewer target tokens, raise `target.max_epochs`, or add text"
            )
        return cls(sources, tuple(center[name] for name in sources), most_units, least_units)

    @property
    def anchor(self) -> tuple[int, ...]:
        """The center's mixture, as near to it as the caps allow."""
        return tuple(int(units) for units in self.project(self.weights(Fraction(1))[None])[0])

    def weights(self, power: Fraction) -> FloatArray:
        """Return the center's shares [sources] to a power, summing to 1; 0 where a source has no room."""
        weights = np.array([float(share) ** float(power) if share > 0 else 0.0 for share in self.center])
        weights *= np.array(self.most_units) > 0
        if weights.sum() == 0:
            weights = np.array(self.most_units, dtype=np.float64)
        return np.asarray(weights / weights.sum(), dtype=np.float64)

    def project(self, weights: FloatArray) -> UnitArray:
        """Bring weights [mixtures, sources], none negative, into the space: units [mixtures, sources]."""
        most = np.array(self.most_units, dtype=np.float64)
        asked = np.where(most > 0, np.maximum(weights, 0.0), 0.0)
        asked = asked / np.maximum(asked.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        taken = self._take(asked)
        asked = np.where(taken, np.maximum(asked, 1e-9), 0.0)
        least = np.where(taken, float(self.least_units), 0.0)
        filled = _fill(asked, least, np.where(taken, most, 0.0))
        return np.array([_round(row, self.most_units) for row in filled], dtype=np.int64)

    def holds(self, units: Sequence[int]) -> bool:
        """Whether a mixture lies in the space."""
        pairs = list(zip(units, self.most_units, strict=True))
        return sum(units) == UNITS and all(n == 0 or self.least_units <= n <= most for n, most in pairs)

    def _take(self, asked: FloatArray) -> NDArray[np.bool_]:
        """Which sources take part: those nearer to the floor than to nothing, and enough room for a whole mixture."""
        most, room_needed = np.array(self.most_units), UNITS
        taken = asked * UNITS >= self.least_units / 2
        order = np.argsort(-(asked + 1e-6 * self.weights(Fraction(1))), axis=1, kind="stable")
        for row in range(len(asked)):
            places = [int(place) for place in order[row] if most[place] > 0]
            chosen = [place for place in places if taken[row, place]][: room_needed // self.least_units]
            room = int(sum(most[place] for place in chosen))
            for place in places:
                if room >= room_needed:
                    break
                if place not in chosen:
                    chosen.append(place)
                    room += int(most[place])
            taken[row] = False
            taken[row, chosen] = True
        return taken


def shares_of(units: UnitArray | Sequence[Sequence[int]]) -> FloatArray:
    """Return the shares [mixtures, sources] of units, as numbers that predictors take."""
    return np.asarray(units, dtype=np.float64) / UNITS


def exact_shares(sources: Sequence[str], units: Sequence[int]) -> dict[str, Fraction]:
    """Return the positive shares of one mixture, exactly."""
    return {name: Fraction(int(count), UNITS) for name, count in zip(sources, units, strict=True) if count}


def distances(units: UnitArray, others: UnitArray) -> FloatArray:
    """Share that would have to move [mixtures, others] to make one mixture of another: half the summed differences."""
    return np.asarray(np.abs(units[:, None, :] - others[None, :, :]).sum(axis=2) / (2 * UNITS), dtype=np.float64)


def _fill(asked: FloatArray, least: FloatArray, most: FloatArray) -> FloatArray:
    """Scale each row by one factor so that, held between least and most, it sums to UNITS."""
    low, high = np.zeros((len(asked), 1)), np.full((len(asked), 1), 1e15)
    for _ in range(BISECTIONS):
        middle = np.sqrt(np.maximum(low, 1e-3) * high)
        short = np.clip(asked * middle, least, most).sum(axis=1, keepdims=True) < UNITS
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.asarray(np.clip(asked * high, least, most), dtype=np.float64)


def _round(filled: FloatArray, most: Sequence[int]) -> list[int]:
    """Round to whole units that sum to UNITS, none above its most."""
    units = [int(amount) for amount in filled]
    left = UNITS - sum(units)
    by_remainder = sorted(range(len(units)), key=lambda place: (units[place] - filled[place], place))
    while left:
        moved = 0
        for place in by_remainder:
            if left and filled[place] > 0 and units[place] < most[place]:
                units[place] += 1
                left -= 1
                moved += 1
        assert moved, "the sources that take part have room for a whole mixture"
    return units


def rounded_center(tokens_of: Mapping[str, int]) -> dict[str, Fraction]:
    """Proportional shares, rounded to units."""
    total = sum(tokens_of.values())
    dealt = largest_remainder(UNITS, {name: Fraction(tokens, total) for name, tokens in tokens_of.items()})
    return {name: Fraction(units, UNITS) for name, units in dealt.items()}
