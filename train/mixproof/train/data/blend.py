"""The blend: the order in which a run takes samples from its sources, phase by phase.

The samples of a phase are interleaved by Megatron's exhaustive blending: exactly n_i samples of source i, and every
prefix keeps the proportions to within about one sample. (Megatron's blending by weights and size delivers other counts:
10 samples at .7/.2995/.0005 give the last source 8.3%.) Sources are in alphabetical order. Phases take consecutive
slices of each source's stream, so a source used in two phases never reads the same window twice in a pass.

This calls the C++ function under Megatron's BlendedDataset and gives the same arrays; BlendedDataset itself needs a
process group even to be inspected. E8 is checked on the arrays. Samples are read through GPTDataset.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mixproof.ledger.errors import AccountError
from mixproof.mixtures.arithmetic.budget import PhaseBudget, RunBudget

from .index_writer import IndexWriter
from .megatron_helpers import megatron_helpers
from .packed_stream import PackedStream
from .saved_index import IndexRecord, PhaseIndexRecord
from .streams import Stream


@dataclass(frozen=True)
class PhaseOrder:
    """The sources of the samples of one phase, in order."""

    first_sample: int
    sources: tuple[str, ...]
    samples_of: tuple[int, ...]
    first_windows: tuple[int, ...]
    """Index in each source's stream where the phase starts."""
    dataset_index: NDArray[np.int16]
    """[samples] index in `sources` of each sample's source."""
    dataset_sample_index: NDArray[np.int64]
    """[samples] number of earlier samples of the same source in the phase."""

    def locate(self, j: int) -> tuple[str, int]:
        """Return the source of the phase's sample `j` and its index in that source's stream."""
        number = int(self.dataset_index[j])
        return self.sources[number], self.first_windows[number] + int(self.dataset_sample_index[j])


class Blend(Dataset[dict[str, Tensor | int]]):
    """The samples of a run in order; a map-style dataset of `budget.samples` items."""

    def __init__(self, streams: Mapping[str, Stream | PackedStream], budget: RunBudget) -> None:
        """Order the samples of every phase; reads none yet.

        Args:
            streams: of at least every source with samples in the budget.
            budget: samples per phase and source.

        Raises:
            AccountError: when a phase's samples are not the sum over its sources, or phases leave gaps (E8).
        """
        self.sources = tuple(sorted(streams))
        """Names; a sample's `source` is an index in this tuple."""
        self.sequence_length = budget.sequence_length
        self._streams = dict(streams)
        self._number = {source: i for i, source in enumerate(self.sources)}
        self._phases = order_phases(budget.phases)
        self._firsts = [phase.first_sample for phase in self._phases]
        self._samples = sum(len(phase.dataset_index) for phase in self._phases)
        if self._samples != budget.samples:
            raise AccountError("E8", budget.samples, self._samples, stage="blend")

    def __len__(self) -> int:
        """Samples of the run."""
        return self._samples

    def __getitem__(self, i: int) -> dict[str, Tensor | int]:
        """Read sample `i` of the run.

        Returns:
            `tokens`, `labels`, `position_ids` (int64) and `loss_mask` (float32), [S] each, and `source`, the
            index of the source in `sources`.
        """
        source, k = self._stream_index(i)
        return {**self._streams[source].sample(k), "source": self._number[source]}

    def locate(self, i: int) -> tuple[str, int, int]:
        """Return the source of sample `i`, its epoch, and its index in the shuffled order of that epoch."""
        source, k = self._stream_index(i)
        return source, *self._streams[source].locate(k)

    def save_index(self, folder: Path) -> dict[str, str]:
        """Write the arrays that replay and trace need, for every epoch that the run reaches.

        Returns:
            SHA-256 of each file by its name in `folder`, including `index.json`.
        """
        writer = IndexWriter(folder)
        used: Counter[str] = Counter()
        for phase in self._phases:
            used.update(dict(zip(phase.sources, phase.samples_of, strict=True)))
        read = sorted(used)
        record = IndexRecord(
            seed=self._streams[read[0]].seed,
            sequence_length=self.sequence_length,
            masks=self._streams[read[0]].masks,
            samples=len(self),
            streams=tuple(
                self._streams[source].save(writer, number, used[source]) for number, source in enumerate(read)
            ),
            phases=tuple(_save_phase(phase, number, writer) for number, phase in enumerate(self._phases)),
        )
        return writer.finish(record)

    def _stream_index(self, i: int) -> tuple[str, int]:
        if not 0 <= i < self._samples:
            raise IndexError(f"sample {i} of a run of {self._samples}")
        number = bisect_right(self._firsts, i) - 1
        return self._phases[number].locate(i - self._firsts[number])


def order_phases(phases: Sequence[PhaseBudget]) -> tuple[PhaseOrder, ...]:
    """Order the samples of each phase; each source continues where the previous phase left it.

    Raises:
        AccountError: when E8 does not close.
    """
    first_window: Counter[str] = Counter()
    ordered: list[PhaseOrder] = []
    first_sample = 0
    for number, phase in enumerate(phases):
        sources = tuple(sorted(phase.samples_of))
        counts = tuple(phase.samples_of[source] for source in sources)
        unit = f"phase {number}"
        if (phase.first_sample, phase.samples) != (first_sample, sum(counts)):
            expected = f"{phase.samples} samples from {phase.first_sample}"
            raise AccountError("E8", expected, f"{sum(counts)} from {first_sample}", stage="blend", unit=unit)
        dataset_index, dataset_sample_index = interleave(counts)
        found = tuple(np.bincount(dataset_index, minlength=len(counts)).tolist())
        if found != counts:
            raise AccountError("E8", counts, found, stage="blend", unit=unit)
        firsts = tuple(first_window[source] for source in sources)
        ordered.append(PhaseOrder(first_sample, sources, counts, firsts, dataset_index, dataset_sample_index))
        first_window.update(phase.samples_of)
        first_sample += phase.samples
    return tuple(ordered)


def interleave(counts: Sequence[int]) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Interleave `counts[d]` samples of each dataset d so that every prefix keeps the proportions.

    Returns:
        [samples] the dataset of each sample, and [samples] the number of earlier samples of the same dataset.

    Raises:
        ValueError: for a count below 1, for which Megatron's function never returns.
    """
    if not counts or min(counts) < 1:
        raise ValueError(f"every dataset needs at least one sample, got {tuple(counts)}")
    samples = sum(counts)
    dataset_index = np.zeros(samples, np.int16)
    dataset_sample_index = np.zeros(samples, np.int64)
    megatron_helpers().build_exhaustive_blending_indices(
        dataset_index, dataset_sample_index, np.asarray(counts, np.int64), len(counts)
    )
    return dataset_index, dataset_sample_index


def _save_phase(phase: PhaseOrder, number: int, writer: IndexWriter) -> PhaseIndexRecord:
    name = f"phase-{number:03d}"
    return PhaseIndexRecord(
        first_sample=phase.first_sample,
        samples=len(phase.dataset_index),
        sources=phase.sources,
        samples_of=phase.samples_of,
        first_windows=phase.first_windows,
        dataset_index=writer.save(phase.dataset_index, f"{name}-dataset_index"),
        dataset_sample_index=writer.save(phase.dataset_sample_index, f"{name}-dataset_sample_index"),
    )
