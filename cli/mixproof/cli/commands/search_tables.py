"""`mixproof search --weights --scores`: predictors of existing results, predictions and a recommendation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from rich.markup import escape

from mixproof.cli.options import read_quantities
from mixproof.cli.output import amount, emit_json, stdout, table
from mixproof.cli.progress.show import stage_progress
from mixproof.cli.progress.stages import PREDICTORS
from mixproof.cli.tables.choice_report import choice_json as final_choice_json
from mixproof.cli.tables.choice_report import print_choice
from mixproof.cli.tables.compare_table import print_not_audited
from mixproof.cli.tables.search_report import choice_json, noise_json, objective_json, print_choices, print_objective
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.choose import Choice, choose
from mixproof.mixtures.search.joint.sizes import Sizes, check_sizes
from mixproof.mixtures.search.objective import FittedObjective, combine
from mixproof.mixtures.search.observations import Observations, read_mixtures, read_observations
from mixproof.mixtures.search.phases.run_phases import RunPhases, read_phases
from mixproof.mixtures.search.phases.spanned import read_caps, spanned_space
from mixproof.mixtures.search.predictors.families import families
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.study import (
    Recommendation,
    anchor_of,
    carried_to,
    check_size,
    objective_weights,
    recommend_from,
)
from mixproof.pipeline.cluster.task_progress import TaskProgress
from mixproof.train.reported.runs_table import UNCHECKED


@dataclass(frozen=True)
class TablesAsked:
    """Options of a search from tables."""

    objective: list[str]
    anchor: str | None
    target: str | None
    finalists: int
    prior: float
    phases: str | None = None
    caps: tuple[str, ...] = ()


def search_tables(weights: Path, scores: Path, predict: Path | None, asked: TablesAsked, as_json: bool) -> None:
    """Fit predictors to the tables, predict, and recommend."""
    observations = read_observations(weights, scores, None if asked.phases is None else read_phases(asked.phases))
    check_size(observations)
    weighed = objective_weights(observations, asked.objective)
    caps = read_caps(asked.caps, observations.mixtures.sources)
    anchored = anchor_of(observations, asked.anchor, caps)
    spanned_space(observations.mixtures.sources, observations.mixtures.shares, observations.mixtures.phases, caps)
    target = target_size(observations, asked.target, weights)
    to_predict = None if predict is None else read_mixtures(predict, observations.mixtures)
    with one_blas_thread():
        if target is not None:
            observations = carried_to(observations, target.values)
        scores_minimized = observations.values[:, [observations.scores.index(name) for name in weighed]]
        choices = _choose_all(observations)
        overall = combine({name: choices[name] for name in weighed}, scores_minimized, weighed)
        found = recommend_from(
            observations.mixtures, scores_minimized, overall, anchored, asked.finalists, asked.prior, caps
        )
    predictions = (
        {name: choice.predictor.predict(to_predict) for name, choice in choices.items()}
        if to_predict is not None
        else {}
    )
    if as_json:
        sizes = {} if target is None else target.to_json()
        emit_json(
            {
                **sizes,
                **_phases_json(observations.mixtures.phases),
                **_tables_json(choices, predictions, overall, found, observations.index),
            }
        )
    else:
        if target is not None:
            stdout.print(target.in_words(), soft_wrap=True)
        _print_tables(choices, predictions, overall, found, observations.index)
    if predict is None and found.choice is None:
        raise typer.Exit(1)


def _choose_all(observations: Observations) -> dict[str, Choice]:
    """Choose a predictor for every score, several at a time."""
    targets = {name: observations.values[:, column] for column, name in enumerate(observations.scores)}
    fits, shares = families(), observations.mixtures.shares
    with stage_progress((PREDICTORS,)) as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        progress(TaskProgress("predictors", 0, len(targets)))
        waiting = {name: pool.submit(choose, fits, shares, values) for name, values in targets.items()}
        for done, _ in enumerate(as_completed(waiting.values()), start=1):
            progress(TaskProgress("predictors", done, len(targets)))
        return {name: future.result() for name, future in waiting.items()}


def _tables_json(
    choices: Mapping[str, Choice],
    predictions: Mapping[str, FloatArray],
    overall: FittedObjective,
    found: Recommendation,
    index: Sequence[str],
) -> dict[str, object]:
    return {
        "predictions": {name: values.tolist() for name, values in predictions.items()},
        "predictors": {name: choice_json(choice) for name, choice in choices.items()},
        "objective": objective_json(overall),
        "noise": noise_json(found.noise),
        "refused": found.refused,
        "audited": False,
        "unchecked": list(UNCHECKED),
        **final_choice_json(found.choice, index),
    }


def _phases_json(phases: RunPhases | None) -> dict[str, object]:
    """The phases of the runs; empty if mixtures hold for the whole run."""
    if phases is None:
        return {}
    ends = zip(phases.names, phases.ends, strict=True)
    return {"phases": [{"name": name, "until": float(end)} for name, end in ends]}


def _print_tables(
    choices: Mapping[str, Choice],
    predictions: Mapping[str, FloatArray],
    overall: FittedObjective,
    found: Recommendation,
    index: Sequence[str],
) -> None:
    print_choices(choices)
    print_objective(overall)
    if predictions:
        rows = [(str(row + 1), *(f"{value:.4f}" for value in values)) for row, values in _by_row(predictions)]
        stdout.print(table("Predicted scores, by row of the file", ("row", *predictions), rows))
    if found.choice is not None:
        print_choice(found.choice, index)
        stdout.print(
            "no share exceeds the largest one that was run; supply and caps are not known from tables, except by --cap",
            soft_wrap=True,
        )
    else:
        stdout.print(f"[bold]no mixture recommended:[/] {escape(str(found.refused))}", soft_wrap=True)
    print_not_audited("results")


def _by_row(predictions: Mapping[str, FloatArray]) -> list[tuple[int, list[float]]]:
    columns = list(predictions.values())
    return [(row, [float(column[row]) for column in columns]) for row in range(len(columns[0]))]


@dataclass(frozen=True)
class TargetSize:
    """The size that is predicted, which no run has."""

    sizes: Sizes
    """Of the runs."""
    values: FloatArray
    """[names of sizes]"""

    def to_json(self) -> dict[str, object]:
        """The target, and the sizes that were run with the number of runs of each."""
        return {
            "target": _named(self.sizes, self.values),
            "sizes": [{**_named(self.sizes, size), "runs": runs} for size, runs in self._runs()],
        }

    def in_words(self) -> str:
        """What was run and what is predicted."""
        run = "; ".join(f"{runs:,} runs of {_spelled(self.sizes, size)}" for size, runs in self._runs())
        return (
            f"All scores are carried to {_spelled(self.sizes, self.values)} by a joint law of mixture and size. "
            f"Fitted to {run}."
        )

    def _runs(self) -> list[tuple[FloatArray, int]]:
        sizes, runs = np.unique(self.sizes.values, axis=0, return_counts=True)
        return list(zip(sizes, runs.tolist(), strict=True))


def target_size(observations: Observations, given: str | None, weights: Path) -> TargetSize | None:
    """Read `--target`; None for runs whose table states no size.

    Raises:
        RequestError, SpecError: when only one of the two is there, or they do not fit each other.
    """
    sizes = observations.sizes
    if sizes is None:
        if given is not None:
            raise RequestError(
                f"--target {given}: {weights} has no column `parameters` or `tokens`; add the size of runs"
            )
        return None
    if given is None:
        example = ",".join(f"{name}=..." for name in sizes.names)
        raise RequestError(f"{weights} has sizes of runs; name the size to predict: --target {example}")
    target = TargetSize(sizes, sizes.target(read_quantities("--target", given)))
    check_sizes(sizes)
    return target


def _named(sizes: Sizes, values: FloatArray) -> dict[str, int]:
    return {name: int(value) for name, value in zip(sizes.names, values.tolist(), strict=True)}


def _spelled(sizes: Sizes, values: FloatArray) -> str:
    return " and ".join(f"{amount(value)} {name}" for name, value in _named(sizes, values).items())
