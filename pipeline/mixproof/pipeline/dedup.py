"""Exact deduplication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixproof.ledger.account import StageRow
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec

from .bitmap import Bitmap
from .cluster import Cluster
from .documents import SourceDocuments


@dataclass(frozen=True)
class Deduplicated:
    """What deduplication kept, per source and shard."""

    keep: dict[str, tuple[Bitmap | None, ...]]
    """Aligned with each source's shards; None keeps all rows."""
    rows: dict[str, StageRow]
    """The ledger's row `dedup` per source; empty when deduplication is off."""
    matrix: tuple[MatrixRow, ...]
    """What each source lost to each, itself included; sorted, without zero rows."""


def deduplicate(spec: Spec, sources: Mapping[str, SourceDocuments], store: Store, cluster: Cluster) -> Deduplicated:
    """Decide which documents stay."""
    raise NotImplementedError
