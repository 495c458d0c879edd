"""The space of mixtures that have shares per phase.

Each phase is a space of its own (`space.py`), and a mixture is their shares side by side. Caps hold over the whole run:
the shares of a source, each times the length of its phase, sum to its cap at most. A mixture above a cap is moved in a
straight line to a mixture inside all caps (`inner`) as far as needed, so the result is in the space exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.space import UNITS, Space, UnitArray, round_units
from mixproof.mixtures.values.quantities import percent_string

from .run_phases import SEPARATOR, RunPhases

Value = TypeVar("Value")
TOLERANCE = 1e-6
"""Units by which floats may exceed a cap that is met exactly."""


@dataclass(frozen=True)
class PhasedSpace(Space):
    """All mixtures of phases that are considered; `sources` are the columns of all phases."""

    parts: tuple[Space, ...] = field(kw_only=True)
    """The space of each phase, over the same sources."""
    phases: RunPhases = field(kw_only=True)
    """Their names and lengths, in the order of `parts`."""
    caps: tuple[Fraction, ...] = field(kw_only=True)
    """By source, its largest share of the whole run."""
    inner: tuple[float, ...] = field(kw_only=True)
    """Units of a mixture that is one unit or more below every cap, or at 0."""

    @property
    def lengths(self) -> tuple[float, ...]:
        """Share of the run's tokens in each phase."""
        return tuple(float(length) for length in self.phases.lengths)

    def by_phase(self, values: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
        """Values by column as values by phase and source."""
        found: dict[str, dict[str, Value]] = {name: {} for name in self.phases.names}
        for column, value in values.items():
            phase, _, source = column.partition(SEPARATOR)
            found[phase][source] = value
        return found

    def whole_run(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Shares of the whole run by source, from shares by column."""
        found: dict[str, float] = {}
        for length, own in zip(self.lengths, self.by_phase(shares).values(), strict=True):
            found |= {source: found.get(source, 0.0) + length * share for source, share in own.items()}
        return found

    def weights(self, power: Fraction) -> FloatArray:
        """The centers' shares [columns] to a power; those of each phase sum to one over the number of phases."""
        return np.concatenate([part.weights(power) for part in self.parts]) / len(self.parts)

    @property
    def prior(self) -> tuple[FloatArray, FloatArray]:
        """The centers' shares [columns], and the length of each column's phase."""
        return self.weights(Fraction(1)) * len(self.parts), np.repeat(self.lengths, len(self.caps))

    @property
    def bounds_of_sums(self) -> list[tuple[FloatArray, float, float]]:
        """Sums of shares with their limits: each phase is whole, and no source exceeds its cap."""
        number, eye = len(self.parts), np.eye(len(self.caps))
        whole = np.kron(np.eye(number), np.ones((1, len(self.caps))))
        rows = [(row, 1.0, 1.0) for row in whole]
        used = np.hstack([length * eye for length in self.lengths])
        return rows + [(row, -np.inf, float(cap)) for row, cap in zip(used, self.caps, strict=True)]

    def project(self, weights: FloatArray) -> UnitArray:
        """Project weights [mixtures, columns], not negative, into the space: units [mixtures, columns]."""
        pieces = np.split(weights, len(self.parts), axis=1)
        units = np.hstack([part.project(own) for part, own in zip(self.parts, pieces, strict=True)])
        over = np.flatnonzero(~self._within(units))
        if len(over):
            units[over] = [self._round(row) for row in self._moved(units[over].astype(np.float64))]
        return units

    def holds(self, units: Sequence[int]) -> bool:
        """Whether every phase of a mixture is whole and within its limits, and no source exceeds its cap."""
        pieces = np.split(np.asarray(units), len(self.parts))
        limits = np.split(np.asarray(self.most_units), len(self.parts))
        whole = all(sum(own) == UNITS and (own <= most).all() for own, most in zip(pieces, limits, strict=True))
        return whole and bool(self._within(np.asarray(units)[None])[0])

    def _within(self, units: UnitArray) -> NDArray[np.bool_]:
        """Which mixtures [mixtures] exceed no cap."""
        return np.asarray((self._used(units) <= self._capped + TOLERANCE).all(axis=1))

    def _used(self, units: UnitArray | FloatArray) -> FloatArray:
        """Units of each source over the run [mixtures, sources]."""
        by_phase = np.asarray(units, np.float64).reshape(-1, len(self.parts), len(self.caps))
        return np.asarray(np.einsum("mps,p->ms", by_phase, self.lengths), np.float64)

    @property
    def _capped(self) -> FloatArray:
        """The caps in units [sources]."""
        return np.array([float(cap * UNITS) for cap in self.caps])

    def _moved(self, units: FloatArray) -> FloatArray:
        """Mixtures [mixtures, columns] moved towards `inner` until rounding up by one unit exceeds no cap."""
        inner, limits = np.array(self.inner), np.maximum(self._capped - 1, 0.0)
        at, used = self._used(inner[None]), self._used(units)
        beyond = used > limits
        reach = np.where(beyond, (limits - at) / np.where(beyond, used - at, 1.0), 1.0).min(axis=1, keepdims=True)
        return np.asarray(inner + np.clip(reach, 0.0, 1.0) * (units - inner), np.float64)

    def _round(self, filled: FloatArray) -> list[int]:
        """Round every phase to whole units."""
        pieces = np.split(filled, len(self.parts))
        return [
            units for part, own in zip(self.parts, pieces, strict=True) for units in round_units(own, part.most_units)
        ]


def phased_space(
    phases: RunPhases, sources: Sequence[str], parts: Sequence[Space], caps: Mapping[str, Fraction]
) -> PhasedSpace:
    """Join the spaces of phases under caps over the whole run.

    Args:
        phases: of the run.
        sources: their order is that of every part.
        parts: the space of each phase.
        caps: largest share of the whole run, by source.

    Raises:
        SpecError: when no mixture is within the caps.
    """
    limits = tuple(caps[name] for name in sources)
    inner = _inner(parts, phases.lengths, limits)
    if inner is None:
        listed = ", ".join(f"{name} {percent_string(caps[name])}" for name in sources)
        raise SpecError(f"no mixture of phases stays within the caps of the whole run: at most {listed}; raise --cap")
    return PhasedSpace(
        sources=phases.columns(sources),
        center=tuple(share for part in parts for share in part.center),
        most_units=tuple(units for part in parts for units in part.most_units),
        least_units=tuple(units for part in parts for units in part.least_units),
        parts=tuple(parts),
        phases=phases,
        caps=limits,
        inner=tuple(inner.tolist()),
    )


def _inner(parts: Sequence[Space], lengths: Sequence[Fraction], caps: Sequence[Fraction]) -> FloatArray | None:
    """Units [columns] nearest to the centers, by absolute differences, a unit below every cap; None if there are none.

    A linear program over the units and how far each is from its center.
    """
    most = np.array([units for part in parts for units in part.most_units], np.float64)
    center = np.concatenate([part.weights(Fraction(1)) for part in parts]) * UNITS
    columns, eye = len(most), np.eye(len(most))
    used = np.hstack([float(length) * np.eye(len(caps)) for length in lengths])
    limits = np.maximum(np.array([float(cap * UNITS) for cap in caps]) - 1, 0.0)
    found = linprog(
        np.concatenate([np.zeros(columns), np.ones(columns)]),
        A_ub=np.vstack(
            [np.hstack([used, np.zeros_like(used)]), np.hstack([eye, -eye]), np.hstack([-eye, -eye])],
        ),
        b_ub=np.concatenate([limits, center, -center]),
        A_eq=np.hstack([np.kron(np.eye(len(parts)), np.ones((1, len(caps)))), np.zeros((len(parts), columns))]),
        b_eq=np.full(len(parts), float(UNITS)),
        bounds=[*((0.0, units) for units in most), *((0.0, None) for _ in most)],
    )
    return None if found.x is None else np.clip(np.asarray(found.x[:columns], np.float64), 0.0, most)
