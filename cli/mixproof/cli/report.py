"""The HTML page of `compare`, `run` and `demo`: collects its records and writes the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.markup import escape

from mixproof.ledger.manifest import CIRCUMSTANCES, Manifest, read_manifest
from mixproof.ledger.store import publish_bytes
from mixproof.ledger.version import VERSION
from mixproof.tokenize.page.build_evidence import BuildEvidence
from mixproof.train.compare.comparison import Comparison
from mixproof.train.launch.plan import chosen_rates
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.outcome import RunOutcome
from mixproof.train.page.evidence import Evidence, Missing, RunEvidence, SearchEvidence, SpecEvidence, SweepEvidence
from mixproof.train.page.render import render_page
from mixproof.train.record import RUN

from .output import stderr
from .page_file import read_build, read_json, read_statement
from .request import Request


def write_report(
    path: Path,
    requests: Sequence[Request],
    outcomes: Sequence[Sequence[RunOutcome]],
    comparison: Comparison,
    search: SearchEvidence | None = None,
) -> None:
    """Write the page of a comparison, and print its path; `outcomes` are the runs of each request."""
    evidence = replace(gather(requests, outcomes, comparison), search=search)
    publish_bytes(render_page(evidence).encode(), path)
    stderr.print(f"page: {escape(str(path))}", soft_wrap=True)


def gather(requests: Sequence[Request], outcomes: Sequence[Sequence[RunOutcome]], comparison: Comparison) -> Evidence:
    """Read what a comparison is based on: specs, manifests, run records and metrics."""
    specs, builds, runs, missing = [], dict[str, BuildEvidence](), dict[str, RunEvidence](), list[Missing]()
    for request, found in zip(requests, outcomes, strict=True):
        manifest_path = request.manifest_path()
        manifest = read_manifest(manifest_path)
        specs.append(_spec(request, manifest))
        builds.setdefault(manifest_path.parent.name, read_build(manifest_path, manifest))
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


def _spec(request: Request, manifest: Manifest) -> SpecEvidence:
    target = request.spec.target
    path = request.loaded.path
    statement = read_statement(path)
    chosen = chosen_rates(request.spec, manifest, request.store)
    sweeps = tuple(
        SweepEvidence(one.proxy, one.sentence, tuple(one.warnings), one.lr, one.seeds, one.objective_of)
        for one in chosen
    )
    return SpecEvidence(request.spec.name, statement, target.tokens if target else None, str(request.store), sweeps)


def _run(outcome: RunOutcome) -> RunEvidence | None:
    if outcome.record is None:
        return None
    folder = Path(outcome.folder)
    statement = read_statement(folder / RUN)
    circumstances = read_json(folder / CIRCUMSTANCES)
    return RunEvidence(outcome.record, statement, tuple(read_metrics(folder)), circumstances)
