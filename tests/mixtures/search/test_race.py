"""Which mixtures a race stops; numbers computed by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mixproof.mixtures.search.race import stopped_at

SCORES = {"best": (1.0, 1.02, 0.98), "near": (1.01, 1.04, 1.0), "far": (2.0, 2.05, 1.97), "farther": (3.0, 2.98, 3.04)}


def test_mixtures_of_the_worse_half_that_are_surely_worse_stop() -> None:
    found = stopped_at(SCORES, rung=1, rungs=3, mixtures=4)
    assert sorted(found) == ["far", "farther"]
    stop = found["far"]
    assert (stop.rung, stop.best) == (1, "best") and stop.difference == pytest.approx(2.00667 - 1.0, rel=1e-4)
    # differences 1, 1.03 and .99 of the pair, whose noise is not that of the others: half their variance is .00021667;
    # t(1 - .05 / 3 rungs / 3 others; 2) = 9.4076 times sqrt(2/3 of it)
    assert stop.needed == pytest.approx(9.4076 * (2 / 3 * 0.00021667) ** 0.5, rel=1e-3)


def test_at_most_half_of_the_mixtures_stop_at_a_rung() -> None:
    assert sorted(stopped_at({name: SCORES[name] for name in ("best", "far", "farther")}, 1, 3, 4)) == ["farther"]
    assert stopped_at({"best": SCORES["best"]}, 2, 3, 4) == {}


def test_a_mixture_that_could_be_the_best_goes_on() -> None:
    noisy = {"one": (1.0, 1.4, 0.6), "two": (1.3, 0.9, 1.2), "three": (1.2, 1.5, 0.8), "four": (1.4, 1.3, 0.9)}
    assert stopped_at(noisy, 1, 1, 4) == {}
    assert stopped_at({"a": (1.0, 1.1), "b": (1.3, 1.4)}, 1, 1, 2, Fraction(999, 1000)) == {}


def test_equal_mixtures_are_stopped_as_rarely_as_declared_over_all_rungs_together() -> None:
    random = np.random.default_rng(3)
    races, wrong = 400, 0
    for _ in range(races):
        for rung in (1, 2, 3):
            scores = {f"{n}": tuple(row) for n, row in enumerate(random.normal(size=(4, 3)).tolist())}
            if "0" in stopped_at(scores, rung, rungs=3, mixtures=4, confidence=Fraction(80, 100)):
                wrong += 1
                break
    assert wrong / races < 0.2
