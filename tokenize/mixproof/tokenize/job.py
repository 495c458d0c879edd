"""What every stage of a build needs: the spec, the store, the cluster, and a clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from mixproof.ledger.account import StageRow
from mixproof.ledger.store import Store
from mixproof.mixtures.load import LoadedSpec
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import KeepBitmaps
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.selection import Selection


class Clock:
    """Wall-clock time of each stage, in seconds."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time spent inside the context to `stage`."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0) + time.perf_counter() - start, 3)


@dataclass(frozen=True)
class Job:
    """A build in progress."""

    loaded: LoadedSpec
    store: Store
    cluster: Cluster
    clock: Clock

    @property
    def spec(self) -> Spec:
        """The spec, with the parts of the sources that have been split so far."""
        return self.loaded.spec

    def selection(
        self, sources: Mapping[str, SourceDocuments], keep: KeepBitmaps, rows: Mapping[str, Sequence[StageRow]]
    ) -> Selection:
        """Return the input of the next stage over documents."""
        last_rows = {name: chain[-1] for name, chain in rows.items()}
        return Selection(self.spec, sources, keep, last_rows, self.store, self.cluster)
