"""Read every source: the shards' documents and the account of reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixproof.ledger.account import StageRow
from mixproof.ledger.manifest import InputsRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec

from .cluster import Cluster
from .files import InputFile

SHARD_BYTES = 128 * 1000 * 1000


@dataclass(frozen=True)
class Shard:
    """The finished documents of one shard: `<folder>/documents.parquet`, a row a document."""

    source: str
    file: str
    """Name of the input file; "" where the shard holds many files and the column `file` names them."""
    first_record: int
    """Place in the whole file of the shard's record 0: add it to the column `record`."""
    records: int
    """Raw records, rejected and blank ones included."""
    folder: str
    """`read/<key>`, relative to the store."""
    documents: int
    """Rows of `documents.parquet`."""
    text_bytes: int
    """UTF-8 bytes of those rows' texts."""
    documents_sha256: str


@dataclass(frozen=True)
class SourceDocuments:
    """A source after reading and its steps."""

    name: str
    inputs: InputsRecord
    shards: tuple[Shard, ...]
    """In the order of (file, record)."""
    ledger: tuple[StageRow, ...]
    """`read`, then one row a step; shards summed."""


def read_sources(
    spec: Spec,
    files: Mapping[str, tuple[InputFile, ...]],
    store: Store,
    cluster: Cluster,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, SourceDocuments]:
    """Read every source of the spec."""
    raise NotImplementedError
