"""`mixproof search`: find the mixture with the lowest predicted score, by CLIMB's loop or from existing results.

`search SPEC` trains its candidates (search_spec.py). `search --weights W.csv --scores S.csv` fits predictors to
existing results, and with `--predict P.csv` also predicts the scores of other mixtures. Exit code 1 when no mixture is
recommended and no predictions were requested.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixproof.cli.options import (
    DEFAULT_STORE,
    AddressOption,
    JsonOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WorkersOption,
)
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.search import FINALISTS, REPEATS, ROUNDS

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
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="parameters=N,tokens=D",
        help="With --weights of several sizes: the size to predict, such as parameters=1B,tokens=20B.",
    ),
]
PhasesOption = Annotated[
    str | None,
    typer.Option(
        "--phases",
        metavar="NAME=END,...",
        help="With --weights: phases of the runs and where each ends, such as stable=80%,decay=100%; shares are then "
        "in columns such as stable:web.",
    ),
]
CapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cap",
        metavar="SOURCE=SHARE",
        help="With --weights: largest share of a source over the whole run; repeatable.",
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
    target: TargetOption = None,
    phases: PhasesOption = None,
    cap: CapOption = None,
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
        options: dict[str, object] = {"--scores": scores, "--predict": predict, "--objective": objective}
        options |= {"--anchor": anchor, "--target": target, "--phases": phases, "--cap": cap}
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
    from .search_tables import TablesAsked, search_tables

    asked = TablesAsked(objective or [], anchor, target, finalists or FINALISTS, prior_weight, phases, tuple(cap or ()))
    search_tables(weights, scores, predict, asked, as_json)


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
