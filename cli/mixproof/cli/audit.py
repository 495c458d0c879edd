"""`mixproof audit`: whether the account closes and the bytes are what the records say.

Takes a spec (its build and the finished runs on it), a manifest, or a run's folder. Exit code 1 when a check fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import MANIFEST
from mixproof.ledger.store import Store
from mixproof.tokenize.audit import AuditReport, Depth, audit_build
from mixproof.train.audit_run import audit_run
from mixproof.train.record import RUN, TRAIN, read_run

from .options import DEFAULT_STORE, JsonOption, StoreOption
from .output import emit_json, stdout, table
from .request import Request, open_request

TargetArgument = Annotated[Path, typer.Argument(metavar="SPEC|MANIFEST|RUN", help="What to audit.")]
DepthOption = Annotated[Depth, typer.Option("--depth", help="arithmetic: from the records; bytes: every byte re-read.")]
SPEC_SUFFIXES = (".yaml", ".yml")


def audit(
    target: TargetArgument,
    depth: DepthOption = "bytes",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Check a build and its runs; name every file and equation that fails."""
    report = audit_target(target, store, depth)
    if as_json:
        emit_json(report.to_json())
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(1)


def audit_target(target: Path, store: str, depth: Depth) -> AuditReport:
    """Audit whatever `target` is.

    Raises:
        RequestError: when it is neither a spec nor a manifest nor a run.
    """
    if target.suffix in SPEC_SUFFIXES:
        return audit_request(open_request(target, store), depth)
    if target.is_dir():
        found = [target / name for name in (MANIFEST, RUN) if (target / name).is_file()]
        if not found:
            raise RequestError(f"{target}: holds neither a build's {MANIFEST} nor a run's {RUN}")
        target = found[0]
    if not target.is_file():
        raise RequestError(f"{target}: no such file")
    return audit_run(target, depth) if target.name == RUN else audit_build(target, depth)


def audit_request(request: Request, depth: Depth) -> AuditReport:
    """Audit the build of a spec and every run of that build that says it is done."""
    path = request.manifest_path()
    report = audit_build(path, depth)
    for run in runs_of(request.store, path.parent.name):
        report = report + audit_run(run, depth)
    return report


def runs_of(store: Store, build: str) -> list[Path]:
    """The records of the store's runs on `build` that are done, and those that nobody can read.

    They are looked for in the folders: a run with a missing file or draw counts as not trained elsewhere, and must not
    be left out here.
    """
    found = []
    for path in sorted(store.root.glob(f"{TRAIN}/*/{RUN}")):
        try:
            record = read_run(path)
        except RequestError:
            found.append(path)
        else:
            if record.build == build and record.status == "done":
                found.append(path)
    return found


def print_report(report: AuditReport) -> None:
    """Write an audit for a person: the verdict, and one row a failure."""
    if report.ok:
        stdout.print(f"[green]audit clean[/]: {report.checks:,} checks at depth {report.depth}, all closed")
        return
    columns = ("equation", "file", "source", "stage", "expected", "found")
    rows = [[getattr(failure, name) for name in columns] for failure in report.failures]
    stdout.print(table(f"{len(report.failures)} of {report.checks:,} checks failed", columns, rows, text_columns=4))
