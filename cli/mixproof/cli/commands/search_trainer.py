"""The trials of a search as runs, and the candidates of its rounds in the store.

A candidate is named by its shares, so that its runs are reused in any round, and all runs share one draw per source.
In a search for the decay they also share the trunk, because their first phases are equal
(`mixproof.train.loop.trunk`). The candidates of a round are stored under the scores that they follow from, so that a
killed search resumes with the same candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import orjson
from rich.markup import escape

from mixproof.cli.output import stderr
from mixproof.cli.progress.show import StageProgress
from mixproof.cli.request import Request
from mixproof.cli.task_objective import benchmarks_of_tasks
from mixproof.ledger.errors import MixproofError
from mixproof.ledger.fingerprint import sha256_of, stage_key
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.search.outcome import Measured, Trial, Units
from mixproof.mixtures.search.plan import Plan
from mixproof.mixtures.search.predictors.families import families
from mixproof.mixtures.search.race.account import RaceTokens, Run, RunTokens, race_tokens
from mixproof.mixtures.search.setup.candidate_runs import CandidateRuns
from mixproof.mixtures.search.space import Space
from mixproof.mixtures.values.quantities import exact_string
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.compare.ranked_score import ranked_score
from mixproof.train.compare.task_scores import TaskScore
from mixproof.train.evaluate.external.external import score_external
from mixproof.train.evaluate.external.task_results import read_task_scores
from mixproof.train.launch.family import train_all
from mixproof.train.outcome import RunOutcome

SEARCH = "search"
SEARCH_VERSION = 4
"""Increment when the same scores would lead to different candidates."""
CANDIDATES = "candidates.json"


class Trainer:
    """Measures trials by training them."""

    def __init__(
        self,
        request: Request,
        manifest: Manifest,
        cluster: Cluster,
        progress: StageProgress,
        proxy: str,
        candidates: CandidateRuns,
        parts: tuple[str, ...],
        first_seed: int,
    ) -> None:
        self._request, self._manifest, self._cluster, self._progress = request, manifest, cluster, progress
        self._proxy, self._candidates, self._parts, self._first_seed = proxy, candidates, parts, first_seed
        self._benchmarks = benchmarks_of_tasks(request)
        self._least_tokens = candidates.draw_tokens()
        self.runs: list[RunOutcome] = []
        """Every run of the search, in order."""
        self._finished: list[Run] = []
        self._tokens_of: dict[Fraction, RunTokens] = {}

    def score(self, trials: Sequence[Trial]) -> list[tuple[float, ...] | None]:
        """Train the trials without a run; return the objective sources' bits per byte, None for a failed run.

        Raises:
            MixproofError: when runs stopped for another reason than their training, such as a store that did not
                answer: candidates chosen without them would differ from those of an undisturbed search.
        """
        stopped: list[RunOutcome] = []
        scores: dict[Trial, tuple[float, ...] | None] = {}
        seeds_of: dict[tuple[Units, Fraction], list[int]] = {}
        for trial in trials:
            seeds_of.setdefault((trial.units, trial.part), []).append(trial.seed)
        for part, seeds in dict.fromkeys((part, tuple(seeds)) for (_, part), seeds in seeds_of.items()):
            mixtures = {
                candidate_name(self._candidates, units): units
                for (units, own_part), own in seeds_of.items()
                if own_part == part and tuple(own) == seeds
            }
            outcomes = self._train(mixtures, seeds, part)
            stopped += [outcome for outcome in outcomes if outcome.record is None]
            tasks = self._score_tasks(outcomes)
            for outcome in outcomes:
                self.runs.append(outcome)
                self._note_tokens(outcome, Trial(mixtures[outcome.mixture], outcome.seed, part))
                scores[Trial(mixtures[outcome.mixture], outcome.seed, part)] = self._parts_of(
                    outcome, tasks.get(outcome.key, {})
                )
        if stopped:
            raise MixproofError(
                f"{len(stopped)} of {len(trials)} runs of this round stopped before their end (see above), so no "
                "further candidates are chosen. Finished work is kept: the same command resumes"
            )
        return [scores[trial] for trial in trials]

    @property
    def race_tokens(self) -> RaceTokens | None:
        """Tokens of all finished runs; None without a race."""
        return race_tokens(self._finished, self._tokens_of, self._first_seed) if self._candidates.rungs else None

    def _note_tokens(self, outcome: RunOutcome, trial: Trial) -> None:
        if outcome.done and outcome.record is not None and self._candidates.rungs:
            *trunk, decay = (phase.samples * outcome.record.sequence_length for phase in outcome.record.phases)
            self._tokens_of[trial.part] = RunTokens(sum(trunk), decay)
            self._finished.append((trial.units, trial.seed, trial.part))

    def _train(self, mixtures: Mapping[str, Units], seeds: tuple[int, ...], part: Fraction) -> list[RunOutcome]:
        spec = self._request.spec
        train = spec.train.model_copy(
            update={"proxies": {self._proxy: spec.train.proxies[self._proxy]}, "seeds": seeds}
        )
        declared = {name: self._candidates.run(units, part) for name, units in mixtures.items()}
        family = spec.model_copy(update={"mixtures": declared, "train": train})
        return train_all(
            family,
            self._manifest,
            self._request.store,
            self._cluster,
            least_tokens=self._least_tokens,
            on_progress=self._progress.runs,
        )

    def _parts_of(self, outcome: RunOutcome, tasks: Mapping[str, TaskScore]) -> tuple[float, ...] | None:
        if not outcome.done or outcome.record is None:
            name = f"{outcome.mixture} × {outcome.proxy} × seed {outcome.seed}"
            stderr.print(f"[bold red]failed:[/] {name}: {escape(str(outcome.reason))}", soft_wrap=True)
            return None
        heldout, score = outcome.record.heldout, ranked_score(self._request.spec.objective)
        values = [tasks[name].value if name in tasks else score.of(heldout[name]) for name in self._parts]
        return tuple(value for value in values if value is not None)  # every set has bits per byte or the default

    def _score_tasks(self, outcomes: Sequence[RunOutcome]) -> dict[str, dict[str, TaskScore]]:
        """Score finished runs on the tasks of the objective, by the run's key and by part."""
        objective, store = self._request.spec.objective, self._request.store
        if objective is None or not objective.tasks:
            return {}
        score_external(outcomes, self._benchmarks, store, self._cluster)
        return read_task_scores(outcomes, self._benchmarks, store, objective.tasks)


def candidate_name(candidates: CandidateRuns, units: Units) -> str:
    """Name a candidate by its mixture, so that every round finds the same runs."""
    space = candidates.space
    plain = space.pins is None and candidates.trunk is None
    named = _units_by_source(space, units) if plain else candidates.mixture(units).model_dump(mode="json")
    return f"candidate-{sha256_of(named)[:12]}"


def recall_from(
    store: Store, candidates: CandidateRuns, plan: Plan, weights: Mapping[str, float]
) -> Callable[[int, Sequence[Measured], Callable[[], list[Units]]], list[Units]]:
    """Keep the candidates of each round in the store, under a key of everything that they follow from."""
    space = candidates.space

    def recall(number: int, measured: Sequence[Measured], make: Callable[[], list[Units]]) -> list[Units]:
        config = {
            "name": plan.name,
            "rounds": plan.rounds,
            "seeds": plan.seeds,
            "number": number,
            "families": sorted(families()),
            "weights": {name: weight.hex() for name, weight in weights.items()},
            "least_ratios": {name: ratio.hex() for name, ratio in plan.least_ratios.items()},
            "most_units": dict(zip(space.sources, space.most_units, strict=True)),
            "least_units": _common(space.least_units),
            "center": dict(zip(space.sources, space.center, strict=True)),
            **_beyond_shares(candidates),
            **_race(plan),
        }
        scores = [
            [
                _units_by_source(space, one.trial.units),
                one.trial.seed,
                [part.hex() for part in one.parts],
                *([] if one.trial.part == 1 else [exact_string(one.trial.part)]),
            ]
            for one in measured
        ]
        key = stage_key(SEARCH, SEARCH_VERSION, config, scores)
        if store.receipt(SEARCH, key) is None:
            with store.attempt(SEARCH, key) as attempt:
                attempt.path(CANDIDATES).write_bytes(orjson.dumps(make()))
                attempt.commit()
        kept = orjson.loads(store.path(f"{SEARCH}/{key}/{CANDIDATES}").read_bytes())
        return [tuple(units) for units in kept]

    return recall


def _common(values: Sequence[int]) -> int | list[int]:
    """One value if all are equal."""
    return values[0] if len(set(values)) == 1 else list(values)


def _beyond_shares(candidates: CandidateRuns) -> dict[str, Any]:
    """What is fixed and the trunk; empty for a search over all sources and the whole run."""
    pins, trunk, anchor = candidates.space.pins, candidates.trunk, candidates.space.anchor_shares
    members = {} if pins is None else {part: dict(of) for part, of in pins.members.items()}
    return {
        **({} if pins is None else {"fixed": dict(pins.fixed), "members": members}),
        **({} if trunk is None else {"trunk": trunk.phase.model_dump(mode="json"), "trunk_shares": dict(trunk.shares)}),
        **({} if anchor is None else {"anchor": list(anchor)}),
    }


def _race(plan: Plan) -> dict[str, Any]:
    """The rungs of the rounds; empty without a race."""
    if plan.race is None:
        return {}
    rungs = [exact_string(rung) for rung in plan.race.rungs]
    return {"race": {"rungs": rungs, "confidence": exact_string(plan.race.confidence)}}


def _units_by_source(space: Space, units: Units) -> dict[str, int]:
    """The positive units of a candidate."""
    return {name: count for name, count in zip(space.sources, units, strict=True) if count}
