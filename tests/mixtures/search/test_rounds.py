"""The search in rounds, over functions whose optimum is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.outcome import Measured, Outcome, Trial, Units
from mixproof.mixtures.search.plan import Plan
from mixproof.mixtures.search.predictors.families import LINEAR, PROCESS
from mixproof.mixtures.search.predictors.gaussian_process import fit_gaussian_process
from mixproof.mixtures.search.predictors.linear import fit_linear
from mixproof.mixtures.search.predictors.predictor import Fit
from mixproof.mixtures.search.rounds import search
from mixproof.mixtures.search.space import UNITS, Space, distances

CENTER = {"code": Fraction(1, 10), "noise": Fraction(5, 10), "web": Fraction(4, 10)}
SPACE = Space.of(CENTER, {"code": Fraction(3, 10), "noise": Fraction(1), "web": Fraction(1)})
PLAN = Plan(rounds=(16, 8, 4), seeds=(1, 2, 3), fresh_seeds=(4, 5, 6))
WEIGHTS = {"code": 0.5, "web": 0.5}


def losses(trial: Trial, noise: float = 0.005) -> tuple[float, ...]:
    """Each loss falls with its own source; half of everything is a source of noise, which teaches nothing."""
    code, _, web = (units / UNITS for units in trial.units)
    random = np.random.default_rng([trial.seed, *trial.units])
    scatter = random.normal(size=2) * noise
    return float(3 - 0.3 * np.log(code + 0.01) + scatter[0]), float(2 - 0.3 * np.log(web + 0.01) + scatter[1])


FAMILIES: dict[str, Fit] = {LINEAR: fit_linear, PROCESS: fit_gaussian_process}
"""The two that matter here; all of them would only take longer."""


def measure(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
    return [losses(trial) for trial in trials]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return search(SPACE, PLAN, measure, WEIGHTS, FAMILIES)


def test_the_source_of_noise_is_left_out_and_code_stops_at_its_cap(outcome: Outcome) -> None:
    assert outcome.reason is None and outcome.choice is not None
    assert dict(zip(SPACE.sources, outcome.choice.optimum, strict=True)) == {"code": 3000, "noise": 0, "web": 7000}


def test_optimum_best_measured_and_anchor_are_trained_with_fresh_seeds_and_the_best_beats_the_anchor(
    outcome: Outcome,
) -> None:
    # the last round has already run the optimum, so it is one of the three best measured mixtures
    assert sorted(one.finalist.kind for one in outcome.confirmations) == ["anchor", "measured", "measured", "measured"]
    assert outcome.optimum is not None and outcome.optimum.units == (3000, 0, 7000)
    assert [len(one.scores) for one in outcome.confirmations] == [3] * 4
    means = [one.mean for one in outcome.confirmations]
    assert means == sorted(means) and outcome.recommended is outcome.confirmations[0]
    anchor = next(one for one in outcome.confirmations if one.finalist.kind == "anchor")
    assert set(anchor.scores).isdisjoint(outcome.anchor) and anchor.units == SPACE.anchor
    assert outcome.gain is not None and 0 < outcome.gain.low < outcome.gain.mean == pytest.approx(
        anchor.mean - means[0]
    )


def test_the_region_holds_the_recommended_mixture_and_little_noise(outcome: Outcome) -> None:
    assert outcome.choice is not None and outcome.recommended is not None
    region = outcome.choice.region(outcome.recommended.finalist)
    shares = dict(zip(SPACE.sources, outcome.recommended.finalist.shares, strict=True))
    assert all(low <= shares[name] <= high for name, (low, high) in region.items())
    assert region["noise"][1] < 0.2 and region["web"][0] > 0.5


def test_each_round_has_its_candidates_and_later_ones_follow_the_predictor(outcome: Outcome) -> None:
    assert [(done.exploited, done.explored) for done in outcome.rounds] == [(0, 16), (6, 2), (3, 1)]
    assert outcome.rounds[0].rank_correlation is None
    assert all((done.rank_correlation or 0) > 0.5 for done in outcome.rounds[1:])
    best = [done.best for done in outcome.rounds]
    assert best == sorted(best, reverse=True)


def test_the_anchor_has_every_seed_and_a_candidate_one(outcome: Outcome) -> None:
    trials = [one.trial for one in outcome.measured]
    assert trials[:3] == [Trial(SPACE.anchor, 1), Trial(SPACE.anchor, 2), Trial(SPACE.anchor, 3)]
    assert {trial.seed for trial in trials[3:]} == {1}
    assert outcome.noise.kind == "repeats" and outcome.noise.degrees_of_freedom == 2


def test_candidates_that_are_far_apart_run_a_second_time_and_show_noise_that_depends_on_the_mixture() -> None:
    def noisier(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        return [losses(trial, noise=0.002 * 25 ** (trial.units[1] / UNITS)) for trial in trials]

    found = search(SPACE, Plan(rounds=(16, 8), seeds=(1, 2, 3), repeated=5), noisier, WEIGHTS, FAMILIES)
    trials = [one.trial for one in found.measured]
    second = [trial.units for trial in trials if trial.seed == 2 and trial.units != SPACE.anchor]
    assert len(second) == 5 and set(second) <= {trial.units for trial in trials if trial.seed == 1}
    assert [done.repeated for done in found.rounds] == [5, 0]
    apart = np.array([SPACE.anchor, *second])
    assert (distances(apart, apart) + np.eye(6)).min() > 0.15
    assert found.noise.deviations is not None and found.noise.degrees_of_freedom == 7
    assert found.noise.deviations[1] > 4 * found.noise.deviations[0]


def test_no_candidate_leaves_the_space_or_is_a_near_copy(outcome: Outcome) -> None:
    units = np.array([one.trial.units for one in outcome.measured[2:]])
    assert all(SPACE.holds(tuple(row)) for row in units.tolist())
    assert (distances(units, units) + np.eye(len(units))).min() >= 0.02


def test_the_same_scores_lead_to_the_same_search(outcome: Outcome) -> None:
    again = search(SPACE, PLAN, measure, WEIGHTS, FAMILIES)
    assert again.measured == outcome.measured and again.confirmations == outcome.confirmations


def test_a_round_s_candidates_are_recalled_under_what_led_to_them(outcome: Outcome) -> None:
    kept: dict[tuple[int, int], list[Units]] = {}

    def recall(number: int, measured: Sequence[Measured], make: Callable[[], list[Units]]) -> list[Units]:
        if (number, len(measured)) not in kept:
            kept[number, len(measured)] = make()
        return kept[number, len(measured)]

    first = search(SPACE, PLAN, measure, WEIGHTS, FAMILIES, recall)
    assert sorted(kept) == [(1, 3), (2, 19), (3, 27)]
    kept[3, 27] = [(1000, 0, 9000)]
    second = search(SPACE, PLAN, measure, WEIGHTS, FAMILIES, recall)
    assert first.measured[:27] == second.measured[:27] == outcome.measured[:27]
    assert [one.trial.units for one in second.measured[27:]] == [(1000, 0, 9000)]


def test_noise_that_swamps_the_spread_is_no_recommendation() -> None:
    def noisy(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        return [losses(trial, noise=2.0) for trial in trials]

    found = search(SPACE, PLAN, noisy, WEIGHTS, FAMILIES)
    assert found.choice is None and found.confirmations == ()
    assert found.refused is not None and found.reason == found.refused


def test_finalists_that_measure_no_better_than_the_anchor_are_not_recommended() -> None:
    def misled(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        fresh = trials[0].seed in PLAN.fresh_seeds
        flat = [(3.0 + 0.01 * trial.seed, 3.0) for trial in trials]
        return list(flat) if fresh else measure(trials)

    found = search(SPACE, PLAN, misled, WEIGHTS, FAMILIES)
    assert found.refused is None and found.choice is not None and found.recommended is None
    assert "the best of 3 finalists scored 0 better than the anchor" in str(found.reason)


def test_failed_trials_are_named_and_the_rest_goes_on() -> None:
    def sometimes(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        return [None if trial.units[1] > 6000 else losses(trial) for trial in trials]

    found = search(SPACE, PLAN, sometimes, WEIGHTS, FAMILIES)
    assert found.failed and all(trial.units[1] > 6000 for trial in found.failed)
    assert len(found.measured) + len(found.failed) == 3 + 16 + 8 + 4
    assert found.reason is None


def test_an_optimum_whose_fresh_runs_all_fail_leaves_the_best_measured_mixture() -> None:
    def without_optimum(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        fresh = trials[0].seed in PLAN.fresh_seeds
        return [None if fresh and trial.units == (3000, 0, 7000) else losses(trial) for trial in trials]

    found = search(SPACE, PLAN, without_optimum, WEIGHTS, FAMILIES)
    assert found.optimum is not None and found.optimum.scores == () and found.confirmations[-1] is found.optimum
    assert found.recommended is not None and found.recommended.finalist.kind == "measured"


def test_finalists_whose_runs_all_fail_are_not_recommended() -> None:
    def at_first(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        fresh = trials[0].seed in PLAN.fresh_seeds
        return [None if fresh and trial.units != SPACE.anchor else losses(trial) for trial in trials]

    found = search(SPACE, PLAN, at_first, WEIGHTS, FAMILIES)
    assert "all runs of the finalists failed" in str(found.reason)


def test_a_search_whose_runs_all_fail_is_an_error() -> None:
    with pytest.raises(SpecError, match="fewer than two mixtures have a score"):
        search(SPACE, PLAN, lambda trials: [None] * len(trials), WEIGHTS, FAMILIES)


def test_a_part_below_its_least_signal_to_noise_ratio_is_left_out_after_the_first_round() -> None:
    def with_a_coin(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        coins = [float(np.random.default_rng([7, trial.seed, *trial.units]).normal()) for trial in trials]
        return [(*losses(trial)[1:], coin) for trial, coin in zip(trials, coins, strict=True)]

    plan = Plan(rounds=(10,), seeds=(1, 2, 3), fresh_seeds=(4, 5), least_ratios={"coin": 20.0, "web": 2.0})
    found = search(SPACE, plan, with_a_coin, {"web": 0.2, "coin": 0.8}, {LINEAR: fit_linear})
    assert list(found.rejected) == ["coin"]
    assert found.rejected["coin"].startswith("coin does not enter the objective: its signal-to-noise ratio is ")
    assert all(one.score == one.parts[0] for one in found.measured)
    assert found.objective.predictor.weights.tolist() == [1, 0]
    with pytest.raises(SpecError, match="no score may enter the objective: coin does not enter"):
        search(SPACE, plan, with_a_coin, {"web": 0.0, "coin": 1.0}, {LINEAR: fit_linear})
