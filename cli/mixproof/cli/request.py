"""Open a request: read and check the spec, find its files, open the store. Writes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget, budget_run
from mixproof.mixtures.arithmetic.caps import check_largest_supply
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import LoadedSpec, load_spec
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import (
    SplitSource,
    divided_sources,
    split_sources,
    stated_values,
    with_named_parts,
    with_parts,
)
from mixproof.pipeline.inputs.files import InputFile, find_files
from mixproof.pipeline.read.documents import check_sources
from mixproof.pipeline.read.values import files_of_parts
from mixproof.tokenize.estimate import Estimate, estimate
from mixproof.tokenize.pointer import find_build
from mixproof.train.checkpoint.initial_files import check_initial_files
from mixproof.train.launch.initial_run import initial_run_key

UPPER_BOUND = (
    "the files have not been read yet: the supply above is an upper bound, two tokens per byte after unpacking"
)
JOB_FOLDERS = "working_dir_files"
"""Folder of Ray's session in which it unpacks the working directories of jobs."""


@dataclass(frozen=True)
class Request:
    """A checked spec with its store and its estimated sources; the starting point of every command on a spec."""

    loaded: LoadedSpec
    store: Store
    found: Mapping[str, tuple[InputFile, ...]]
    """The files of each source of the spec as written, listed once, when the command started."""
    estimates: Mapping[str, Estimate]
    """By source, from its files."""

    @property
    def spec(self) -> Spec:
        """The checked spec."""
        return self.loaded.spec

    def files(self) -> dict[str, tuple[InputFile, ...]]:
        """The files of every source, and of every part of one."""
        return files_of_parts(self.spec, self.found)

    def find_manifest(self) -> Path | None:
        """Find the finished build of this spec over its files; None where there is none."""
        return find_build(self.loaded, self.store, self.found)

    def manifest_path(self) -> Path:
        """Find the finished build of this spec over its files.

        Raises:
            RequestError: when there is none.
        """
        path = self.find_manifest()
        if path is None:
            raise RequestError(
                f"{self.loaded.path}: there is no build in {self.store}, or a source's files have changed since; "
                f"run `mixproof build {self.loaded.path} --store {self.store}`"
            )
        return path

    def manifest(self) -> Manifest:
        """Read the manifest of this spec's build."""
        return read_manifest(self.manifest_path())


def open_request(path: Path, store: str) -> Request:
    """Read a spec, find its files, and refuse requests that are wrong or that no file could supply.

    The parts of a split source are those of its build; before a build, those that the spec itself names.

    Raises:
        RequestError, SpecError: naming file, line and dotted key.
    """
    request = open_loaded(load_spec(path), store)
    check_supply(request)
    return request


def open_loaded(loaded: LoadedSpec, store: str) -> Request:
    """Find the files of a spec that has been read. Whether they can supply what it requests is not checked.

    Raises:
        RequestError, SpecError: naming file, line and dotted key.
    """
    spec = loaded.spec
    check_sources(spec)
    found = find_files(spec, loaded.base)
    opened = Store(store)
    check_job_store(opened)
    opened.check()
    _check_initial(spec, opened)
    loaded = _with_parts(loaded, opened, found)
    files = files_of_parts(loaded.spec, found)
    return Request(loaded, opened, found, {name: _estimate(loaded.spec, name, each) for name, each in files.items()})


def _check_initial(spec: Spec, store: Store) -> None:
    """Refuse an initial checkpoint that does not exist, before anything is built."""
    if spec.train.init_from is None:
        return
    given = spec.train.init_from.checkpoint
    try:
        if initial_run_key(store, given) is None:
            check_initial_files(Path(given))
    except RequestError as error:
        raise RequestError(f"{spec.where('train', 'init_from')}: {error}") from None


def check_job_store(store: Store) -> None:
    """Refuse a store in the folder of a submitted Ray job, which Ray deletes with the job.

    Raises:
        RequestError: when the store is there.
    """
    is_job, folder = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ, Path.cwd()
    if is_job and JOB_FOLDERS in folder.parts and not store.is_remote and store.root.is_relative_to(folder):
        raise RequestError(
            f"--store {store}: this is in the temporary folder of the Ray job, which is deleted with the job; give "
            "--store (or MIXPROOF_STORE) a folder that all nodes share, or a URL"
        )


def _with_parts(loaded: LoadedSpec, store: Store, files: Mapping[str, tuple[InputFile, ...]]) -> LoadedSpec:
    if not split_sources(loaded.spec) and not divided_sources(loaded.spec):
        return loaded
    path = find_build(loaded, store, files)
    if path is None:
        return loaded.with_parts(with_named_parts(loaded.spec))
    return loaded.with_parts(with_parts(loaded.spec, stated_values(read_manifest(path).spec["sources"])))


def _estimate(spec: Spec, name: str, files: Sequence[InputFile]) -> Estimate:
    """Estimate a source's tokens. Parts of a split source count as equal; at most, each is the whole source."""
    whole, source = estimate(files), spec.sources[name]
    if not isinstance(source, SplitSource):
        return whole
    parts = sum(isinstance(other, SplitSource) and other.of == source.of for other in spec.sources.values())
    return replace(whole, tokens=whole.tokens // parts)


def budgets_of(
    spec: Spec, tokens_of: Mapping[str, int], counted_of: Mapping[str, int] | None = None
) -> dict[tuple[str, str], RunBudget]:
    """Plan every (mixture, proxy) pair of a spec, given the training tokens of each source.

    After pretraining, `counted_of` is what shares count of each source; None: tokens.
    """
    pairs = [(mixture, proxy) for mixture in spec.mixtures for proxy in spec.train.proxies]
    return {pair: budget_run(spec, *pair, tokens_of, counted_of) for pair in pairs}


def check_supply(request: Request) -> None:
    """Check the caps against an upper bound of the files' tokens, before anything is read or written.

    Raises:
        SpecError: when no text of this size can supply what the spec requests.
    """
    at_most = {name: found.tokens_at_most for name, found in request.estimates.items()}
    try:
        check_largest_supply(request.spec, at_most)
    except SpecError as error:
        error.add_note(UPPER_BOUND)
        raise
