"""The base of an audited stream: what must hold for a source's windows, independent of how they are filled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.tokenize.audit.report import Checks
from mixproof.train.data.saved_index import (
    EpochRecord,
    IndexRecord,
    PackedEpochRecord,
    PackedStreamRecord,
    StreamRecord,
)
from mixproof.train.record import RunRecord

from .arrays import compare_array, seed_of
from .fim import Counted, check_fim_numbers


@dataclass
class StreamCounts:
    """What was replayed of a source, over all its streams; a count that its windows do not have stays 0."""

    tokens: int = 0
    targets: int = 0
    unique_tokens: int = 0
    epochs: float = 0.0
    examples: int = 0
    fim: Counted | None = None

    def add(self, other: StreamCounts) -> None:
        """Add another stream of the source."""
        self.tokens, self.targets = self.tokens + other.tokens, self.targets + other.targets
        self.unique_tokens, self.epochs = self.unique_tokens + other.unique_tokens, self.epochs + other.epochs
        self.examples += other.examples
        if other.fim is not None:
            self.fim = self.fim or Counted()
            self.fim.add_counted(other.fim)


class StreamAudit(ABC):
    """The checks of one stream of an index."""

    def __init__(self, run: RunRecord, index: IndexRecord, stream: StreamRecord | PackedStreamRecord) -> None:
        self.run, self.index, self.stream = run, index, stream
        self.length = stream.sequence_length or index.sequence_length

    def check_numbers(self, samples: int, checks: Checks) -> None:
        """Check E7 with the numbers of `index.json` only; the phases read `samples` windows of the stream."""
        stream = self.stream
        self.check_pass(checks)
        check_fim_numbers(self.run, stream, checks)
        if not checks.true("E7", all(self.windows_in(e) > 0 for e in stream.epochs), "at least one window", "none"):
            return
        before = sum(self.windows_in(epoch) for epoch in stream.epochs[:-1])
        enough = before < samples <= before + sum(self.windows_in(epoch) for epoch in stream.epochs[-1:])
        checks.true("E7", enough, f"as many epochs as {samples} windows need", f"{len(stream.epochs)}")
        checks.equal("E7", "as epochs", list(range(len(stream.epochs))), [epoch.epoch for epoch in stream.epochs])
        for epoch in stream.epochs:
            seed = seed_of(self.index.seed, stream.name, epoch.epoch)
            checks.at(shard=f"epoch {epoch.epoch}").equal("E7", "as seed", seed, epoch.seed)

    def windows_in(self, epoch: EpochRecord | PackedEpochRecord) -> int:
        """Windows of one epoch."""
        return self.stream.windows if epoch.windows is None else epoch.windows

    def read_of(self, samples: int) -> list[int]:
        """How many of the first `samples` windows each epoch has."""
        read = []
        for epoch in self.stream.epochs:
            read.append(min(samples, self.windows_in(epoch)))
            samples -= read[-1]
        return read

    def passes(self, samples: int) -> float:
        """Passes over a source with fill-in-the-middle, whose epochs have their own numbers of windows."""
        sizes = [self.windows_in(epoch) for epoch in self.stream.epochs]
        passes = sum(count / size for count, size in zip(self.read_of(samples), sizes, strict=True))
        return passes * self.stream.draw.tokens / self.stream.dataset_tokens

    def compare(
        self, root: Path, epoch: EpochRecord | PackedEpochRecord, expected: NDArray[Any] | None, checks: Checks
    ) -> NDArray[Any] | None:
        """Compare the transformations of an epoch with those derived."""
        if epoch.fim is None:
            return None
        return compare_array(root, f"train/{self.run.key}/index", epoch.fim, expected, "E7", checks)

    @abstractmethod
    def check_pass(self, checks: Checks) -> None:
        """Check E7 on the numbers of one pass."""

    @abstractmethod
    def counts_of(self, samples: int) -> StreamCounts | None:
        """Epochs and unique tokens of the first samples, by the numbers of `index.json`; None: they do not say."""

    @abstractmethod
    def check_arrays(
        self, root: Path, lengths: NDArray[np.int32] | None, samples: int, checks: Checks
    ) -> StreamCounts | None:
        """Check the arrays of every pass, and count what the first samples read.

        Args:
            root: the store's folder.
            lengths: tokens of each document of the draw; None: it is damaged.
            samples: that the run consumed of the stream.
            checks: receives the results.

        Returns:
            None if the arrays are damaged.
        """

    def check_counts(self, counts: StreamCounts, checks: Checks) -> None:
        """Check what the record states of the source against what was replayed of all its streams."""
        if counts.fim is not None:
            counts.fim.check(self.run.delivered[self.stream.source], checks)
