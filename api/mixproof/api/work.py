"""The work of `mixproof build` and `mixproof train`, for scripts and notebooks.

Both take a spec's path and do what the commands do, with the same progress on stderr; what is done already is reused.
Ray is started for a call and stopped behind it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mixproof.cli.before_work import open_for_work
from mixproof.cli.commands.build import run_build
from mixproof.cli.commands.train import run_train
from mixproof.cli.options import DEFAULT_STORE, STORE_VARIABLE
from mixproof.cli.progress.show import spec_progress
from mixproof.ledger.errors import TrainingError
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.load import LoadedSpec
from mixproof.mixtures.load import load_spec as load_spec_file
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.visible import look_before_work
from mixproof.train.record import RunRecord

from .builds import AccountRow, account_of
from .opened_store import OpenedStore
from .rows import Rows
from .runs import rows_of


@dataclass(frozen=True)
class Build:
    """A finished build."""

    build: str
    """Its id: the SHA-256 of its manifest."""
    manifest: Manifest
    store: OpenedStore
    stages_run: int
    stages_reused: int

    @property
    def account(self) -> Rows[AccountRow]:
        """Where every record went: by source, stage and reason."""
        return account_of(self.manifest)


def load_spec(path: str | Path) -> LoadedSpec:
    """Read and check a spec file; whether the files that it names exist is not asked here.

    Raises:
        SpecError: naming file, line and key of everything that is wrong.
    """
    return load_spec_file(Path(path))


def build(
    spec: str | Path | LoadedSpec,
    store: str | Path | None = None,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Build:
    """Build the datasets of a spec and write their manifest.

    Args:
        spec: its path, or what `load_spec` gave.
        store: a folder or URL; default: `MIXPROOF_STORE`, else `.mixproof` in the current folder.
        address: of a Ray cluster; default: `RAY_ADDRESS`, else this machine.
        workers: CPUs to use on this machine; default: all of them.

    Raises:
        SpecError: when the spec is wrong, with file, line and key.
        MixproofError: when files, account or machine are.
    """
    request = open_for_work(_path(spec), _store(store), "build")
    with (
        spec_progress(request.spec, request.store, "build") as progress,
        Cluster(address, workers, progress) as cluster,
    ):
        look_before_work(request.store, cluster)
        result = run_build(request, cluster)
    opened = OpenedStore(str(request.store))
    return Build(result.manifest.build, result.manifest, opened, cluster.stages_run, cluster.stages_reused)


def train(
    spec: str | Path | LoadedSpec,
    store: str | Path | None = None,
    *,
    address: str | None = None,
    workers: int | None = None,
    device: Literal["cpu", "cuda"] | None = None,
) -> Rows[RunRecord]:
    """Train the proxies of a spec, which is built already, on every mixture and seed.

    Args:
        spec: its path, or what `load_spec` gave.
        store: a folder or URL; default: `MIXPROOF_STORE`, else `.mixproof` in the current folder.
        address: of a Ray cluster; default: `RAY_ADDRESS`, else this machine.
        workers: CPUs to use on this machine; default: all of them.
        device: where proxies train; default: cuda where there is one.

    Raises:
        SpecError: when the spec is wrong, with file, line and key.
        TrainingError: when a run failed; the others are in the store.
        MixproofError: when the spec is not built, or files or machine are wrong.
    """
    request = open_for_work(_path(spec), _store(store), "train")
    with (
        spec_progress(request.spec, request.store, "train") as progress,
        Cluster(address, workers, progress) as cluster,
    ):
        look_before_work(request.store, cluster)
        outcomes = run_train(request, cluster, progress, device)
    failed = [
        f"{outcome.mixture} × {outcome.proxy} × seed {outcome.seed}: {outcome.reason}"
        for outcome in outcomes
        if not outcome.done
    ]
    if failed:
        raise TrainingError(f"{len(failed)} of {len(outcomes)} runs failed; " + "; ".join(failed))
    return rows_of([outcome.record for outcome in outcomes if outcome.record is not None])


def _path(spec: str | Path | LoadedSpec) -> Path:
    return spec.path if isinstance(spec, LoadedSpec) else Path(spec)


def _store(store: str | Path | None) -> str:
    return os.environ.get(STORE_VARIABLE, DEFAULT_STORE) if store is None else str(store)
