"""`mixproof audit`: check that the account closes and that the bytes match the records.

Takes a spec (its build and the finished runs on it), a manifest, or a run's folder. Exit code 1 when a check fails.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mixproof.cli.named import SPEC_SUFFIXES, RunChoice, named, named_run
from mixproof.cli.options import (
    DEFAULT_STORE,
    AddressOption,
    JsonOption,
    QuietOption,
    RunMixtureOption,
    RunProxyOption,
    RunSeedOption,
    StoreOption,
    VerboseOption,
    WorkersOption,
)
from mixproof.cli.output import emit_json, stdout, table
from mixproof.cli.progress.show import stage_progress
from mixproof.cli.progress.stages import AUDIT, REPLAY
from mixproof.cli.request import Request, open_request
from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import Location, locate
from mixproof.ledger.manifest import BUILDS, MANIFEST
from mixproof.ledger.objects.urls import is_remote
from mixproof.ledger.store import Store
from mixproof.mixtures.stage_checks import ON_PAIRS
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.tokenize.audit import AuditReport, Depth, audit_build, copy_build, copy_run, in_store, replay_build
from mixproof.train.audit.run import audit_run
from mixproof.train.launch.plan import plan_requests
from mixproof.train.launch.references import replay_references
from mixproof.train.outcome import find_outcomes
from mixproof.train.record import RUN, TRAIN, read_run
from mixproof.train.request import RunRequest

TargetArgument = Annotated[
    str,
    typer.Argument(metavar="SPEC|MANIFEST|RUN", help="Path of a spec, or path or URL of a manifest or run to audit."),
]
DepthOption = Annotated[
    Depth,
    typer.Option(
        "--depth",
        help="arithmetic: check the records; bytes: re-read every byte; replay: read and encode the raw records again.",
    ),
]
SampleOption = Annotated[
    str | None, typer.Option("--sample", metavar="SHARE", help="With replay: share of the documents, such as 1%.")
]


def audit(
    target: TargetArgument,
    depth: DepthOption = "bytes",
    sample: SampleOption = None,
    mixture: RunMixtureOption = None,
    proxy: RunProxyOption = None,
    seed: RunSeedOption = None,
    store: StoreOption = DEFAULT_STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Check a build and its runs; name every file and equation that fails."""
    if sample is not None and depth != "replay":
        raise RequestError("--sample needs --depth replay: the other depths check everything")
    choice = RunChoice(mixture, proxy, seed)
    target = named_run(target, store, choice) if choice.given else named(target, store)
    with stage_progress((AUDIT,)) as progress, Cluster(address, workers, progress) as cluster:
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
    """Audit a spec, a manifest or a run; `cluster` starts only for a large build.

    Raises:
        RequestError: when `target` is none of these.
    """
    if target.endswith(SPEC_SUFFIXES):
        return audit_request(open_request(Path(target), store), depth, cluster)
    if is_remote(target):
        return _audit_remote(locate(target), depth, cluster)
    path = Path(target)
    if path.is_dir():
        found = [path / name for name in (MANIFEST, RUN) if (path / name).is_file()]
        if not found:
            raise RequestError(f"{target}: contains neither a build's {MANIFEST} nor a run's {RUN}")
        path = found[0]
    if not path.is_file():
        raise RequestError(f"{target}: no such file")
    return audit_run(path, depth) if path.name == RUN else _audit_build(path, depth, cluster)


def _audit_remote(location: Location, depth: Depth, cluster: Cluster | None) -> AuditReport:
    """Audit local copies of a build or run in an object store."""
    store, folder = location.store, location.fetch()
    if (folder / MANIFEST).is_file():
        copy_build(store, folder / MANIFEST, depth)
        report = _audit_build(folder / MANIFEST, depth, cluster, is_copy=True)
    else:
        copy_build(store, store.path(f"{BUILDS}/{read_run(folder / RUN).build}/{MANIFEST}"), depth)
        copy_run(store, location.key, depth)
        report = audit_run(folder / RUN, depth)
    return in_store(report, store)


def replay_request(target: str, store: str, share: Fraction, address: str | None, workers: int | None) -> AuditReport:
    """Replay the build of a spec from its raw files, on Ray.

    Raises:
        RequestError: when `target` is not a spec: only a spec names the raw files.
    """
    if not target.endswith(SPEC_SUFFIXES):
        raise RequestError(f"{target}: --depth replay reads the raw files again; give the spec that names them")
    request = open_request(Path(target), store)
    with stage_progress((REPLAY,)) as progress, Cluster(address, workers, progress) as cluster:
        report = replay_build(
            request.spec, request.files(), request.store, request.manifest_path(), cluster, share, request.loaded.base
        )
    report = report + replay_references(_finished_requests(request))
    return in_store(report, request.store)


def _finished_requests(request: Request) -> list[RunRequest]:
    """The finished runs of a spec that compares answers with its starting checkpoint; none of other stages."""
    if request.spec.train.stage not in ON_PAIRS:
        return []
    try:
        planned = plan_requests(request.spec, request.manifest(), request.store, None)
    except RequestError:  # nothing was trained
        return []
    return [one for one, outcome in zip(planned, find_outcomes(planned), strict=True) if outcome.done]


def _share(sample: str | None) -> Fraction:
    """The share given by `--sample`; 1 without it."""
    try:
        share = Fraction(1) if sample is None else Fraction(sample.removesuffix("%")) / (100 if "%" in sample else 1)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise RequestError(f"--sample {sample}: must be above 0 and at most 100%, such as 1% or 0.01")
    return share


def audit_request(request: Request, depth: Depth, cluster: Cluster | None = None) -> AuditReport:
    """Audit the build of a spec, and every run on that build whose record says that it is done."""
    store, path = request.store, request.manifest_path()
    copy_build(store, path, depth)
    report = _audit_build(path, depth, cluster, is_copy=store.is_remote)
    for run in runs_of(store, path.parent.name):
        copy_run(store, run.parent.name, depth)
        report = report + audit_run(run, depth)
    return in_store(report, store)


def _audit_build(path: Path, depth: Depth, cluster: Cluster | None, *, is_copy: bool = False) -> AuditReport:
    """Audit a build with the command's progress; copies are on this machine only, so no other node checks them."""
    progress = None if cluster is None else cluster.progress
    return audit_build(path, depth, cluster=None if is_copy else cluster, progress=progress)


def runs_of(store: Store, build: str) -> list[Path]:
    """The records of the store's finished runs on `build`, and the records that cannot be read.

    Looks in the folders themselves: elsewhere a run with a missing file or draw counts as not trained, but an audit
    must not skip it.
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
    """Print an audit: the verdict, one row per failure, and what was encoded again."""
    if report.ok:
        stdout.print(f"[green]audit clean[/]: all {report.checks:,} checks passed at depth {report.depth}")
    else:
        _print_failures(report)
    if report.reencoded is not None:
        stdout.print(escape(str(report.reencoded)), soft_wrap=True)


def _print_failures(report: AuditReport) -> None:
    columns = ("equation", "file", "source", "stage", "expected", "found")
    rows = [[getattr(failure, name) for name in columns] for failure in report.failures]
    stdout.print(table(f"{len(report.failures)} of {report.checks:,} checks failed", columns, rows, text_columns=4))
