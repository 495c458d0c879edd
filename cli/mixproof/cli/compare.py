"""`mixproof compare`: rank the mixtures of one or more specs, within groups of runs that may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.mixtures.spec import Objective
from mixproof.tokenize.audit import audit_build, copy_build
from mixproof.train.audit_run import audit_run
from mixproof.train.compare import Comparison, Group
from mixproof.train.compare import compare as compare_runs
from mixproof.train.family import find_outcomes
from mixproof.train.plan import plan_requests
from mixproof.train.ranking import Ranking, Row
from mixproof.train.record import RUN, RunRecord

from .options import DEFAULT_STORE, JsonOption, StoreOption
from .output import count, emit_json, stdout, table
from .report import HtmlOption, check_html, write_report
from .request import Request, open_request

SpecsArgument = Annotated[
    list[Path], typer.Argument(metavar="SPEC...", help="One or more specs whose runs to compare.")
]
AcrossOption = Annotated[
    str | None,
    typer.Option("--across", metavar="AXIS", help="One axis that may differ: tokens, flops, tokenizer or recipe."),
]


def compare(
    specs: SpecsArgument,
    across: AcrossOption = None,
    store: StoreOption = DEFAULT_STORE,
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which mixture is better, among runs whose facts agree; exit code 1 when none can be compared."""
    check_html(html)
    requests = [open_request(spec, store) for spec in specs]
    comparison = compare_requests(requests, across)
    if html is not None:
        write_report(html, requests, comparison)
    if as_json:
        emit_json(comparison.to_json())
    else:
        print_comparison(comparison)
    if not comparison.comparable:
        raise typer.Exit(1)


def compare_requests(requests: Sequence[Request], across: str | None = None) -> Comparison:
    """Compare the finished runs of some specs, each build and run audited from its records first."""
    records: list[RunRecord] = []
    audits: dict[str, bool] = {}
    folders: dict[str, Path] = {}
    manifests: dict[str, Manifest] = {}
    for request in requests:
        path = request.manifest_path()
        manifest = read_manifest(path)
        manifests[manifest.build] = manifest
        copy_build(request.store, path, "arithmetic")
        audits[manifest.build] = audit_build(path, "arithmetic").ok
        for outcome in find_outcomes(plan_requests(request.spec, manifest, request.store, None)):
            if outcome.record is not None:
                records.append(outcome.record)
                folders[outcome.key] = Path(outcome.folder)
                audits[outcome.key] = audit_run(Path(outcome.folder) / RUN, "arithmetic").ok
    if not records:
        names = " ".join(str(request.loaded.path) for request in requests)
        raise RequestError(f"no run of {names} is finished; `mixproof train` trains them")
    objective = _one_objective(requests)
    return compare_runs(records, objective, across, audits=audits, folders=folders, manifests=manifests)


def _one_objective(requests: Sequence[Request]) -> Objective | None:
    """Take the objective that all specs share.

    Raises:
        RequestError: when two specs minimize different things.
    """
    first = requests[0]
    for other in requests[1:]:
        if other.spec.objective != first.spec.objective:
            raise RequestError(
                f"{first.loaded.path} and {other.loaded.path} have different objectives; give both the same `objective`"
            )
    return first.spec.objective


def print_comparison(comparison: Comparison) -> None:
    """Write a comparison for a person: a ranking a proxy, what was delivered, and the verdict."""
    for group in comparison.groups:
        for ranking in group.rankings.values():
            stdout.print(_ranking_table(ranking, comparison.objective))
        stdout.print(_delivered_table(group))
        for pair in group.agreement:
            names = " and ".join(pair.proxies)
            stdout.print(f"rank agreement of {names}: Spearman {pair.spearman:.2f}, Kendall {pair.kendall:.2f}")
        if group.across:
            stdout.print(f"[yellow]compared across {group.across}: it differs between these runs[/]")
    for run in comparison.failed:
        stdout.print(
            f"not counted: {run.mixture} × {run.proxy} × seed {run.seed}: {escape(run.reason)}", soft_wrap=True
        )
    for reason in comparison.reasons:
        stdout.print(f"[yellow]apart:[/] {escape(reason)}", soft_wrap=True)
    stdout.print(f"[bold]{escape(comparison.verdict)}[/]", soft_wrap=True)


def _ranking_table(ranking: Ranking, objective: str) -> Table:
    sources = sorted({name for row in ranking.rows for name in row.heldout})
    columns = ("mixture", "objective", "± seeds", "± documents", "seeds", *sources)
    rows = []
    for row in ranking.rows:
        margins = _margins(row)
        scores = [f"{row.heldout[name]['bits_per_byte']:.4f}" if name in row.heldout else "" for name in sources]
        rows.append((row.mixture, f"{row.mean:.4f}", *margins, str(len(row.seeds)), *scores))
    return table(f"{ranking.proxy}: {objective}, best first", columns, rows)


def _margins(row: Row) -> tuple[str, str]:
    if row.interval is None:
        return "unknown", "unknown"
    documents = row.interval.documents
    return f"{row.interval.seeds:.4f}", "unknown" if documents is None else f"{documents:.4f}"


def _delivered_table(group: Group) -> Table:
    columns = ("proxy", "mixture", "source", "declared", "planned tokens", "delivered tokens", "epochs")
    rows = []
    for ranking in group.rankings.values():
        for row in ranking.rows:
            names = (ranking.proxy, row.mixture)
            for name, source in row.delivered.items():
                tokens = (count(source["planned"]), count(source["tokens"]))
                rows.append((*names, name, f"{source['declared']:.2%}", *tokens, f"{source['epochs']:.3f}"))
                names = ("", "")
    return table("Declared, planned, delivered", columns, rows, text_columns=3)
