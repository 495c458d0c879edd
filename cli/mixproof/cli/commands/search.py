"""`mixproof search`: find the mixture with the lowest predicted score, by CLIMB's loop or from existing results.

`search SPEC` trains its candidates (search_spec.py). `search --weights W.csv --scores S.csv` fits predictors to
existing results, and with `--predict P.csv` also predicts the scores of other mixtures. Exit code 1 when no mixture is
recommended and no predictions were requested.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mixproof.cli.choice_report import choice_json as final_choice_json
from mixproof.cli.choice_report import print_choice
from mixproof.cli.compare_table import print_not_audited
from mixproof.cli.options import (
    DEFAULT_STORE,
    AddressOption,
    JsonOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WorkersOption,
)
from mixproof.cli.output import emit_json, stdout, table
from mixproof.cli.progress.show import stage_progress
from mixproof.cli.progress.stages import PREDICTORS
from mixproof.cli.search_report import (
    choice_json,
    noise_json,
    objective_json,
    print_choices,
    print_objective,
)
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.search import FINALISTS, REPEATS, ROUNDS
from mixproof.mixtures.search.blas import one_blas_thread
from mixproof.mixtures.search.choose import Choice, choose
from mixproof.mixtures.search.objective import FittedObjective, combine
from mixproof.mixtures.search.observations import Observations, read_mixtures, read_observations
from mixproof.mixtures.search.predictors.families import families
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.study import Recommendation, anchor_of, check_size, objective_weights, recommend_from
from mixproof.pipeline.cluster.task_progress import TaskProgress
from mixproof.train.reported.runs_table import UNCHECKED

SpecArgument = Annotated[Path | None, typer.Argument(metavar="[SPEC]", help="Spec to train candidates for.")]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", metavar="CSV", help="Mixtures that were run: one column per source.")
]
ScoresOption = Annotated[
    Path | None, typer.Option("--scores", metavar="CSV", help="Their scores, lower is better: one column per score.")
]
PredictOption = Annotated[Path | None, typer.Option("--predict", metavar="CSV", help="Mixtures to predict.")]
ObjectiveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        metavar="SCORE",
        help="With --scores: score to minimize; repeat for a mean; default: mean of all.",
    ),
]
AnchorOption = Annotated[
    str | None,
    typer.Option(
        "--anchor",
        metavar="INDEX",
        help="With --weights: index of the mixture to beat; default: the most repeated one, or the most central one.",
    ),
]
ProxyOption = Annotated[
    str | None,
    typer.Option("--proxy", help="Proxy to train candidates with; default: the spec's search, or its first."),
]
DEFAULT_ROUNDS = ",".join(map(str, ROUNDS))
RoundsOption = Annotated[
    str | None,
    typer.Option(
        "--rounds",
        metavar="N,N,...",
        help=f"Number of candidates in each round; default: the spec's search, or {DEFAULT_ROUNDS}.",
    ),
]
RepeatsOption = Annotated[
    int | None,
    typer.Option(
        "--repeats",
        min=1,
        help=f"Seeds of the anchor, and fresh seeds of each finalist; default: the spec's search, or {REPEATS}.",
    ),
]
RepeatCandidatesOption = Annotated[
    int | None,
    typer.Option(
        "--repeat-candidates",
        min=0,
        metavar="N",
        help="Candidates of the first round to run a second time, to see whether noise depends on the mixture; "
        "default: the spec's search, or an eighth of the round.",
    ),
]
FinalistsOption = Annotated[
    int | None,
    typer.Option(
        "--finalists",
        min=1,
        help="Best measured mixtures to compare with the predicted optimum; default: the spec's search, or "
        f"{FINALISTS}.",
    ),
]
PriorOption = Annotated[
    float,
    typer.Option(
        "--prior-weight",
        min=0.0,
        metavar="SCORE",
        help="Keep the optimum near the proportional mixture: score that a KL divergence of one nat costs.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", metavar="YAML", help="Spec to write with the mixture found; default: SPEC-found.yaml."),
]


def search(
    spec: SpecArgument = None,
    weights: WeightsOption = None,
    scores: ScoresOption = None,
    predict: PredictOption = None,
    objective: ObjectiveOption = None,
    anchor: AnchorOption = None,
    proxy: ProxyOption = None,
    rounds: RoundsOption = None,
    repeats: RepeatsOption = None,
    repeat_candidates: RepeatCandidatesOption = None,
    finalists: FinalistsOption = None,
    prior_weight: PriorOption = 0.0,
    output: OutputOption = None,
    store: StoreOption = DEFAULT_STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Search for the best mixture: train candidates of SPEC in rounds, or fit predictors to --weights and --scores."""
    if (spec is None) == (weights is None):
        raise RequestError("search needs either a SPEC, or --weights and --scores with existing results")
    if spec is not None:
        options = {"--scores": scores, "--predict": predict, "--objective": objective, "--anchor": anchor}
        unused = [name for name, value in options.items() if value]
        if unused:
            raise RequestError(f"{unused[0]} needs --weights; a SPEC names its own objective")
        from .search_spec import SearchOptions, search_spec  # brings Ray, which tables do not need

        declared = {
            "proxy": proxy,
            "rounds": _rounds(rounds),
            "repeats": repeats,
            "repeat_candidates": repeat_candidates,
            "finalists": finalists,
        }
        given = {key: value for key, value in declared.items() if value is not None}
        search_spec(spec, SearchOptions(given, prior_weight, output, store, address, workers, as_json))
        return
    assert weights is not None
    if scores is None:
        raise RequestError("--weights needs --scores, the scores of those mixtures")
    search_tables(weights, scores, predict, objective or [], anchor, finalists or FINALISTS, prior_weight, as_json)


def search_tables(
    weights: Path,
    scores: Path,
    predict: Path | None,
    objective: list[str],
    anchor: str | None,
    finalists: int,
    prior: float,
    as_json: bool,
) -> None:
    """Fit predictors to the tables, predict, and recommend."""
    observations = read_observations(weights, scores)
    check_size(observations)
    weighed = objective_weights(observations, objective)
    anchored = anchor_of(observations, anchor)
    to_predict = None if predict is None else read_mixtures(predict, observations.mixtures.sources)
    scores_minimized = observations.values[:, [observations.scores.index(name) for name in weighed]]
    with one_blas_thread():
        choices = _choose_all(observations)
        overall = combine({name: choices[name] for name in weighed}, scores_minimized, weighed)
        found = recommend_from(observations.mixtures, scores_minimized, overall, anchored, finalists, prior)
    predictions = (
        {name: choice.predictor.predict(to_predict) for name, choice in choices.items()}
        if to_predict is not None
        else {}
    )
    if as_json:
        emit_json(_tables_json(choices, predictions, overall, found, observations.index))
    else:
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
        stdout.print("no share exceeds the largest one that was run; supply and caps are not known from tables")
    else:
        stdout.print(f"[bold]no mixture recommended:[/] {escape(str(found.refused))}", soft_wrap=True)
    print_not_audited("results")


def _by_row(predictions: Mapping[str, FloatArray]) -> list[tuple[int, list[float]]]:
    columns = list(predictions.values())
    return [(row, [float(column[row]) for column in columns]) for row in range(len(columns[0]))]


def _rounds(text: str | None) -> tuple[int, ...] | None:
    """Read `64,32,16`."""
    if text is None:
        return None
    try:
        rounds = tuple(int(part) for part in text.split(","))
    except ValueError:
        rounds = ()
    if not rounds or min(rounds) < 1:
        raise RequestError(f"--rounds {text}: give the number of candidates in each round, such as 64,32,16")
    return rounds
