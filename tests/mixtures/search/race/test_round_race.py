"""Races in the rounds of a search: noise, stops, tokens and carried scores, by hand and over a known function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest

from mixproof.mixtures.search.outcome import Measured, Outcome, Trial, Units
from mixproof.mixtures.search.plan import Plan
from mixproof.mixtures.search.predictors.families import PROCESS
from mixproof.mixtures.search.predictors.gaussian_process import fit_gaussian_process
from mixproof.mixtures.search.race.account import RunTokens, race_tokens
from mixproof.mixtures.search.race.carried import RungScores
from mixproof.mixtures.search.race.moderated_noise import RungNoise
from mixproof.mixtures.search.race.round_stops import RoundRace, noise_of_repeats, stopped_candidates
from mixproof.mixtures.search.rounds import search
from mixproof.mixtures.search.space import UNITS, Space, shares_of

TENTH, FIFTH, WHOLE = Fraction(1, 10), Fraction(1, 5), Fraction(1)
MIXTURES: list[Units] = [(1, 0), (2, 0), (3, 0), (4, 0)]
A, B, C, D = MIXTURES
CENTER = {"code": Fraction(1, 10), "noise": Fraction(5, 10), "web": Fraction(4, 10)}
SPACE = Space.of(CENTER, {"code": Fraction(3, 10), "noise": Fraction(1), "web": Fraction(1)})
PLAN = Plan(rounds=(12, 6), seeds=(1, 2, 3), fresh_seeds=(4, 5), repeated=3, race=RoundRace((TENTH, FIFTH)))


def test_noise_at_a_rung_comes_from_repeats_without_what_a_seed_gives_to_all() -> None:
    assert noise_of_repeats({A: {1: 3.0}, B: {1: 4.0}}) is None
    # the anchor alone: the variance of 1, 2 and 3
    assert noise_of_repeats({A: {1: 1.0, 2: 2.0, 3: 3.0}, B: {1: 4.0}}) == RungNoise(1.0, 2.0)
    # two mixtures with the seeds 1 and 2: seed 2 adds 10 to both, and the differences are 10 and 12
    pair = noise_of_repeats({A: {1: 1.0, 2: 11.0, 3: 50.0}, B: {1: 4.0, 2: 16.0}, C: {1: 0.0}})
    assert pair is not None and (pair.variance, pair.degrees) == pytest.approx((1.0, 1.0))
    # 2 degrees of freedom with a variance of 1, and 4 of the 9 of the rung before with one of 4
    later = noise_of_repeats({A: {1: 1.0, 2: 2.0, 3: 3.0}}, RungNoise(4.0, 9.0))
    assert later == RungNoise(3.0, 6.0)


def test_half_of_the_round_stops_at_most_and_earlier_mixtures_are_only_compared() -> None:
    scores = {A: 1.0, B: 1.1, C: 5.0, D: 9.0}
    noise = RungNoise(0.01, 20.0)
    race = RoundRace((Fraction(1, 2),), Fraction(95, 100))
    assert [one.units for one in stopped_candidates(scores, [A, B, C, D], noise, 1, race)] == [D, C]
    [stop] = stopped_candidates(scores, [B, D], noise, 1, race)
    assert (stop.units, stop.rung, stop.score, stop.difference) == (D, 1, 9.0, 8.0) and stop.p_value < 0.05
    assert stopped_candidates(scores, [A, B], RungNoise(4.0, 2.0), 1, race) == []


def test_tokens_of_a_race_are_trunks_once_and_decays_each() -> None:
    tokens_of = {TENTH: RunTokens(8, 2), FIFTH: RunTokens(16, 4), WHOLE: RunTokens(80, 20)}
    runs = [(A, 1, TENTH), (A, 1, FIFTH), (A, 1, WHOLE), (B, 1, TENTH), (C, 2, TENTH), (A, 5, WHOLE)]
    found = race_tokens(runs, tokens_of, first_seed=1)
    # A: trunk 80, decays 2 + 4 + 20; B and the repeat of C: 8 + 2; the finalist A with seed 5: 100
    assert (found.trained, found.full, found.saved) == (106 + 10 + 10 + 100, 300, 74)


def test_scores_of_a_rung_are_carried_by_what_other_mixtures_gained() -> None:
    shares = shares_of([(units, UNITS - units) for units in range(500, 9500, 300)])
    full = 3 - 0.5 * np.log(shares[:, 0])
    early = full + 1.0 + 0.8 * shares[:, 1]
    measured = shares[:, 0] > 0.4
    parts = [TENTH] * len(shares) + [WHOLE] * int(measured.sum())
    known = RungScores(np.vstack([shares, shares[measured]]), parts, np.append(early, full[measured])[:, None])
    stopped = np.flatnonzero(~measured)
    carried = known.carried(stopped.tolist())[:, 0]
    assert np.abs(carried - full[stopped]).max() < 0.2 < np.abs(early[stopped] - full[stopped]).min()


def losses(trial: Trial) -> tuple[float, ...]:
    """Each loss falls with its own source and with tokens; half of everything is noise, which teaches nothing."""
    code, _, web = (units / UNITS for units in trial.units)
    seed = [trial.seed, *trial.part.as_integer_ratio(), *trial.units]
    scatter = np.random.default_rng(seed).normal(size=2) * 0.005
    later = 0.5 * (float(trial.part) ** -0.35 - 1)
    return float(3 - 0.3 * np.log(code + 0.01) + scatter[0] + later), float(2 - 0.3 * np.log(web + 0.01) + scatter[1])


@pytest.fixture(scope="module")
def raced() -> tuple[Outcome, list[Trial]]:
    trained: list[Trial] = []

    def score(trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        trained.extend(trials)
        return [losses(trial) for trial in trials]

    return search(SPACE, PLAN, score, {"code": 0.5, "web": 0.5}, {PROCESS: fit_gaussian_process}), trained


def test_a_stopped_candidate_has_no_further_run_and_is_no_finalist(raced: tuple[Outcome, list[Trial]]) -> None:
    outcome, trained = raced
    stops = [stop for done in outcome.rounds for rung in done.rungs for stop in rung.stopped]
    assert stops and outcome.choice is not None
    for stop in stops:
        last = PLAN.race.rungs[stop.rung - 1] if PLAN.race else WHOLE
        assert max(one.part for one in trained if one.units == stop.units) == last
    named = {tuple(round(UNITS * share) for share in one.shares) for one in outcome.choice.finalists}
    assert named.isdisjoint({stop.units for stop in stops})
    assert {one.trial.part for one in outcome.measured} == {WHOLE}
    assert {stop.units for stop in stops}.isdisjoint({one.trial.units for one in outcome.measured})


def test_the_account_of_a_round_closes_and_the_best_mixture_is_found(raced: tuple[Outcome, list[Trial]]) -> None:
    outcome, trained = raced
    for done in outcome.rounds:
        first, second = done.rungs
        assert first.candidates == done.exploited + done.explored
        assert second.candidates == first.candidates - len(first.stopped) and first.repeated <= 3
    whole = {one.units for one in trained if one.part == 1 and one.seed == 1} - {SPACE.anchor}
    assert len(whole) == sum(done.rungs[-1].candidates - len(done.rungs[-1].stopped) for done in outcome.rounds)
    assert {one.part for one in trained if one.units == SPACE.anchor and one.seed == 3} == {TENTH, FIFTH, WHOLE}
    assert outcome.recommended is not None and outcome.gain is not None and outcome.gain.low > 0
    assert outcome.recommended.units[1] < 1500


def test_a_round_is_recalled_under_the_scores_at_rungs_too() -> None:
    seen: list[set[Fraction]] = []

    def recall(number: int, measured: Sequence[Measured], make: Callable[[], list[Units]]) -> list[Units]:
        seen.append({one.trial.part for one in measured})
        return make()

    plan = Plan(rounds=(6,), seeds=(1, 2), fresh_seeds=(4, 5), finalists=1, race=RoundRace((TENTH,)))
    families = {PROCESS: fit_gaussian_process}
    search(SPACE, plan, lambda trials: list(map(losses, trials)), {"code": 0.5, "web": 0.5}, families, recall)
    assert seen == [{TENTH, WHOLE}]
