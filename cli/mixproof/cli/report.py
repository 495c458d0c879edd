"""The HTML page of `compare`, `run` and `demo`: collects its records and writes the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import CIRCUMSTANCES, Manifest, read_manifest
from mixproof.ledger.store import publish_bytes
from mixproof.ledger.version import VERSION
from mixproof.tokenize.page.build_evidence import BuildEvidence, Statement
from mixproof.train.compare.comparison import Comparison
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.outcome import RunOutcome
from mixproof.train.page.evidence import Evidence, Missing, RunEvidence, SpecEvidence
from mixproof.train.page.render import render_page
from mixproof.train.record import RUN

from .output import stderr
from .request import Request

HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write a report: one self-contained HTML file."),
]


def check_html(path: Path | None) -> None:
    """Refuse a path that cannot be written, before any work.

    Raises:
        RequestError: when it is a folder, or its folder does not exist.
    """
    if path is not None and path.is_dir():
        raise RequestError(f"--html {path}: is a folder; name a file in it, such as {path / 'report.html'}")
    if path is not None and not path.absolute().parent.is_dir():
        raise RequestError(f"--html {path}: the folder {path.absolute().parent} does not exist; create it first")


def write_report(
    path: Path, requests: Sequence[Request], outcomes: Sequence[Sequence[RunOutcome]], comparison: Comparison
) -> None:
    """Write the page of a comparison, and print its path; `outcomes` are the runs of each request."""
    publish_bytes(render_page(gather(requests, outcomes, comparison)).encode(), path)
    stderr.print(f"page: {path}", soft_wrap=True)


def gather(requests: Sequence[Request], outcomes: Sequence[Sequence[RunOutcome]], comparison: Comparison) -> Evidence:
    """Read what a comparison is based on: specs, manifests, run records and metrics."""
    specs, builds, runs, missing = [], dict[str, BuildEvidence](), dict[str, RunEvidence](), list[Missing]()
    for request, found in zip(requests, outcomes, strict=True):
        specs.append(_spec(request))
        manifest_path = request.manifest_path()
        manifest = read_manifest(manifest_path)
        builds.setdefault(manifest_path.parent.name, _build(manifest_path, manifest))
        for outcome in found:
            run = _run(outcome)
            if run is not None:
                runs.setdefault(outcome.key, run)
            else:
                missing.append(Missing(outcome.mixture, outcome.proxy, outcome.seed, str(outcome.reason)))
    return Evidence(
        comparison=comparison,
        specs=tuple(specs),
        builds=tuple(builds.values()),
        runs=tuple(runs.values()),
        missing=tuple(missing),
        mixproof=VERSION,
    )


def _spec(request: Request) -> SpecEvidence:
    target = request.spec.target
    path = request.loaded.path
    statement = _read(path)
    return SpecEvidence(request.spec.name, statement, target.tokens if target else None, str(request.store))


def _build(path: Path, manifest: Manifest) -> BuildEvidence:
    statement = _read(path)
    return BuildEvidence(manifest, statement, _read_json(path.with_name(CIRCUMSTANCES)))


def _run(outcome: RunOutcome) -> RunEvidence | None:
    if outcome.record is None:
        return None
    folder = Path(outcome.folder)
    statement = _read(folder / RUN)
    circumstances = _read_json(folder / CIRCUMSTANCES)
    return RunEvidence(outcome.record, statement, tuple(read_metrics(folder)), circumstances)


def _read(path: Path) -> Statement:
    """A whole file, with its line endings unchanged."""
    return Statement(str(path), path.read_bytes().decode())


def _read_json(path: Path) -> Mapping[str, Any]:
    """A JSON file's object; empty when there is no such file."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    assert isinstance(found, dict)
    return found
