"""Ladders over made-up laws, whose target is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mixproof.ledger.errors import RequestError
from mixproof.train.ladder.ladder import Forecast, LadderRun, Target, predict_scores
from mixproof.train.ladder.score_kinds import ceiling_of, choose_loss, kind_of
from mixproof.train.ladder.task_law import TaskLaw, fit_task_law
from mixproof.train.ladder.units import check_units

SIZES = (190_000_000, 370_000_000, 760_000_000, 1_300_000_000)
TARGET = Target(7_000_000_000, 1_000_000_000_000)


def loss_of(parameters: float, tokens: float) -> float:
    """The constants of Hoffmann et al. (2022)."""
    return float(1.69 + 406.4 / parameters**0.34 + 410.7 / tokens**0.28)


def accuracy_of(loss: float) -> float:
    """From chance, .25, to 1; half-way at a loss of 2.2."""
    return 0.25 + 0.75 / (1 + math.exp(6 * (loss - 2.2)))


def ladder_runs(noise: float, sizes: Sequence[int] = SIZES) -> list[LadderRun]:
    random = np.random.default_rng(3)
    runs = []
    for size in sizes:
        for ratio in (10, 20, 40, 100):
            loss = loss_of(size, ratio * size) * math.exp(noise * random.normal())
            accuracy = accuracy_of(loss) + noise * random.normal()
            scores = {"piqa_bpb": loss, "piqa_acc": accuracy, "coin_acc": 0.5 + 0.01 * random.normal()}
            runs.append(LadderRun(size, ratio * size, ratio * size, scores))
    return runs


@pytest.fixture(scope="module")
def forecasts() -> dict[str, Forecast]:
    return predict_scores(ladder_runs(0.003), ("piqa_bpb", "piqa_acc", "coin_acc"), TARGET, {})


def test_loss_and_task_score_of_the_target_are_in_their_intervals(forecasts: dict[str, Forecast]) -> None:
    loss = loss_of(TARGET.parameters, TARGET.tokens)
    for name, truth in (("piqa_bpb", loss), ("piqa_acc", accuracy_of(loss))):
        found = forecasts[name]
        assert found.value == pytest.approx(truth, rel=0.05)
        assert found.interval is not None and found.interval[0] < truth < found.interval[1]
        assert found.fit_error is not None and found.fit_error < 0.01
        assert found.backtest_error is not None and found.backtest_error < 0.05
    assert forecasts["piqa_acc"].through == "piqa_bpb" and forecasts["piqa_bpb"].through is None


def test_a_task_at_chance_cannot_be_predicted_and_says_so_before_the_target_is_known(
    forecasts: dict[str, Forecast],
) -> None:
    found = forecasts["coin_acc"]
    assert found.value is None and found.interval is None and not found.predictable
    assert "no trend with compute" in str(found.reason)


def test_two_sizes_make_no_law_and_nothing_is_predicted_through_it() -> None:
    found = predict_scores(ladder_runs(0.003, SIZES[:2]), ("piqa_bpb", "piqa_acc"), TARGET, {})
    assert found["piqa_bpb"].value is None and "3 or more different model sizes" in str(found["piqa_bpb"].reason)
    assert found["piqa_acc"].value is None and "piqa_bpb: a scaling law needs" in str(found["piqa_acc"].reason)


def test_three_sizes_are_predicted_but_not_backtested() -> None:
    found = predict_scores(ladder_runs(0.0, SIZES[:3]), ("piqa_bpb",), TARGET, {})["piqa_bpb"]
    assert found.value == pytest.approx(loss_of(TARGET.parameters, TARGET.tokens), rel=1e-3)
    assert found.backtest_error is None and "not backtested" in str(found.reason)


def test_a_sigmoid_is_found_with_its_ceiling_given() -> None:
    losses = np.linspace(1.5, 3.0, 12)
    truth = TaskLaw(ceiling=1.0, floor=0.25, middle=2.2, steepness=6.0)
    found = fit_task_law(losses, truth.predict(losses), 1.0)
    assert (found.floor, found.middle, found.steepness) == pytest.approx((0.25, 2.2, 6.0), rel=1e-3)
    percent = fit_task_law(losses, 100 * truth.predict(losses), 100.0)
    assert (percent.floor, percent.middle) == pytest.approx((25, 2.2), rel=1e-3)
    assert truth.predict(np.array([2.2]))[0] == pytest.approx(0.625)


def test_the_deviation_of_a_sigmoid_grows_away_from_its_runs() -> None:
    losses = np.linspace(2.4, 3.0, 12)
    truth = TaskLaw(1.0, 0.25, 2.2, 6.0)
    noisy = truth.predict(losses) + 0.01 * np.random.default_rng(0).normal(size=12)
    found = fit_task_law(losses, noisy, 1.0)
    assert 0.005 < found.deviation(losses, noisy, 2.7) < 0.02 < found.deviation(losses, noisy, 1.8)


def test_a_loss_falls_a_task_score_rises_and_the_rest_is_neither() -> None:
    compute = np.arange(8.0)
    assert kind_of(3 - compute / 10, compute) == "loss"
    assert kind_of(0.2 + compute / 10, compute) == "task" and ceiling_of(0.2 + compute / 10) == 1
    assert kind_of(20 + compute, compute) == "task" and ceiling_of(20 + compute) == 100
    assert "same in all runs" in kind_of(np.ones(8), compute)
    assert "not between 0 and 1" in kind_of(200 + compute, compute)
    assert "not positive" in kind_of(-compute, compute)


def test_a_task_is_predicted_through_the_loss_of_its_name_or_the_one_that_fits_best() -> None:
    loss = np.linspace(3.0, 2.0, 8)
    scores = np.array([accuracy_of(value) for value in loss])
    pairs = {"web_loss": (loss, scores), "hellaswag_bpb": (loss + 0.05 * np.sin(np.arange(8)), scores)}
    assert choose_loss("hellaswag_len_norm", pairs) == "hellaswag_bpb"
    assert choose_loss("piqa_acc", pairs) == "web_loss"
    assert choose_loss("piqa_acc", {}) is None


def test_a_run_without_the_loss_of_a_task_is_left_out_of_its_sigmoid_and_a_small_target_is_not_predictable() -> None:
    runs = ladder_runs(0.003, SIZES[:3])
    gap = LadderRun(runs[3].parameters, runs[3].tokens, runs[3].tokens, {"piqa_acc": runs[3].scores["piqa_acc"]})
    small = Target(100_000_000, 10_000_000_000)
    found = predict_scores([*runs[:3], gap, *runs[4:]], ("piqa_bpb", "piqa_acc"), small, {})
    task = found["piqa_acc"]
    assert task.through == "piqa_bpb"
    assert task.value == pytest.approx(accuracy_of(loss_of(small.parameters, small.tokens)), rel=0.05)
    for forecast in found.values():
        assert not forecast.predictable and "fewer parameters than every run" in str(forecast.reason)


def test_fractions_and_percentages_in_one_column_are_refused_and_small_percentages_are_not() -> None:
    compute = np.arange(12.0)
    fractions = 0.3 + compute / 40
    mixed = np.where(compute % 2 == 0, 100 * fractions, fractions)
    assert "6 of 12 runs seem to have a fraction (such as 0.325) and the others a percentage" in kind_of(mixed, compute)
    one = fractions.copy()
    one[4] *= 100
    assert "11 of 12 runs seem to have a fraction" in kind_of(one, compute)
    assert kind_of(100 * fractions, compute) == kind_of(fractions, compute) == "task"
    assert kind_of(0.2 * 1.5**compute, compute) == "task"  # percentages that begin below 1
    assert kind_of(3 * 0.85**compute, compute) == "loss"  # a loss that falls below 1


def test_a_score_that_is_negative_in_one_run_names_it() -> None:
    scores = 3 - np.arange(8.0) / 10
    scores[2] *= -1
    assert "not positive in 1 of 8 runs (the first of these: -2.8)" in kind_of(scores, np.arange(8.0))


@pytest.mark.parametrize(
    ("sizes", "target", "message"),
    [
        ((190, 370_000_000, 760_000_000), TARGET, "parameters: 190 and 370,000,000 are neighbouring sizes"),
        ((190, 370, 760), TARGET, "--target parameters=7,000,000,000: the largest run has 760, so the runs seem"),
        (SIZES, Target(7 * 10**9, 10**19), "--target tokens=10,000,000,000,000,000,000: the largest run has"),
    ],
)
def test_sizes_in_different_units_are_refused(sizes: Sequence[int], target: Target, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        check_units([LadderRun(size, 20 * 10**9, 20 * 10**9, {}) for size in sizes], target)
    check_units(ladder_runs(0.0), TARGET)
