"""Builds as rows: which a store has, and where every record of one went."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from mixproof.ledger.account import StageRow
from mixproof.ledger.manifest import BUILDS, CIRCUMSTANCES, MANIFEST, Manifest, read_manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store

from .rows import Rows

TEXT, COUNT = pa.string(), pa.int64()
BUILD_COLUMNS = pa.schema(
    [
        ("build", TEXT),
        ("ended", pa.timestamp("s", "UTC")),
        ("sources", pa.list_(TEXT)),
        ("documents", COUNT),
        ("tokens", COUNT),
        ("bytes", COUNT),
    ]
)
ACCOUNT_COLUMNS = pa.schema(
    [("source", TEXT), ("stage", TEXT), ("reason", TEXT), ("documents", COUNT), ("bytes", COUNT)]
)
EDITED = "edited"
KEPT = "kept"
TRAIN, HELDOUT = "train", "heldout"


@dataclass(frozen=True)
class BuildRow:
    """A build of a store."""

    build: str
    """Its id: the SHA-256 of its manifest."""
    ended: datetime | None
    """When it was finished; None where the store does not say."""
    sources: tuple[str, ...]
    documents: int
    """In all sources, training and held-out together, like `tokens` and `bytes`."""
    tokens: int
    bytes: int


@dataclass(frozen=True)
class AccountRow:
    """What happened to some documents of a source.

    The documents of a source's rows add up to the records that were read, and their bytes to the bytes of the texts
    that were read from those records.
    """

    source: str
    stage: str
    """`read`, a step, or a later stage; `kept` for what the build holds."""
    reason: str
    """Why they were dropped; `train` or `heldout` for what was kept; `edited` for bytes that a formatter took away."""
    documents: int
    bytes: int
    """UTF-8 bytes; negative where formatters added more than they took away."""


def list_builds(store: Store) -> Rows[BuildRow]:
    """Every finished build of a store, the last finished one first."""
    found = [(key, store.path(f"{BUILDS}/{key}/{MANIFEST}")) for key in store.keys(BUILDS)]
    rows = [_build_row(store, key, read_manifest(path)) for key, path in found if path.is_file()]
    rows.sort(key=lambda row: (row.ended is None, -row.ended.timestamp() if row.ended else 0.0, row.build))
    return Rows(rows, BUILD_COLUMNS, asdict)


def account_of(manifest: Manifest) -> Rows[AccountRow]:
    """The account of a build, by source, stage and reason, in the order in which documents met them."""
    rows = [row for name, source in sorted(manifest.sources.items()) for row in _rows_of(name, source)]
    return Rows(rows, ACCOUNT_COLUMNS, asdict)


def _build_row(store: Store, key: str, manifest: Manifest) -> BuildRow:
    totals = manifest.totals
    return BuildRow(
        build=key,
        ended=_ended(store, key),
        sources=tuple(sorted(manifest.sources)),
        documents=totals.documents,
        tokens=totals.tokens,
        bytes=totals.bytes,
    )


def _ended(store: Store, key: str) -> datetime | None:
    path = store.path(f"{BUILDS}/{key}/{CIRCUMSTANCES}")
    said: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return datetime.fromisoformat(said["ended"]) if "ended" in said else None


def _rows_of(name: str, source: SourceRecord) -> Iterator[AccountRow]:
    for stage in source.ledger:
        yield from _rows_of_stage(name, stage)
    yield AccountRow(name, KEPT, TRAIN, source.train.documents, source.train.bytes)
    if source.heldout.imported_from is None:
        yield AccountRow(name, KEPT, HELDOUT, source.heldout.documents, source.heldout.bytes)


def _rows_of_stage(name: str, stage: StageRow) -> Iterator[AccountRow]:
    for reason, gone in stage.dropped.items():
        yield AccountRow(name, stage.stage, reason, gone.documents, gone.bytes)
    if stage.bytes_added or stage.bytes_removed:
        yield AccountRow(name, stage.stage, EDITED, 0, stage.bytes_removed - stage.bytes_added)
