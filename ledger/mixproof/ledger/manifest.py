"""The manifest: the statement of a build, in a versioned schema.

The manifest is JSON with sorted keys and an indent of one. The SHA-256 of its bytes is the build's id
and names its folder: `builds/<id>/manifest.json`. Nothing in it depends on time, machine, engine or input
locations; those are recorded in `builds/<id>/circumstances.json` beside it. Paths are relative to the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, ValidationError

from mixproof.ledger.records.cells import CellsRecord
from mixproof.ledger.records.classifiers import ClassifierRecord
from mixproof.ledger.records.kept import KeptRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.records.stored_path import StoredPath
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store

from .errors import RequestError
from .frozen_model import FrozenModel

MANIFEST = "manifest.json"
BUILDS = "builds"
CIRCUMSTANCES = "circumstances.json"
"""File beside a manifest, and beside a run's record."""


class MatrixRow(FrozenModel):
    """What `source` lost to `lost_to`: texts that both had and that `lost_to` keeps."""

    source: str
    lost_to: str
    documents: NonNegativeInt
    bytes: NonNegativeInt


class Totals(FrozenModel):
    """Sums over all sources, training and held-out together."""

    documents: NonNegativeInt
    tokens: NonNegativeInt
    bytes: NonNegativeInt


class Manifest(FrozenModel):
    """The statement of a build."""

    schema_: Literal[1]
    mixproof: str
    spec: dict[str, Any]
    spec_sha256: str
    tokenizer: TokenizerRecord
    sources: dict[StoredPath, SourceRecord]
    """By name; files are named after it."""
    dedup_matrix: tuple[MatrixRow, ...]
    cells: dict[str, CellsRecord] = Field(default={}, exclude_if=lambda cells: not cells)
    """By name of the source that was divided; absent from the file when there is none."""
    kept: dict[str, KeptRecord] = Field(default={}, exclude_if=lambda kept: not kept)
    """By name of the source, before it was divided; absent from the file when no source has `keep`."""
    classifiers: dict[str, ClassifierRecord] = Field(default={}, exclude_if=lambda classifiers: not classifiers)
    """By name of the label, or `source: label` of a label that one source declares; absent when there is none."""
    totals: Totals

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"), populate_by_name=True
    )

    def lost_outside(self, sources: Collection[str]) -> tuple[MatrixRow, ...]:
        """What `sources`, those of one mixture, lost to sources outside the mixture; the mixture has no copy of it."""
        return tuple(row for row in self.dedup_matrix if row.source in sources and row.lost_to not in sources)

    def to_bytes(self) -> bytes:
        """The manifest file's bytes; their SHA-256 is the build's id."""
        data = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()

    @property
    def build(self) -> str:
        """The build's id."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def write_manifest(store: Store, manifest: Manifest) -> Path:
    """Write the manifest to `builds/<id>/manifest.json` and return its path."""
    data = manifest.to_bytes()  # a manifest of thousands of sources takes seconds
    return store.write(f"{BUILDS}/{hashlib.sha256(data).hexdigest()}/{MANIFEST}", data)


def read_manifest(path: Path) -> Manifest:
    """Read and validate a manifest.

    Raises:
        RequestError: when the file does not exist or does not follow the schema.
    """
    return read_manifest_once(path)[0]


def read_manifest_once(path: Path) -> tuple[Manifest, str]:
    """Read and validate a manifest; also return the SHA-256 of the bytes that were read.

    Raises:
        RequestError: as `read_manifest`.
    """
    try:
        data = path.read_bytes()
        return Manifest.model_validate_json(data), hashlib.sha256(data).hexdigest()
    except FileNotFoundError:
        raise RequestError(f"{path}: no manifest found; `mixproof build` writes one") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RequestError(f"{path}: not a manifest of schema 1: {where}: {first['msg']}") from None


def store_of(manifest_path: Path) -> Store:
    """The store that contains the manifest `<store>/builds/<id>/manifest.json`."""
    return Store(manifest_path.resolve().parents[2])
