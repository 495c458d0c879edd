"""A request opened: the spec read and checked, its files found, the store named. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.load import LoadedSpec, load_spec
from mixproof.mixtures.not_built import check_built
from mixproof.tokenize.build import find_build


@dataclass(frozen=True)
class Request:
    """What every command on a spec starts from."""

    loaded: LoadedSpec
    store: Store

    def manifest_path(self) -> Path:
        """Find the finished build of this spec over its files as they are now.

        Raises:
            RequestError: when there is none.
        """
        path = find_build(self.loaded, self.store)
        if path is None:
            raise RequestError(
                f"{self.loaded.path}: not built in {self.store} (or a source's files changed since); "
                f"`mixproof build {self.loaded.path}` builds it"
            )
        return path

    def manifest(self) -> Manifest:
        """Read the manifest of this spec's build."""
        return read_manifest(self.manifest_path())


def open_request(spec: Path, store: str) -> Request:
    """Read a spec and refuse what is wrong with it or not built yet.

    Raises:
        RequestError: naming file, line and dotted key.
    """
    loaded = load_spec(spec)
    check_built(loaded.spec)
    return Request(loaded, Store(store))
