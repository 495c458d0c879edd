"""The space of a table's mixtures: what was run, per phase and over the whole run, and within caps."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.candidates import draw, draw_near, generator
from mixproof.mixtures.search.optimum import find_optimum
from mixproof.mixtures.search.phases.phased_space import PhasedSpace
from mixproof.mixtures.search.phases.run_phases import read_phases
from mixproof.mixtures.search.phases.spanned import read_caps, spanned_space, whole_run, within_caps
from mixproof.mixtures.search.predictors.linear import Linear
from mixproof.mixtures.search.prior import WithPrior
from mixproof.mixtures.search.space import UNITS, Space, shares_of

PHASES = read_phases("stable=80%,decay=100%")
SOURCES = ("a", "b", "c")
RUN = np.hstack([np.random.default_rng(seed).dirichlet([1, 1, 1], 30) for seed in (0, 1)])
"""Shares of a, b and c in the stable phase and in the decay."""


def phased(caps: dict[str, Fraction], run: np.ndarray[tuple[int, int], np.dtype[np.float64]] = RUN) -> PhasedSpace:
    space = spanned_space(SOURCES, run, PHASES, caps)
    assert isinstance(space, PhasedSpace)
    return space


def test_without_phases_no_share_exceeds_the_largest_that_was_run_nor_its_cap() -> None:
    run = np.array([[0.25, 0.75], [0.75, 0.25], [0.5, 0.5]])
    space = spanned_space(("a", "b"), run, None, {})
    assert type(space) is Space
    assert space.center == (Fraction(1, 2), Fraction(1, 2)) and space.most_units == (7500, 7500)
    assert spanned_space(("a", "b"), run, None, {"a": Fraction(1, 3)}).most_units == (3333, 7500)
    with pytest.raises(SpecError, match="--cap: no mixture is within the caps .* at most a 20%, b 75%, 95% together"):
        spanned_space(("a", "b"), run, None, {"a": Fraction(1, 5)})


def test_every_drawn_mixture_is_whole_in_each_phase_and_within_the_caps_of_the_whole_run() -> None:
    space = phased({"a": Fraction(1, 10), "c": Fraction(1, 2)})
    random = generator("test")
    drawn = np.vstack([draw(space, 200, random), draw_near(space, RUN[:20], 30.0, random)])
    assert all(space.holds(row) for row in drawn.tolist())
    assert (drawn[:, :3].sum(axis=1) == UNITS).all() and (drawn[:, 3:].sum(axis=1) == UNITS).all()
    used = 8 * drawn[:, :3] + 2 * drawn[:, 3:]  # tenths of units of the run
    assert used[:, 0].max() <= UNITS and used[:, 2].max() <= 5 * UNITS
    assert used[:, 0].max() > 0.99 * UNITS  # the cap can be used up
    assert not space.holds([1300, 8700, 0, 0, 10000, 0])  # 10.4% of a


def test_the_optimum_of_phases_uses_a_cap_where_it_is_worth_most() -> None:
    # a is worth twice as much per token in the decay; b is worth nothing, c costs
    predictor = Linear(0.0, np.array([-0.8, 0, 1, -0.4, 0, 1]))
    run = np.vstack([RUN, np.eye(3)[[0, 1, 2, 0, 1, 2]].reshape(3, 6)[:, [0, 1, 2, 3, 4, 5]], [1, 0, 0, 1, 0, 0]])
    space = phased({"a": Fraction(1, 4)}, run)
    shares = shares_of([find_optimum(predictor, space, np.zeros((0, 6), np.int64), "test")])[0]
    assert shares == pytest.approx([0.0625, 0.9375, 0, 1, 0, 0], abs=2e-3)  # .8 x .0625 + .2 x 1 = .25
    assert whole_run(shares[None], PHASES.lengths)[0, 0] <= 0.25


def test_a_phase_that_is_the_same_in_all_mixtures_stays_as_it_is() -> None:
    trunk = np.tile([0.3333, 0.3333, 0.3334], (30, 1))
    space = phased({}, np.hstack([trunk, RUN[:, 3:]]))
    drawn = draw(space, 50, generator("test"))
    assert (drawn[:, :3] == [3333, 3333, 3334]).all()
    assert len(np.unique(drawn[:, 3:], axis=0)) > 40


def test_caps_that_no_mixture_of_phases_can_keep_are_refused() -> None:
    with pytest.raises(SpecError, match="no mixture of phases stays within the caps of the whole run"):
        phased(dict.fromkeys(SOURCES, Fraction(33, 100)))
    with pytest.raises(SpecError, match="--cap a=1%, b=1%, c=1%: no mixture that was run is within these caps"):
        within_caps(SOURCES, RUN, PHASES, dict.fromkeys(SOURCES, Fraction(1, 100)))


def test_the_prior_of_phases_counts_the_divergence_of_each_by_its_length() -> None:
    space = phased({})
    center, counts = space.prior
    assert center[:3].sum() == pytest.approx(1) and center[3:].sum() == pytest.approx(1)
    shares = np.array([[1.0, 0, 0, *center[3:]], [*center[:3], 1, 0, 0]])
    found = WithPrior(Linear(0.0, np.zeros(6)), center, 2.0, counts).predict(shares)
    assert found == pytest.approx([2 * 0.8 * -np.log(center[0]), 2 * 0.2 * -np.log(center[3])])


def test_caps_are_shares_of_sources() -> None:
    assert read_caps(["a=20%", "b=0.5"], SOURCES) == {"a": Fraction(1, 5), "b": Fraction(1, 2)}
    for text, message in (("d=1%", "--cap d=1%: write SOURCE=SHARE"), ("a=200%", "between 0 and 1"), ("a", "a=20%")):
        with pytest.raises(SpecError, match=message):
            read_caps([text], SOURCES)
    with pytest.raises(SpecError, match="a has a cap already"):
        read_caps(["a=1%", "a=2%"], SOURCES)
