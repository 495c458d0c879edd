"""Audit of concatenated windows: the order of each epoch from lengths and seed, its windows by arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.tokenize.audit.report import Checks
from mixproof.train.data.saved_index import EpochRecord, IndexRecord, StreamRecord
from mixproof.train.record import RunRecord

from .arrays import compare_array, seed_of
from .fim import ADDED, Counted, derivation_of, table_of
from .stream_audit import StreamAudit, StreamCounts


class ConcatenatedAudit(StreamAudit):
    """The checks of a stream of concatenated documents."""

    def __init__(self, run: RunRecord, index: IndexRecord, stream: StreamRecord) -> None:
        super().__init__(run, index, stream)
        self.record = stream

    def check_pass(self, checks: Checks) -> None:
        """Check that the windows and the unused tokens are the draw."""
        stream, length = self.record, self.length
        equation = f"tokens = 1 + {stream.windows} · {length} + {stream.rest}"
        checks.equal("E7", equation, stream.draw.tokens, 1 + stream.windows * length + stream.rest)
        checks.true("E7", 0 <= stream.rest < length, f"fewer than {length} unused tokens", str(stream.rest))

    def counts_of(self, samples: int) -> StreamCounts | None:
        """Epochs and unique tokens, from the windows of draw and dataset."""
        epochs = samples / ((self.record.dataset_tokens - 1) // self.length)
        if self.record.fim is not None:
            epochs = self.passes(samples)
        return StreamCounts(epochs=epochs, unique_tokens=max(self.read_of(samples), default=0) * self.length)

    def check_arrays(
        self, root: Path, lengths: NDArray[np.int32] | None, samples: int, checks: Checks
    ) -> StreamCounts | None:
        """Derive every array again."""
        folder = f"train/{self.run.key}/index"
        derivation, counted = derivation_of(root, self.run, self.record, lengths), Counted()
        read = self.read_of(samples)
        for epoch, count in zip(self.record.epochs, read, strict=True):
            at, read_lengths = checks.at(shard=f"epoch {epoch.epoch}"), lengths
            kinds = None if derivation is None else table_of(derivation.of_documents(epoch.epoch))
            self.compare(root, epoch, kinds, at)
            if kinds is not None and lengths is not None:
                read_lengths = lengths + ADDED * (kinds[:, 0] > 0).astype(np.int32)
            expected = _order_of(seed_of(self.index.seed, self.record.name, epoch.epoch), read_lengths, self.length)
            arrays = (epoch.document_index, epoch.sample_index, epoch.shuffle_index)
            for array, derived in zip(arrays, expected, strict=True):
                compare_array(root, folder, array, derived, "E7", at)
            if kinds is not None and read_lengths is not None:
                self._count(counted, epoch, count, (kinds, read_lengths), expected, at)
        return StreamCounts(fim=None if derivation is None else counted)

    def _count(
        self,
        counted: Counted,
        epoch: EpochRecord,
        read: int,
        documents: tuple[NDArray[Any], NDArray[Any]],
        order: tuple[NDArray[Any] | None, ...],
        checks: Checks,
    ) -> None:
        """Count the targets of each document in the windows that were read."""
        document_index, _, shuffle_index = order
        assert document_index is not None and shuffle_index is not None, "derived from a whole draw"
        kinds, lengths = documents
        checks.equal("E7", "windows of the epoch", len(shuffle_index), self.windows_in(epoch))
        windows_read = np.zeros(len(shuffle_index) + 2, bool)
        windows_read[shuffle_index[:read] + 1] = True  # token p is a target of the window before ceil(p / S)
        start = 0
        for document in document_index.tolist():
            stop = start + int(lengths[document])
            positions = np.minimum(-(-np.arange(start, stop) // self.length), len(windows_read) - 1)
            is_target = windows_read[positions]
            counted.add(int(kinds[document, 0]), int(is_target.sum()), begins=bool(is_target[0]))
            start = stop


def _order_of(seed: int, lengths: NDArray[np.int32] | None, sequence_length: int) -> tuple[NDArray[Any] | None, ...]:
    """Derive document, sample and shuffle index of one pass from lengths and seed; None if the draw is damaged."""
    if lengths is None:
        return None, None, None
    state = np.random.RandomState(seed)
    documents = np.arange(len(lengths), dtype=np.int32)
    state.shuffle(documents)
    ends = np.cumsum(lengths[documents], dtype=np.int64)
    windows = (int(ends[-1]) - 1) // sequence_length
    positions = np.arange(windows + 1, dtype=np.int64) * sequence_length
    rows = np.searchsorted(ends, positions, side="right")
    starts = np.stack([rows, positions - (ends[rows] - lengths[documents[rows]])], axis=1)
    order = np.arange(windows, dtype=np.uint32)
    state.shuffle(order)
    return documents, starts, order
