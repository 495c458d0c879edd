"""The final choice: what is estimated for a finalist, and which one is recommended. Numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mixproof.mixtures.search.choice.calibration import Calibration
from mixproof.mixtures.search.choice.confirmation import Confirmation, gain_over_anchor, rank, traded_away
from mixproof.mixtures.search.choice.estimate import Estimate, of_measured, of_optimum
from mixproof.mixtures.search.choice.final_choice import recommend
from mixproof.mixtures.search.choice.finalists import Finalist, Study, nominate
from mixproof.mixtures.search.choice.region import Bootstrap, optimum_ranges, region_of

KNOWN = Calibration(residual=0.5, bias=0.1, optimism=0.2, disagreement=1.2, noise=0.3, degrees_of_freedom=10**8)
UNKNOWN = Calibration(residual=0.5, bias=0.1, optimism=0.2, disagreement=1.2, noise=None, degrees_of_freedom=0)


def test_with_known_noise_a_measurement_is_shrunk_towards_its_prediction() -> None:
    # the predictor's variance is .25 - .09 = .16, so a run weighs .16 / (.16 + .09) = .64
    found = of_measured(2.0, 1, 3.0, KNOWN)
    assert found.value == pytest.approx(0.64 * 2 + 0.36 * 3)
    # nine runs: .16 / (.16 + .01); their noise is that of this mixture: .16 x .01 / .17 = .0094118
    found = of_measured(2.0, 9, 3.0, KNOWN)
    assert found.value == pytest.approx((16 * 2 + 3) / 17)
    assert found.deviation**2 == pytest.approx(0.0094118, rel=1e-2)


def test_repeats_of_another_mixture_do_not_make_an_interval_narrower() -> None:
    # any fraction f of the residual may be noise: the mean of f (1 - f) .25 is .25 / 6, that of (f - .36)^2 is .102933
    found = of_measured(2.0, 1, 3.0, KNOWN)
    assert found.deviation**2 == pytest.approx(0.25 / 6 + 0.102933, rel=1e-3)
    quiet_anchor = Calibration(0.5, 0.0, 0.0, 0.0, noise=0.1, degrees_of_freedom=3)
    # a run weighs .96; the mean of (f - .04)^2 is 1/3 - .04 + .0016
    found = of_measured(2.0, 1, 3.0, quiet_anchor)
    assert found.value == pytest.approx(0.96 * 2 + 0.04 * 3)
    assert found.deviation**2 == pytest.approx(0.25 / 6 + 0.2949333, rel=1e-3)


def test_without_repeats_the_estimate_lies_between_score_and_prediction_and_covers_both_ends() -> None:
    found = of_measured(2.0, 1, 3.0, UNKNOWN)
    assert found.value == 2.5
    assert found.deviation == pytest.approx(np.hypot(0.5, 1.0) / 2)


def test_noise_that_explains_the_whole_residual_leaves_the_prediction() -> None:
    only_noise = Calibration(0.5, 0.0, 0.0, 0.0, noise=0.5, degrees_of_freedom=10**8)
    found = of_measured(2.0, 1, 3.0, only_noise)
    assert found.value == 3.0
    assert found.deviation**2 == pytest.approx(0.25 / 6 + 1 / 3, rel=1e-3)  # but the prediction is not exact


def test_a_study_without_errors_has_exact_estimates() -> None:
    exact = Calibration(0.0, 0.0, 0.0, 0.0, noise=0.0, degrees_of_freedom=3)
    assert of_measured(2.0, 1, 2.0, exact) == Estimate(2.0, 0.0)


def test_the_prediction_of_an_optimum_is_corrected_and_as_uncertain_as_residual_and_halves_say() -> None:
    found = of_optimum(1.0, KNOWN)
    assert found.value == pytest.approx(1.3)
    assert found.deviation == pytest.approx(1.3)  # hypot(0.5, 1.2)


def finalist(kind: str, value: float, deviation: float) -> Finalist:
    row = None if kind == "optimum" else 0
    return Finalist(kind, row, (1.0,), None, 1, value, Estimate(value, deviation))  # type: ignore[arg-type]


@pytest.mark.parametrize(("optimum", "chosen"), [(-0.83, 0), (-0.82, 1)])
def test_an_optimum_that_was_not_run_must_gain_more_than_the_margin(optimum: float, chosen: int) -> None:
    # 1.6449 hypot(.4, .3) = .8224
    found = (finalist("optimum", optimum, 0.4), finalist("measured", 0.0, 0.3), finalist("anchor", 0.5, 0.3))
    index, margin = recommend(found)
    assert index == chosen and margin == pytest.approx(0.8224, abs=1e-4)


def test_an_optimum_that_was_run_needs_no_margin() -> None:
    assert recommend((finalist("measured", 0.0, 0.3), finalist("anchor", 0.5, 0.3))) == (0, None)


STUDY = Study(
    shares=np.array([[0.5, 0.5], [0.2, 0.8], [0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]),
    scores=np.array([2.0, 1.0, 1.5, 2.2, 3.0]),
    predicted=np.array([2.1, 1.9, 1.2, 2.1, 2.9]),
)


def test_finalists_are_the_optimum_the_lowest_scores_and_the_anchor_whose_repeats_are_one() -> None:
    found = nominate(STUDY, 0, (np.array([0.3, 0.7]), 0.9), UNKNOWN, count=2)
    assert [(one.kind, one.row, one.measured, one.runs) for one in found] == [
        ("optimum", None, None, 0),
        ("measured", 1, 1.0, 1),
        ("measured", 2, 1.5, 1),
        ("anchor", 0, 2.1, 2),
    ]


def test_with_repeats_the_lowest_estimate_is_the_best_measured() -> None:
    # row 1: .64 x 1.0 + .36 x 1.9 = 1.324; row 2: .64 x 1.5 + .36 x 1.2 = 1.392; with more noise the order turns
    assert nominate(STUDY, 0, (np.array([0.3, 0.7]), 0.9), KNOWN, count=1)[1].row == 1
    noisy = Calibration(0.5, 0.1, 0.2, 1.2, noise=0.45, degrees_of_freedom=10**8)
    assert nominate(STUDY, 0, (np.array([0.3, 0.7]), 0.9), noisy, count=1)[1].row == 2


def test_an_optimum_that_was_run_enters_as_a_measured_mixture() -> None:
    found = nominate(STUDY, 0, (np.array([0.1, 0.9]), 0.9), UNKNOWN, count=1)
    assert [(one.kind, one.row) for one in found] == [("measured", 1), ("measured", 4), ("anchor", 0)]


def test_a_study_whose_anchor_failed_has_no_anchor_among_its_finalists() -> None:
    assert {one.kind for one in nominate(STUDY, None, (np.array([0.3, 0.7]), 0.9), UNKNOWN)} == {"optimum", "measured"}


def test_the_region_spans_mixtures_that_one_in_twenty_predictors_rank_no_worse() -> None:
    shares = np.array([[0.5, 0.5], [0.7, 0.3], [0.9, 0.1]])
    predictions = np.tile([1.0, 1.5, 2.0], (20, 1))
    predictions[0, 1] = 0.9
    lowest, highest = region_of(Bootstrap(shares, predictions), 0)
    # the first two mixtures: 5th and 95th percentile of .5 and .7
    assert lowest == pytest.approx([0.5, 0.31]) and highest == pytest.approx([0.69, 0.5])
    lowest, highest = optimum_ranges(Bootstrap(shares, predictions))
    assert (lowest[0], highest[0]) == pytest.approx((0.5, 0.51))


def confirmed(kind: str, *scores: float) -> Confirmation:
    return Confirmation(finalist(kind, 0.0, 1.0), (10_000,), scores, tuple(range(len(scores))))


def test_the_gain_over_the_anchor_is_widened_for_every_finalist_that_could_have_been_the_best() -> None:
    found = [confirmed("optimum", 2.0, 4.0), confirmed("anchor", 5.0, 7.0), confirmed("measured", 1.0, 3.0)]
    assert [one.mean for one in rank(found)] == [2.0, 3.0, 6.0]
    gain = gain_over_anchor(found)
    assert gain is not None and gain.mean == pytest.approx(4)
    # pooled variance 2 with 3 degrees of freedom; deviation sqrt(2 (1/2 + 1/2)); t(1 - .05 / 4; 3) = 4.1765
    assert gain.high - gain.mean == pytest.approx(4.1765 * 2**0.5, rel=1e-4)


def test_what_seeds_do_to_all_finalists_alike_does_not_widen_the_gain() -> None:
    found = [confirmed("measured", 1.0, 2.0, 3.1), confirmed("anchor", 1.5, 2.5, 3.5)]
    gain = gain_over_anchor(found)
    assert gain is not None and gain.mean == pytest.approx(0.46667, rel=1e-4)
    # differences .5, .5, .4: deviation .057735; t(.975; 2) = 4.30265 times .057735 / sqrt(3) = .14342
    assert gain.high - gain.mean == pytest.approx(0.14342, rel=1e-4)


def test_finalists_with_different_seeds_are_compared_by_their_whole_scatter() -> None:
    found = [confirmed("measured", 1.0, 2.0, 3.0), confirmed("anchor", 1.5, 2.5)]
    gain = gain_over_anchor(found)
    # squares 2 and .5 over three degrees: .83333; t(.975; 3) = 3.18245 times sqrt(.83333 (1/3 + 1/2))
    assert gain is not None and gain.high - gain.mean == pytest.approx(3.18245 * 0.83333, rel=1e-4)


def test_one_run_each_gives_no_gain_and_failed_finalists_come_last() -> None:
    assert gain_over_anchor([confirmed("optimum", 1.0), confirmed("anchor", 2.0)]) is None
    assert gain_over_anchor([confirmed("optimum"), confirmed("anchor", 2.0, 2.1)]) is None
    assert [one.finalist.kind for one in rank([confirmed("optimum"), confirmed("anchor", 2.0)])] == [
        "anchor",
        "optimum",
    ]


def test_the_best_finalist_is_said_to_trade_away_a_part_on_which_it_is_worse_than_the_anchor() -> None:
    def with_parts(kind: str, *parts: tuple[float, float]) -> Confirmation:
        scores = tuple(sum(own) / 2 for own in parts)
        return Confirmation(finalist(kind, 0.0, 1.0), (10_000,), scores, tuple(range(len(scores))), parts)

    best = with_parts("measured", (1.0, 3.1), (1.1, 3.0), (1.0, 3.2))
    anchor = with_parts("anchor", (3.0, 2.5), (3.2, 2.6), (3.1, 2.5))
    found = traded_away([anchor, best], ("web", "code"))
    # code: 3.1 against 2.5333; variances .01 and .003333, pooled .006667; Welch's degrees of freedom: 3.2;
    # t(.975; 3.2) = 3.07283 times sqrt(2/3 of it)
    assert list(found) == ["code"] and found["code"] == pytest.approx((0.56667, 0.20486), rel=1e-3)
    assert traded_away([anchor], ("web", "code")) == {}
