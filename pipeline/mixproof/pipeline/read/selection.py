"""The documents that the stages so far have kept: what every later stage over documents starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixproof.ledger.account import StageRow
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import KeepBitmaps
from mixproof.pipeline.cluster.cluster import Cluster

from .documents import SourceDocuments


@dataclass(frozen=True)
class Selection:
    """Documents, which of them are kept, their account so far, and where and how the next stage runs."""

    spec: Spec
    sources: Mapping[str, SourceDocuments]
    keep: KeepBitmaps
    """What the stages so far have kept of each source."""
    last_rows: Mapping[str, StageRow]
    """The last ledger row of each source so far."""
    store: Store
    cluster: Cluster
