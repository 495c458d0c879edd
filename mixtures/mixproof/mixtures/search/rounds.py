"""The search in rounds: measure candidates, fit a predictor, choose the next candidates by it, and so on.

  round 1   the anchor with several seeds, and 64 draws around the proportional shares: exploration only
  round 2   32: a predictor is fitted to all scores; three quarters are the best it predicts in a fresh pool and near
            the best so far (exploitation), one quarter are those farthest from all that was run (exploration)
  round 3   16, likewise
  the end   the constrained optimum of the last predictor, measured with the anchor's seeds

Every candidate has one seed, the anchor several: their scatter is the noise of one run. The search knows nothing of
training: `score` measures trials, in whatever way and order, and gives None for one that failed. Candidates depend
on names and on scores alone, so a search that was killed goes on where it stopped when `score` remembers finished
trials; `recall` lets the caller keep a round's candidates, so that a last bit that another machine computes
differently cannot change what is being run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixproof.mixtures.errors import SpecError

from .candidates import draw, draw_near, explore, generator, select, select_farthest, units_of
from .noise import Gain, Noise, measure_gain, measure_noise, refusal
from .objective import FittedObjective, fit_objective
from .optimum import POOL, Optimum, recommend
from .predictor import Fit, FloatArray
from .space import Space, UnitArray, shares_of

Units = tuple[int, ...]
ROUNDS = (64, 32, 16)
ANCHOR_SEEDS = 4
LEADERS = 8
"""Best measured mixtures near which the next candidates are drawn, too."""


@dataclass(frozen=True)
class Trial:
    """One run to be measured."""

    units: Units
    """Share of each source, in units of the space."""
    seed: int


@dataclass(frozen=True)
class Measured:
    """A trial and what it scored."""

    trial: Trial
    parts: tuple[float, ...]
    """Scores of which the objective is the weighted mean."""
    score: float
    """The objective; lower is better."""


@dataclass(frozen=True)
class Plan:
    """How much is run, and how it is divided."""

    rounds: tuple[int, ...] = ROUNDS
    """Candidates of each round."""
    seeds: tuple[int, ...] = tuple(range(1, ANCHOR_SEEDS + 1))
    """Of the anchor, and of the optimum in the end; the first is that of every candidate."""
    exploitation: float = 0.75
    """Share of a later round that follows the predictor."""
    name: str = "search"
    """Enters every random draw."""


@dataclass(frozen=True)
class Round:
    """What one round did."""

    number: int
    exploited: int
    explored: int
    rank_correlation: float | None
    """K-fold, of the predictor that chose the candidates; None in the first round."""
    best: float
    """Lowest score measured so far."""


@dataclass(frozen=True)
class Outcome:
    """What the search found."""

    measured: tuple[Measured, ...]
    """Every trial with a score, in the order in which they were asked for; without the final ones."""
    failed: tuple[Trial, ...]
    rounds: tuple[Round, ...]
    objective: FittedObjective
    """The last predictor."""
    noise: Noise
    refused: str | None
    """Why no mixture is recommended; None where one is."""
    optimum: Optimum | None
    anchor: tuple[float, ...]
    """Scores of the anchor, by the plan's seeds as far as they succeeded."""
    confirmed: tuple[float, ...]
    """Scores of the optimum, likewise."""

    @property
    def gain(self) -> Gain | None:
        """What the optimum measured better than the anchor; None where that is not known."""
        return measure_gain(self.anchor, self.confirmed)

    @property
    def reason(self) -> str | None:
        """Why no mixture is recommended, before or after the optimum was measured; None where one is."""
        if self.refused is not None:
            return self.refused
        if not self.confirmed:
            return "no run of the predicted optimum succeeded, so it is not recommended"
        if self.gain is not None and self.gain.low <= 0:
            return (
                f"the predicted optimum measured {self.gain.mean:.4g} better than the anchor, between "
                f"{self.gain.low:.4g} and {self.gain.high:.4g} at 95%, which is not above the noise; "
                "repeat both with more seeds, or train the proxies longer"
            )
        return None


Score = Callable[[Sequence[Trial]], Sequence[tuple[float, ...] | None]]
"""The parts of the objective of each trial, in the order of the weights; None where it failed."""
Recall = Callable[[int, Sequence[Measured], Callable[[], list[Units]]], list[Units]]
"""Round, all scores so far, and a function that chooses the candidates: the candidates of that round."""


def propose_anew(number: int, measured: Sequence[Measured], make: Callable[[], list[Units]]) -> list[Units]:
    """Choose the candidates; the `Recall` of a search that keeps nothing."""
    return make()


def search(
    space: Space,
    plan: Plan,
    score: Score,
    weights: Mapping[str, float],
    families: Mapping[str, Fit],
    recall: Recall = propose_anew,
) -> Outcome:
    """Run the search.

    Args:
        space: where candidates may lie.
        plan: rounds and seeds.
        score: measures trials.
        weights: of the objective's parts, by name; they sum to 1.
        families: predictors to choose from.
        recall: keeps the candidates of a round.

    Raises:
        SpecError: when fewer than two different mixtures have a score.
    """
    state = _Search(space, plan, score, weights, families)
    state.measure([Trial(space.anchor, seed) for seed in plan.seeds])
    for number, count in enumerate(plan.rounds, start=1):
        state.run_round(number, count, recall)
    return state.conclude()


class _Search:
    """The scores so far."""

    def __init__(
        self, space: Space, plan: Plan, score: Score, weights: Mapping[str, float], families: Mapping[str, Fit]
    ) -> None:
        self._space, self._plan, self._score = space, plan, score
        self._weights, self._families = weights, families
        self._measured: list[Measured] = []
        self._failed: list[Trial] = []
        self._rounds: list[Round] = []

    def measure(self, trials: Sequence[Trial]) -> list[float]:
        """Measure trials and keep what they scored; return the scores of those that succeeded."""
        scored = list(zip(trials, self._score(trials), strict=True))
        done = [Measured(trial, parts, self._mean(parts)) for trial, parts in scored if parts is not None]
        self._measured += done
        self._failed += [trial for trial, parts in scored if parts is None]
        return [one.score for one in done]

    def run_round(self, number: int, count: int, recall: Recall) -> None:
        """Choose candidates, measure them, and note what the round did."""
        objective = self._fit() if number > 1 else None
        exploited = round(self._plan.exploitation * count) if objective is not None else 0

        def make() -> list[Units]:
            return self._candidates(number, count, exploited, objective)

        candidates = recall(number, self._measured, make)
        self.measure([Trial(units, self._plan.seeds[0]) for units in candidates])
        self._rounds.append(
            Round(
                number=number,
                exploited=min(exploited, len(candidates)),
                explored=max(0, len(candidates) - exploited),
                rank_correlation=None if objective is None else objective.validation.rank_correlation,
                best=min((one.score for one in self._measured), default=float("nan")),
            )
        )

    def conclude(self) -> Outcome:
        """Recommend a mixture and measure it, or say why none is recommended."""
        objective = self._fit()
        shares, parts = self._rows()
        noise = measure_noise(shares, np.array([one.score for one in self._measured]), objective.validation)
        refused = refusal(noise, objective.validation.rank_correlation)
        measured, anchor = tuple(self._measured), self._scores_of(self._space.anchor)
        optimum, confirmed = None, []
        if refused is None:
            residual = objective.validation.residual_deviation
            optimum = recommend(objective.predictor, self._space, (shares, parts), residual, self._plan.name)
            confirmed = self.measure([Trial(optimum.units, seed) for seed in self._plan.seeds])
        return Outcome(
            measured=measured,
            failed=tuple(self._failed),
            rounds=tuple(self._rounds),
            objective=objective,
            noise=noise,
            refused=refused,
            optimum=optimum,
            anchor=anchor,
            confirmed=tuple(confirmed),
        )

    def _candidates(self, number: int, count: int, exploited: int, objective: FittedObjective | None) -> list[Units]:
        random = generator(self._plan.name, "round", number)
        tried = {one.trial.units for one in self._measured} | {trial.units for trial in self._failed}
        run = units_of(self._space, sorted(tried))
        if objective is None:
            return _as_tuples(explore(self._space, count, sorted(tried), random))
        pool = self._pool(random)
        order = np.argsort(objective.predictor.predict(shares_of(pool)), kind="stable")
        best = select(pool[order], run, exploited)
        far = select_farthest(draw(self._space, POOL // 4, random), np.vstack([run, best]), count - len(best))
        return _as_tuples(np.vstack([best, far]))

    def _pool(self, random: np.random.Generator) -> UnitArray:
        leaders = sorted(self._measured, key=lambda one: one.score)[:LEADERS]
        shares = shares_of(units_of(self._space, [one.trial.units for one in leaders]))
        near = [draw_near(self._space, np.repeat(shares, 64, axis=0), size, random) for size in (30.0, 100.0)]
        return np.unique(np.vstack([draw(self._space, POOL, random), *near]), axis=0)

    def _fit(self) -> FittedObjective:
        shares, parts = self._rows()
        if len(np.unique(shares, axis=0)) < 2:
            raise SpecError(
                f"{len(self._failed)} of {len(self._failed) + len(self._measured)} runs failed, and fewer than two "
                "mixtures have a score; a search cannot learn from that"
            )
        return fit_objective(self._families, shares, parts, self._weights)

    def _rows(self) -> tuple[FloatArray, FloatArray]:
        units = units_of(self._space, [one.trial.units for one in self._measured])
        parts = np.array([one.parts for one in self._measured], dtype=np.float64)
        return shares_of(units), parts.reshape(-1, len(self._weights))

    def _mean(self, parts: tuple[float, ...]) -> float:
        return sum(weight * part for weight, part in zip(self._weights.values(), parts, strict=True))

    def _scores_of(self, units: Units) -> tuple[float, ...]:
        return tuple(one.score for one in self._measured if one.trial.units == units)


def _as_tuples(units: UnitArray) -> list[Units]:
    return [tuple(int(count) for count in row) for row in units]
