"""Which mixtures a race stops; numbers computed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from mixproof.mixtures.search.race.moderated_noise import RungNoise, moderated
from mixproof.mixtures.search.race.stops import RUNGS, Stop, best_p_values, stopped_at

SCORES = {"best": (1.0, 1.02, 0.98), "near": (1.01, 1.04, 1.0), "far": (2.0, 2.05, 1.97), "farther": (3.0, 2.98, 3.04)}


def stops(
    scores: Mapping[str, Sequence[float]], rung: int, confidence: Fraction = Fraction(95, 100)
) -> dict[str, Stop]:
    return stopped_at(scores, rung, RUNGS, confidence)[0]


def test_mixtures_of_the_worse_half_that_are_surely_worse_stop() -> None:
    found = stops(SCORES, 3)
    assert sorted(found) == ["far", "farther"]
    stop = found["far"]
    assert (stop.rung, stop.best) == (3, "best") and stop.difference == pytest.approx(2.00667 - 1.0, rel=1e-4)
    assert 0 <= found["farther"].p_value <= stop.p_value < 0.025


def test_at_most_half_of_the_mixtures_stop_at_a_rung() -> None:
    assert sorted(stops({name: SCORES[name] for name in ("best", "far", "farther")}, 3)) == ["farther"]
    assert stops({"best": SCORES["best"]}, 2) == {}


def test_a_mixture_that_could_be_the_best_goes_on() -> None:
    noisy = {"one": (1.0, 1.4, 0.6), "two": (1.3, 0.9, 1.2), "three": (1.2, 1.5, 0.8), "four": (1.4, 1.3, 0.9)}
    assert stops(noisy, 3) == {}
    assert stops({"a": (1.0, 1.1), "b": (1.3, 1.3)}, 3, Fraction(999, 1000)) == {}


def test_early_rungs_spend_less_of_the_error_and_expect_scores_to_change_more() -> None:
    # errors of .0125, .0125 and .025 at the rungs of 10%, 20% and 40%; to come: .37, .23 and .11 spreads
    random = np.random.default_rng(2)
    close = {f"{number}": (0.02 * number + 0.07 * random.normal(size=40)).tolist() for number in range(6)}
    found = [stops(close, rung) for rung in (1, 2, 3)]
    assert len(found[0]) < len(found[2])
    assert found[0]["4"].p_value > found[1]["4"].p_value


def test_the_p_value_of_two_is_that_of_a_t_test_and_of_many_that_of_the_largest_of_their_differences() -> None:
    found = best_p_values(np.array([0.0, 0.5]), np.array([0.09, 0.16]), 0.0, 1e9)
    assert found == pytest.approx([0.5, stats.norm.sf(1)], abs=3e-3)
    # the largest of 4 differences from the fifth has its 95% point at 2.160 standard deviations (Dunnett's table)
    five = best_p_values(np.array([0.0, 0.0, 0.0, 0.0, 2.160 * 2**0.5]), np.ones(5), 0.0, 1e9)
    assert five[4] == pytest.approx(0.05, abs=2e-3)


def test_what_is_assumed_about_later_tokens_is_no_estimate_and_has_no_wider_tails() -> None:
    # Welch and Satterthwaite: a variance of .01 with 2 degrees of freedom and .99 that is known have 20,000 together
    found = best_p_values(np.array([0.0, 3.0]), np.full(2, 0.01), 0.99, 2)
    assert found[1] == pytest.approx(stats.norm.sf(3 / 2**0.5), abs=1e-3)
    estimated = best_p_values(np.array([0.0, 3.0]), np.ones(2), 0.0, 2)
    assert estimated[1] > 2 * found[1]


def test_alike_variances_are_pooled_without_what_a_seed_gives_to_all() -> None:
    random = np.random.default_rng(0)
    own, shift = 0.1 * random.normal(size=(200, 3)), 5 * random.normal(size=3)
    noise = moderated(own + shift)
    assert noise.variances == pytest.approx(0.01, rel=0.15) and noise.degrees > 50
    # two mixtures: half the variance of the differences -1, 0 and 1
    pair = moderated(np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]))
    assert pair.variances.tolist() == pytest.approx([0.5, 0.5]) and pair.degrees == 2
    # with 4 degrees of freedom from the rung before: (2 x .5 + 4 x .2) / 6
    later = moderated(np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), RungNoise(0.2, 14))
    assert later.variances.tolist() == pytest.approx([0.3, 0.3]) and later.degrees == 6


def test_a_noisy_mixture_keeps_a_larger_variance_and_no_noise_is_no_error() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(8, 4)) * np.array([[2.0], *[[0.1]] * 7])
    noise = moderated(scores)
    assert noise.variances[0] > 30 * noise.variances[1:].max() and noise.degrees < 8
    assert (moderated(np.ones((3, 2))).variances > 0).all()
    assert set(stops({"a": (1.0, 1.0, 1.0), "b": (2.0, 2.0, 2.0)}, 3)) == {"b"}
    assert stops({"a": (1.0, 1.0, 1.0), "b": (1.0, 1.0, 1.0)}, 3) == {}


@pytest.mark.parametrize("mixtures", [2, 5])
def test_equal_mixtures_are_stopped_as_rarely_as_declared_over_all_rungs_together(mixtures: int) -> None:
    random = np.random.default_rng(3)
    races, wrong = 80, 0
    for _ in range(races):
        left, noise = [f"{number}" for number in range(mixtures)], None
        for rung in (1, 2, 3):
            scores = {name: tuple(random.normal(size=3).tolist()) for name in left}
            stopped, noise = stopped_at(scores, rung, RUNGS, Fraction(80, 100), noise)
            left = [name for name in left if name not in stopped]
        wrong += "0" not in left
    assert wrong / races <= 0.2 + 2 * (0.2 * 0.8 / races) ** 0.5
