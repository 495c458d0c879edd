"""`mixproof compare`: rank the mixtures of one or more specs, within groups of comparable runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mixproof.cli.options import DEFAULT_STORE, STORE_VARIABLE, JsonOption, StoresOption, VerboseOption
from mixproof.cli.output import Cell, count, emit_json, percent, stdout, table
from mixproof.cli.page_file import HtmlOption, check_html
from mixproof.cli.report import write_report
from mixproof.cli.request import Request, open_request
from mixproof.cli.tables.compare_table import compare_table, refuse_with_table
from mixproof.cli.tables.external_tables import print_external
from mixproof.cli.tables.parts_table import print_parts
from mixproof.cli.task_objective import anchor_of, task_scores
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.mixtures.blocks.mixture import Objective
from mixproof.tokenize.audit import AuditReport, audit_build, copy_build
from mixproof.train.audit.run import audit_run
from mixproof.train.compare.compare import compare as compare_runs
from mixproof.train.compare.comparison import Comparison, Group
from mixproof.train.compare.ranking import Ranking
from mixproof.train.compare.rows import Row, delivered_key, is_supervised
from mixproof.train.evaluate.external.external import ExternalScores, find_external, read_external
from mixproof.train.launch.plan import plan_requests
from mixproof.train.outcome import RunOutcome, find_outcomes
from mixproof.train.record import RUN, RunRecord

MOST_COLUMNS = 6
"""Sources or mixtures side by side in one table; a terminal is not wider."""
SpecsArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[SPEC]...", help="One or more specs whose runs are compared.")
]
TableOption = Annotated[
    Path | None,
    typer.Option("--table", metavar="RUNS", help="Runs from elsewhere: mixture, parameters, tokens, seed, and scores."),
]
ObjectiveOption = Annotated[
    list[str] | None,
    typer.Option("--objective", metavar="SCORE", help="With --table: score to rank by; repeat for a mean."),
]
HigherOption = Annotated[
    bool, typer.Option("--higher-is-better", help="With --table: rank by the highest score instead of the lowest.")
]
AcrossOption = Annotated[
    str | None,
    typer.Option("--across", metavar="AXIS", help="One axis that may differ: tokens, flops, tokenizer or recipe."),
]


def compare(
    specs: SpecsArgument = None,
    runs_table: TableOption = None,
    objective: ObjectiveOption = None,
    higher_is_better: HigherOption = False,
    across: AcrossOption = None,
    store: StoresOption = None,
    html: HtmlOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Rank the mixtures of SPEC among comparable runs; exit code 1 when no two mixtures are comparable."""
    if bool(specs) == bool(runs_table):
        raise RequestError(
            "compare needs either a SPEC or --table; runs of a table are not audited and never ranked with audited ones"
        )
    if runs_table is not None:
        refuse_with_table({"--across": across, "--html": html, "--store": store})
        compare_table(runs_table, objective or [], higher_is_better, as_json)
        return
    if objective or higher_is_better:
        raise RequestError("--objective and --higher-is-better need --table; a SPEC names its own objective")
    check_html(html)
    requests = open_requests(specs or [], store or [os.environ.get(STORE_VARIABLE, DEFAULT_STORE)])
    runs = [runs_of(request) for request in requests]
    comparison = compare_requests(requests, runs, across)
    if html is not None:
        write_report(html, requests, runs, comparison)
    outcomes, external = _external(requests, runs)
    if as_json:
        scores = {"external": {one.run: one.to_json() for one in external}} if external else {}
        emit_json(comparison.to_json() | scores)
    else:
        print_comparison(comparison)
        print_external(outcomes, external)
    if not comparison.comparable:
        raise typer.Exit(1)


def open_requests(specs: Sequence[Path], stores: Sequence[str]) -> list[Request]:
    """Open each spec in every store that holds its build.

    Raises:
        RequestError: when none of the stores holds a spec's build.
    """
    found = []
    for spec in specs:
        opened = [open_request(spec, store) for store in dict.fromkeys(stores)]
        built = [request for request in opened if request.find_manifest() is not None]
        if not built and len(opened) > 1:
            raise RequestError(f"{spec}: has no build in {', '.join(map(str, stores))}; build it in one of them first")
        found += built or opened
    return found


def runs_of(request: Request) -> list[RunOutcome]:
    """Look at the runs of a spec without training any.

    Raises:
        RequestError: when the spec is not built, or none of its runs was started.
    """
    return find_outcomes(plan_requests(request.spec, request.manifest(), request.store, None))


def compare_requests(
    requests: Sequence[Request], runs: Sequence[Sequence[RunOutcome]], across: str | None = None
) -> Comparison:
    """Compare the finished runs of some specs.

    Builds are audited at depth arithmetic; runs as well, including every file that the comparison reads.

    Args:
        requests: one for each spec and store.
        runs: the runs of each request.
        across: the axis that may differ.

    Raises:
        RequestError: when no run is finished, or the specs' objectives differ.
    """
    records: list[RunRecord] = []
    audits: dict[str, bool] = {}
    faults: dict[str, str] = {}
    folders: dict[str, Path] = {}

    def audited(name: str, report: AuditReport) -> None:
        audits[name] = report.ok
        if report.failures:
            faults[name] = str(report.failures[0])

    manifests: dict[str, Manifest] = {}
    for request, outcomes in zip(requests, runs, strict=True):
        path = request.manifest_path()
        manifest = read_manifest(path)
        manifests[manifest.build] = manifest
        copy_build(request.store, path, "arithmetic")
        audited(manifest.build, audit_build(path, "arithmetic"))
        for outcome in outcomes:
            if outcome.record is not None:
                records.append(outcome.record)
                folders[outcome.key] = Path(outcome.folder)
                audited(outcome.key, audit_run(Path(outcome.folder) / RUN, "arithmetic", compared=True))
    if not records:
        names = " ".join(str(request.loaded.path) for request in requests)
        raise RequestError(f"no run of {names} is finished; run `mixproof train` first")
    return compare_runs(
        records,
        _one_objective(requests),
        across,
        audits=audits,
        faults=faults,
        folders=folders,
        manifests=manifests,
        tasks=task_scores(requests, runs),
        anchor=anchor_of(requests),
    )


def _external(
    requests: Sequence[Request], runs: Sequence[Sequence[RunOutcome]]
) -> tuple[list[RunOutcome], list[ExternalScores]]:
    """Runs of the specs that name external sets or tasks, and their scores on these."""
    outcomes: list[RunOutcome] = []
    scores: list[ExternalScores] = []
    for request, found in zip(requests, runs, strict=True):
        if benchmarks := find_external(request.spec, request.loaded.base):
            outcomes += found
            scores += read_external(found, benchmarks, request.store)
    return outcomes, scores


def _one_objective(requests: Sequence[Request]) -> Objective | None:
    """The objective that all specs share.

    Raises:
        RequestError: when two specs have different objectives.
    """
    first = requests[0]
    for other in requests[1:]:
        if other.spec.objective != first.spec.objective:
            raise RequestError(
                f"{first.loaded.path} and {other.loaded.path} have different objectives; give both the same `objective`"
            )
    return first.spec.objective


def print_comparison(comparison: Comparison) -> None:
    """Print a comparison: one ranking per proxy, the delivered tokens, and the verdict."""
    for group in comparison.groups:
        for ranking in group.rankings.values():
            for shown in _ranking_tables(ranking, comparison.objective):
                stdout.print(shown)
            print_parts(ranking)
        stdout.print(_delivered_table(group))
        for pair in group.agreement:
            names = " and ".join(pair.proxies)
            stdout.print(f"rank agreement of {escape(names)}: Spearman {pair.spearman:.2f}, Kendall {pair.kendall:.2f}")
        if group.across:
            stdout.print(f"[yellow]compared across {escape(group.across)}: these runs differ in it[/]")
    for run in comparison.failed:
        name = f"{run.mixture} × {run.proxy} × seed {run.seed}"
        stdout.print(f"excluded: {escape(name)}: {escape(run.reason)}", soft_wrap=True)
    for reason in comparison.reasons:
        stdout.print(f"[yellow]not comparable:[/] {escape(reason)}", soft_wrap=True)
    for note in comparison.notes:
        stdout.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    stdout.print(f"[bold]{escape(comparison.verdict)}[/]", soft_wrap=True)


def _ranking_tables(ranking: Ranking, objective: str) -> list[Table]:
    """The ranking, with one column per source, or with a second table when there are many sources."""
    sources = sorted({name for row in ranking.rows for name in row.scores})
    beside = sources if len(sources) <= MOST_COLUMNS else []
    columns = ("mixture", "objective", "± seeds", "± documents", "seeds", *beside)
    rows = [
        (row.mixture, f"{row.mean:.4f}", *_margins(row), str(len(row.seeds)), *(_score(row, name) for name in beside))
        for row in ranking.rows
    ]
    tables = [table(f"{ranking.proxy}: {objective}, best first", columns, rows)]
    if not beside:
        best = ranking.rows[:MOST_COLUMNS]
        title = f"{ranking.proxy}: held-out {ranking.unit}" + (
            f" of the best {len(best)} of {len(ranking.rows)} mixtures" if len(best) < len(ranking.rows) else ""
        )
        scores = [(name, *(_score(row, name) for row in best)) for name in sources]
        tables.append(table(title, ("source", *(row.mixture for row in best)), scores))
    if others := sorted({name for row in ranking.rows for name in row.unranked}):
        rows = [(row.mixture, *(_other(row, name) for name in others)) for row in ranking.rows]
        title = f"{ranking.proxy}: bits per byte of held-out sets that do not enter the ranking"
        tables.append(table(title, ("mixture", *others), rows))
    return tables


def _other(row: Row, source: str) -> str:
    return f"{row.unranked[source]:.4f}" if source in row.unranked else ""


def _score(row: Row, source: str) -> str:
    return f"{row.scores[source]:.4f}" if source in row.scores else ""


def _margins(row: Row) -> tuple[str, str]:
    if row.interval is None:
        return "unknown", "unknown"
    documents = row.interval.documents
    return f"{row.interval.seeds:.4f}", "unknown" if documents is None else f"{documents:.4f}"


def _delivered_table(group: Group) -> Table:
    """A line per mixture and proxy, with a line per source below it."""
    columns: tuple[str, ...] = ("mixture × proxy", "declared", "planned tokens", "delivered tokens", "epochs")
    rows: list[tuple[Cell, ...]] = []
    for ranking in group.rankings.values():
        for row in ranking.rows:
            planned = sum(source["planned"] for source in row.delivered.values())
            tokens = sum(source[delivered_key(source)] for source in row.delivered.values())
            head = Text.assemble((row.mixture, "bold"), f" × {ranking.proxy}")
            rows.append((head, "", count(planned), count(tokens), ""))
            for name, source in row.delivered.items():
                delivered = source[delivered_key(source)]
                numbers = (percent(source["declared"]), count(source["planned"]), count(delivered))
                weight = (
                    (f"{source['loss_weight']:g}", percent(source["loss_share"])) if "loss_weight" in source else ()
                )
                rows.append((f"  {name}", *numbers, f"{source['epochs']:.3f}", *weight))
    if any(len(row) > len(columns) for row in rows):
        columns = (*columns, "loss weight", "share of the loss")
    filled = [(*row, *[""] * (len(columns) - len(row))) for row in rows]
    is_counted = any(is_supervised(ranking.rows) for ranking in group.rankings.values())
    counted = ": supervised tokens of the first seed" if is_counted else ""
    return table(f"Declared, planned, delivered{counted}", columns, filled)
