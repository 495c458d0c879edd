"""Candidates: inside the space, different from each other and from what was run, and the same every time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from mixproof.mixtures.search.candidates import draw, draw_near, explore, generator, select, select_farthest, units_of
from mixproof.mixtures.search.space import Space, distances, shares_of

CENTER = {"web": Fraction(80, 100), "code": Fraction(19, 100), "wiki": Fraction(1, 100)}
SPACE = Space.of(CENTER, {"web": Fraction(1), "code": Fraction(1), "wiki": Fraction(1, 4)})


def test_draws_lie_in_the_space_and_sum_exactly() -> None:
    assert all(SPACE.holds(tuple(units)) for units in draw(SPACE, 500, generator("test")).tolist())


def test_draws_center_on_the_proportional_shares_and_try_small_sources_too() -> None:
    shares = shares_of(draw(SPACE, 4000, generator("test")))
    assert np.all(np.diff(shares.mean(axis=0)) < 0)
    assert 0.2 < np.mean(shares[:, 2] > 0) < 0.9  # of 1%, and yet in many a candidate
    assert 0.02 < np.mean(shares[:, 1] == 0) < 0.5  # sparse ones leave out a large one too


def test_the_same_names_draw_the_same_and_others_do_not() -> None:
    first, again, other = (draw(SPACE, 50, generator("search", number)) for number in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_higher_concentrations_draw_nearer() -> None:
    at = np.repeat([[0.5, 0.4, 0.1]], 300, axis=0)
    far, near = (
        distances(draw_near(SPACE, at, size, generator("near")), np.array([[5000, 4000, 1000]])).mean()
        for size in (30.0, 3000.0)
    )
    assert near < 0.03 < far


def test_near_copies_of_what_was_run_or_taken_are_passed_over() -> None:
    pool = np.array([[6000, 4000], [6100, 3900], [6200, 3800], [9000, 1000], [5000, 5000]])
    run = np.array([[8900, 1100]])
    assert select(pool, run, 3, 0.02).tolist() == [[6000, 4000], [6200, 3800], [5000, 5000]]
    assert select(pool, run, 2, 0.02).tolist() == [[6000, 4000], [6200, 3800]]


def test_exploration_takes_the_farthest_first() -> None:
    pool = np.array([[6000, 4000], [10_000, 0], [0, 10_000], [5100, 4900]])
    found = select_farthest(pool, np.array([[10_000, 0]]), 3, 0.02)
    assert found.tolist() == [[0, 10_000], [5100, 4900], [6000, 4000]]  # 1.0, then .49, then .09


def test_a_round_holds_no_near_copies_and_is_smaller_where_the_space_is_too_small() -> None:
    run = [SPACE.anchor]
    found = explore(SPACE, 20, run, generator("round"))
    apart = distances(found, np.vstack([found, units_of(SPACE, run)])) + np.eye(20, 21)
    assert len(found) == 20 and apart.min() >= 0.02
    narrow = Space.of({"a": Fraction(1, 2), "b": Fraction(1, 2)}, {"a": Fraction(51, 100), "b": Fraction(51, 100)})
    assert len(explore(narrow, 20, [], generator("round"))) == 2


def test_nothing_run_is_an_empty_array_of_the_right_width() -> None:
    assert units_of(SPACE, []).shape == (0, 3)
