"""`mixproof audit`: whether the account closes and the bytes are what the records say.

Takes a spec (its build and the finished runs on it), a manifest, or a run's folder. Exit code 1 when a check fails.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from mixproof.cli.options import DEFAULT_STORE, AddressOption, JsonOption, StoreOption, VerboseOption, WorkersOption
from mixproof.cli.output import emit_json, stage_progress, stdout, table
from mixproof.cli.request import Request, open_request
from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import Location, locate
from mixproof.ledger.manifest import BUILDS, MANIFEST
from mixproof.ledger.objects import is_remote
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.tokenize.audit import AuditReport, Depth, audit_build, copy_build, copy_run, in_store, replay_build
from mixproof.train.audit.run import audit_run
from mixproof.train.record import RUN, TRAIN, read_run

TargetArgument = Annotated[
    str,
    typer.Argument(metavar="SPEC|MANIFEST|RUN", help="What to audit: path of a spec, path or URL of the others."),
]
DepthOption = Annotated[
    Depth,
    typer.Option(
        "--depth",
        help="arithmetic: from the records; bytes: every byte re-read; replay: raw records read and encoded again.",
    ),
]
SampleOption = Annotated[
    str | None, typer.Option("--sample", metavar="SHARE", help="replay: a part of the documents, such as 1%.")
]
SPEC_SUFFIXES = (".yaml", ".yml")


def audit(
    target: TargetArgument,
    depth: DepthOption = "bytes",
    sample: SampleOption = None,
    store: StoreOption = DEFAULT_STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Check a build and its runs; name every file and equation that fails."""
    if sample is not None and depth != "replay":
        raise RequestError("--sample is of --depth replay: the other depths look at everything")
    with stage_progress() as progress, Cluster(address, workers, progress) as cluster:
        report = audit_target(target, store, depth, cluster)
    if depth == "replay":
        report = report + replay_request(target, store, _share(sample), address, workers)
    if as_json:
        emit_json(report.to_json())
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(1)


def audit_target(target: str, store: str, depth: Depth, cluster: Cluster | None = None) -> AuditReport:
    """Audit whatever `target` is; `cluster` starts only for a large build.

    Raises:
        RequestError: when it is neither a spec nor a manifest nor a run.
    """
    if target.endswith(SPEC_SUFFIXES):
        return audit_request(open_request(Path(target), store), depth, cluster)
    if is_remote(target):
        return _audit_remote(locate(target), depth, cluster)
    path = Path(target)
    if path.is_dir():
        found = [path / name for name in (MANIFEST, RUN) if (path / name).is_file()]
        if not found:
            raise RequestError(f"{target}: holds neither a build's {MANIFEST} nor a run's {RUN}")
        path = found[0]
    if not path.is_file():
        raise RequestError(f"{target}: no such file")
    return audit_run(path, depth) if path.name == RUN else audit_build(path, depth, cluster=cluster)


def _audit_remote(place: Location, depth: Depth, cluster: Cluster | None) -> AuditReport:
    """Audit copies of a build or a run of an object store."""
    store, folder = place.store, place.fetch()
    if (folder / MANIFEST).is_file():
        copy_build(store, folder / MANIFEST, depth)
        report = audit_build(folder / MANIFEST, depth, cluster=cluster)
    else:
        copy_build(store, store.path(f"{BUILDS}/{read_run(folder / RUN).build}/{MANIFEST}"), depth)
        copy_run(store, place.key, depth)
        report = audit_run(folder / RUN, depth)
    return in_store(report, store)


def replay_request(target: str, store: str, share: Fraction, address: str | None, workers: int | None) -> AuditReport:
    """Replay the build of a spec from its raw files, on Ray.

    Raises:
        RequestError: when `target` is no spec: only that says where the raw files are.
    """
    if not target.endswith(SPEC_SUFFIXES):
        raise RequestError(f"{target}: --depth replay reads raw files again; give the spec, which says where they are")
    request = open_request(Path(target), store)
    with stage_progress() as progress, Cluster(address, workers, progress) as cluster:
        report = replay_build(request.spec, request.files(), request.store, request.manifest_path(), cluster, share)
    return in_store(report, request.store)


def _share(sample: str | None) -> Fraction:
    """The share that `--sample` asks for; all of it where it is not given."""
    try:
        share = Fraction(1) if sample is None else Fraction(sample.removesuffix("%")) / (100 if "%" in sample else 1)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise RequestError(f"--sample {sample}: a share above 0 and up to 1, such as 1% or 0.01")
    return share


def audit_request(request: Request, depth: Depth, cluster: Cluster | None = None) -> AuditReport:
    """Audit the build of a spec and every run of that build that says it is done."""
    store, path = request.store, request.manifest_path()
    copy_build(store, path, depth)
    report = audit_build(path, depth, cluster=None if store.is_remote else cluster)  # copies lie on this machine only
    for run in runs_of(store, path.parent.name):
        copy_run(store, run.parent.name, depth)
        report = report + audit_run(run, depth)
    return in_store(report, store)


def runs_of(store: Store, build: str) -> list[Path]:
    """The records of the store's runs on `build` that are done, and those that nobody can read.

    They are looked for in the folders: a run with a missing file or draw counts as not trained elsewhere, and must not
    be left out here.
    """
    found = []
    for key in store.keys(TRAIN):
        path = store.path(f"{TRAIN}/{key}/{RUN}")
        if not path.is_file():
            continue
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
