"""A store opened to be read: its builds and runs, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mixproof.cli.commands.compare import compare_requests, open_requests, runs_of
from mixproof.ledger.errors import RequestError
from mixproof.ledger.keys import NAMES, find_key
from mixproof.ledger.manifest import BUILDS, MANIFEST, Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.train.loop.metrics import StepMetrics
from mixproof.train.record import TRAIN, RunRecord

from .builds import AccountRow, BuildRow, account_of, list_builds
from .compared import Compared, compared
from .documents import Documents
from .rows import Rows
from .runs import list_runs, losses_of

Split = Literal["train", "heldout"]


def open_store(store: str | Path) -> OpenedStore:
    """Open a store to read what it holds.

    Args:
        store: its folder, or an object store's URL.

    Raises:
        RequestError: when there is no such store, or it cannot be used.
    """
    return OpenedStore(store)


class OpenedStore:
    """A store's builds and runs. Builds and runs are named by their keys, or by a key's first digits."""

    def __init__(self, url: str | Path) -> None:
        """Open the store at a folder or URL.

        Raises:
            RequestError: when there is no such store, or it cannot be used.
        """
        self._store = Store(url)
        self._store.check()
        if not self._store.is_remote and not self._store.root.is_dir():
            raise RequestError(f"{url}: there is no such store; `mixproof build SPEC --store {url}` makes one")

    def __repr__(self) -> str:
        return f"mixproof.open({str(self._store)!r})"

    @property
    def builds(self) -> Rows[BuildRow]:
        """Every finished build, the last finished one first."""
        return list_builds(self._store)

    @property
    def runs(self) -> Rows[RunRecord]:
        """The record of every run that ended, done or failed; `to_arrow()` has the columns of `runs.parquet`."""
        return list_runs(self._store)

    def manifest(self, build: str | BuildRow) -> Manifest:
        """The manifest of a build.

        Raises:
            RequestError: when the store has no such build.
        """
        key = build if isinstance(build, str) else build.build
        return read_manifest(self._store.path(f"{BUILDS}/{self._key(BUILDS, key)}/{MANIFEST}"))

    def account(self, build: str | BuildRow) -> Rows[AccountRow]:
        """Where every record of a build went: by source, stage and reason; each source adds up.

        Raises:
            RequestError: when the store has no such build.
        """
        return account_of(self.manifest(build))

    def documents(self, build: str | BuildRow, source: str, split: Split = "train") -> Documents:
        """The documents of one side of a source, read as they are taken: ids with texts.

        Raises:
            RequestError: when the store has no such build, or the build no such source.
        """
        return Documents(self._store, self.manifest(build), source, split)

    def losses(self, run: str | RunRecord) -> Rows[StepMetrics]:
        """A row a step of a run: loss, learning rate, gradient norm, and the loss of every source.

        Raises:
            RequestError: when the store has no such run, or it has not trained a step yet.
        """
        key = run if isinstance(run, str) else run.key
        return losses_of(self._store, self._key(TRAIN, key))

    def _key(self, stage: str, given: str) -> str:
        what = NAMES[stage]
        absent = f"{self._store} has no {what} with this key; `.{what}s` lists what it has"
        return find_key(self._store, (stage,), given, absent=absent)[1]

    def compare(self, *specs: str | Path, across: str | None = None) -> Compared:
        """Rank the mixtures of one or more specs whose runs are in this store, as `mixproof compare` does.

        Args:
            specs: paths of specs.
            across: the one axis that may differ: `tokens`, `flops`, `tokenizer` or `recipe`.

        Raises:
            RequestError: when a spec is not built here, or none of its runs is finished.
        """
        if not specs:
            raise RequestError("compare: give the spec, or the specs, whose runs to compare")
        requests = open_requests([Path(spec) for spec in specs], [str(self._store)])
        return compared(compare_requests(requests, [runs_of(request) for request in requests], across))
