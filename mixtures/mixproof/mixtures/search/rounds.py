"""The search in rounds: measure candidates, fit a predictor, use it to choose the next candidates, and repeat.

  round 1   the anchor with several seeds, and 64 draws around the proportional shares (exploration only); the draws
            that are farthest from the anchor and from each other get a second run, because noise may depend on the
            mixture
  round 2   32 candidates from a predictor fitted to all scores: three quarters have the lowest confidence bounds in
            a fresh pool and near the best so far (exploitation), one quarter are farthest from all earlier runs
            (exploration)
  round 3   16 candidates, chosen in the same way
  the end   the finalists: the constrained optimum of the last predictor, the best measured candidates and the anchor,
            measured with as many fresh seeds as the anchor had

With a race, the candidates of a round are run in rungs, and those that are not the best with the declared confidence
stop (`race/`).

All other candidates are run with one seed, the anchor with several; the scatter of repeats is the noise of one run
(`mixture_noise`). The search knows nothing about training: `score` measures trials, in any way and order, and returns
None for a failed one. Candidates depend only on names and scores, so a killed search resumes where it stopped if
`score` remembers finished trials. `recall` lets the caller store a round's candidates, so that a last bit that another
machine computes differently cannot change which candidates run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.choice.confirmation import Confirmation, rank
from mixproof.mixtures.search.choice.final_choice import FinalChoice, choose_finally
from mixproof.mixtures.search.predictors.predictor import Fit

from .candidates import draw, draw_near, explore, generator, select, select_farthest, units_of
from .lower_bound import lower_bound
from .noise import Noise, measure_noise, refusal
from .objective import FittedObjective, fit_objective
from .optimum import POOL
from .outcome import Measured, Outcome, Round, RoundRung, Trial, Units
from .plan import Plan
from .race.moderated_noise import RungNoise
from .race.round_stops import noise_of_repeats, stopped_candidates
from .signal_to_noise import admitted, measure, why_rejected
from .space import UNITS, Space, UnitArray, shares_of
from .trials import Score, Trials

LEADERS = 8
"""Number of best measured mixtures around which candidates are drawn as well."""


Recall = Callable[[int, Sequence[Measured], Callable[[], list[Units]]], list[Units]]
"""From the round, all scores so far and a function that chooses candidates, returns the round's candidates."""


def choose_without_recall(number: int, measured: Sequence[Measured], make: Callable[[], list[Units]]) -> list[Units]:
    """The `Recall` of a search that stores nothing: always choose the candidates."""
    return make()


def search(
    space: Space,
    plan: Plan,
    score: Score,
    weights: Mapping[str, float],
    families: Mapping[str, Fit],
    recall: Recall = choose_without_recall,
) -> Outcome:
    """Run the search.

    Args:
        space: the mixtures that may be run.
        plan: rounds and seeds.
        score: measures trials.
        weights: weights of the objective's parts, by name; they sum to 1.
        families: predictors to choose from.
        recall: stores the candidates of a round.

    Raises:
        SpecError: when fewer than two different mixtures have a score.
    """
    state = _Search(space, plan, score, weights, families)
    state.run_anchor()
    for number, count in enumerate(plan.rounds, start=1):
        state.run_round(number, count, recall)
    return state.conclude()


class _Search:
    """A search in progress: the trials so far and what comes next."""

    def __init__(
        self, space: Space, plan: Plan, score: Score, weights: Mapping[str, float], families: Mapping[str, Fit]
    ) -> None:
        self._space, self._plan, self._families = space, plan, families
        self._trials = Trials(space, score, weights, plan.seeds[0])
        self._rungs = () if plan.race is None else plan.race.rungs
        self._rounds: list[Round] = []
        self._rejected: dict[str, str] = {}

    def run_anchor(self) -> None:
        """Measure the anchor with all its seeds, in a race at every rung."""
        for part in (*self._rungs, Fraction(1)):
            self._trials.measure([Trial(self._space.anchor, seed, part) for seed in self._plan.seeds])

    def run_round(self, number: int, count: int, recall: Recall) -> None:
        """Choose candidates, measure them, and record the round."""
        objective = self._fit() if number > 1 else None
        exploited = round(self._plan.exploitation * count) if objective is not None else 0

        def make() -> list[Units]:
            return self._candidates(number, count, exploited, objective)

        candidates = recall(number, [*self._trials.measured, *self._trials.at_rungs], make)
        rungs, left = self._race(number, candidates)
        self._trials.measure([Trial(units, self._plan.seeds[0]) for units in left])
        repeated = 0
        if number == 1:
            repeated = self._repeat(left)
            self._reject_parts()
        self._rounds.append(
            Round(
                number=number,
                exploited=min(exploited, len(candidates)),
                explored=max(0, len(candidates) - exploited),
                rank_correlation=None if objective is None else objective.validation.rank_correlation,
                best=min((one.score for one in self._trials.measured), default=float("nan")),
                repeated=repeated,
                rungs=rungs,
            )
        )

    def _race(self, number: int, candidates: Sequence[Units]) -> tuple[tuple[RoundRung, ...], list[Units]]:
        """Train the candidates from rung to rung; return the rungs, and the candidates that are left."""
        race, left, rungs = self._plan.race, list(candidates), list[RoundRung]()
        if race is None:
            return (), left
        noise: RungNoise | None = None
        first, twice = self._plan.seeds[0], self._far_apart(candidates) if number == 1 else []
        for rung, part in enumerate(race.rungs, start=1):
            trained, again = list(left), [units for units in twice if units in left]
            trials = [Trial(units, first, part) for units in trained]
            self._trials.measure([*trials, *(Trial(units, self._plan.seeds[1], part) for units in again)])
            scores = self._trials.scores_at(part)
            noise = noise_of_repeats(scores, noise)
            of_first = {units: own[first] for units, own in scores.items() if first in own}
            left = [units for units in trained if units in of_first]
            stops = [] if noise is None else stopped_candidates(of_first, left, noise, rung, race)
            self._trials.stop(stops, part)
            rungs.append(RoundRung(rung, part, len(trained), len(again), tuple(stops)))
            stopped = {one.units for one in stops}
            left = [units for units in left if units not in stopped]
        return tuple(rungs), left

    def _repeat(self, candidates: Sequence[Units]) -> int:
        """Run the candidates that are farthest apart a second time; return how many."""
        done = {one.trial.units for one in self._trials.measured}
        far = self._far_apart([units for units in candidates if units in done])
        if far:
            self._trials.measure([Trial(units, self._plan.seeds[1]) for units in far])
        return len(far)

    def _far_apart(self, candidates: Sequence[Units]) -> list[Units]:
        """The candidates that are farthest from the anchor and from each other, as many as are repeated."""
        if not self._plan.repeated or len(self._plan.seeds) < 2:
            return []
        pool, anchor = units_of(self._space, candidates), units_of(self._space, [self._space.anchor])
        return _as_tuples(select_farthest(pool, anchor, min(self._plan.repeated, len(pool))))

    def _reject_parts(self) -> None:
        """Leave out the parts of the objective that are below their least signal-to-noise ratio."""
        shares, parts = self._trials.rows()
        if not len(parts):
            return
        mixture = np.unique(shares, axis=0, return_inverse=True)[1].ravel()
        for name, scores in zip(self._trials.weights, parts.T, strict=True):
            reason = why_rejected(name, measure(mixture, scores), self._plan.least_ratios.get(name, 0.0))
            if reason is not None:
                self._rejected[name] = reason
        weights = admitted(self._trials.weights, self._rejected)
        if not any(weights.values()):
            raise SpecError("no score may enter the objective: " + "; ".join(self._rejected.values()))
        self._trials.reweigh(weights)

    def conclude(self) -> Outcome:
        """Recommend a mixture and measure it, or give the reason why none is recommended."""
        objective, trials = self._fit(), self._trials
        shares, parts = trials.rows()
        noise = measure_noise(shares, trials.objectives(parts), objective.validation)
        refused = refusal(noise, objective.validation.rank_correlation)
        measured, anchor = tuple(trials.measured), trials.scores_of(self._space.anchor)
        choice = None if refused is not None else self._choose(objective, noise)
        return Outcome(
            measured=measured,
            failed=tuple(trials.failed),
            rounds=tuple(self._rounds),
            objective=objective,
            noise=noise,
            refused=refused,
            choice=choice,
            anchor=anchor,
            confirmations=() if choice is None else rank(self._confirm(choice)),
            parts=tuple(trials.weights),
            rejected=self._rejected,
        )

    def _choose(self, objective: FittedObjective, noise: Noise) -> FinalChoice:
        shares, parts = self._trials.rows()
        return choose_finally(
            objective.predictor,
            (shares, parts),
            (self._trials.objectives(parts), objective.validation, noise),
            self._space,
            self._anchor_row(),
            self._plan.name,
            count=self._plan.finalists,
            prior=self._plan.prior,
            allowed=np.arange(len(parts)) < len(self._trials.measured) if self._rungs else None,
        )

    def _anchor_row(self) -> int | None:
        """The anchor's first row; None when all its runs failed."""
        measured = enumerate(self._trials.measured)
        return next((row for row, one in measured if one.trial.units == self._space.anchor), None)

    def _confirm(self, choice: FinalChoice) -> list[Confirmation]:
        """Measure the finalists with fresh seeds."""
        units = [tuple(round(share * UNITS) for share in one.shares) for one in choice.finalists]
        measured = self._trials.measure([Trial(own, seed) for own in units for seed in self._plan.fresh_seeds])
        runs = [[done for done in measured if done.trial.units == own] for own in units]
        return [
            Confirmation(
                finalist=one,
                units=own,
                scores=tuple(run.score for run in found),
                seeds=tuple(run.trial.seed for run in found),
                parts=tuple(run.parts for run in found),
            )
            for one, own, found in zip(choice.finalists, units, runs, strict=True)
        ]

    def _candidates(self, number: int, count: int, exploited: int, objective: FittedObjective | None) -> list[Units]:
        random = generator(self._plan.name, "round", number)
        tried = self._trials.tried
        run = units_of(self._space, tried)
        if objective is None:
            return _as_tuples(explore(self._space, count, tried, random))
        pool = self._pool(random)
        bound = lower_bound(
            objective.predictor,
            self._trials.rows(),
            shares_of(pool),
            self._plan.name,
            number,
            deviations=self._plan.deviations,
        )
        order = np.argsort(bound, kind="stable")
        best = select(pool[order], run, exploited)
        far = select_farthest(draw(self._space, POOL // 4, random), np.vstack([run, best]), count - len(best))
        return _as_tuples(np.vstack([best, far]))

    def _pool(self, random: np.random.Generator) -> UnitArray:
        leaders = sorted(self._trials.measured, key=lambda one: one.score)[:LEADERS]
        shares = shares_of(units_of(self._space, [one.trial.units for one in leaders]))
        near = [draw_near(self._space, np.repeat(shares, 64, axis=0), size, random) for size in (30.0, 100.0)]
        return np.unique(np.vstack([draw(self._space, POOL, random), *near]), axis=0)

    def _fit(self) -> FittedObjective:
        shares, parts = self._trials.rows()
        failed, measured = len(self._trials.failed), len(self._trials.measured)
        if len(np.unique(shares, axis=0)) < 2:
            raise SpecError(
                f"{failed} of {failed + measured} runs failed, and fewer than two "
                "mixtures have a score; see the errors of the failed runs"
            )
        return fit_objective(self._families, shares, parts, self._trials.weights)


def _as_tuples(units: UnitArray) -> list[Units]:
    return [tuple(int(count) for count in row) for row in units]
