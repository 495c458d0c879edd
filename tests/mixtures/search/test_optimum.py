"""The optimum: where it was planted, inside caps and floor."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.mixtures.search.candidates import units_of
from mixproof.mixtures.search.optimum import find_optimum
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.space import UNITS, Space, shares_of

THIRD = {"a": Fraction(4, 10), "b": Fraction(3, 10), "c": Fraction(3, 10)}
FREE = dict.fromkeys(THIRD, Fraction(1))


@dataclass(frozen=True)
class Logarithms:
    """-sum of gains times log share: lowest where the shares are as the gains."""

    gains: tuple[float, ...]

    def predict(self, shares: FloatArray) -> FloatArray:
        """Say it exactly."""
        return np.asarray(-np.log(shares + 1e-9) @ np.array(self.gains), dtype=np.float64)

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Logarithms:
        """Stay as it is."""
        return self


@dataclass(frozen=True)
class Steps:
    """As trees: no slope anywhere; lowest where the first source has 33% to 35% and the second at most 40%."""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Say it exactly."""
        best = (shares[:, 0] >= 0.33) & (shares[:, 0] < 0.35) & (shares[:, 1] < 0.4)
        return np.asarray(np.where(best, 0.0, 1.0 + np.floor(5 * np.abs(shares[:, 0] - 0.34))), dtype=np.float64)

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Steps:
        """Stay as it is."""
        return self


@dataclass(frozen=True)
class Needle:
    """Lowest at one mixture, and alike everywhere else."""

    def predict(self, shares: FloatArray) -> FloatArray:
        """Say it exactly."""
        return np.asarray(1.0 - (np.abs(shares - [0.1234, 0.8766, 0.0]).max(axis=1) < 1e-9), dtype=np.float64)

    def refit(self, shares: FloatArray, scores: FloatArray, weights: FloatArray | None = None) -> Needle:
        """Stay as it is."""
        return self


def nothing_run(space: Space) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return units_of(space, [])


def test_a_smooth_optimum_is_found_to_a_unit() -> None:
    space = Space.of(THIRD, FREE)
    found = find_optimum(Logarithms((0.6, 0.3, 0.1)), space, nothing_run(space))
    assert found == pytest.approx((6000, 3000, 1000), abs=3)


def test_a_cap_moves_the_optimum_to_the_best_that_it_allows() -> None:
    space = Space.of(THIRD, FREE | {"a": Fraction(1, 2)})
    found = find_optimum(Logarithms((0.6, 0.3, 0.1)), space, nothing_run(space))
    assert found == pytest.approx((5000, 3750, 1250), abs=3)  # the rest as 3 to 1
    assert found[0] <= 5000


def test_an_optimum_of_steps_is_found_too() -> None:
    space = Space.of(THIRD, FREE)
    found = shares_of([find_optimum(Steps(), space, nothing_run(space))])
    assert Steps().predict(found)[0] == 0.0


def test_a_mixture_that_was_run_is_looked_at() -> None:
    space = Space.of(THIRD, FREE)
    assert find_optimum(Needle(), space, np.array([[1234, 8766, 0]])) == (1234, 8766, 0)


@settings(max_examples=10)
@given(
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.lists(st.fractions(Fraction(1, 3), 1), min_size=3, max_size=3),
)
def test_every_optimum_is_exact_and_within_the_caps(gains: list[float], caps: list[Fraction]) -> None:
    caps[0] = Fraction(1)
    space = Space.of(THIRD, dict(zip(THIRD, caps, strict=True)))
    found = find_optimum(Logarithms(tuple(gains)), space, nothing_run(space))
    assert space.holds(found)
    assert all(Fraction(units, UNITS) <= cap for units, cap in zip(found, caps, strict=True))
