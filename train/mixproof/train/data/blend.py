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
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget

from .index_writer import IndexWriter
from .megatron_helpers import megatron_helpers
from .packed_stream import PackedStream
from .saved_index import IndexRecord, PhaseIndexRecord
from .streams import Stream


@dataclass(frozen=True)
class PhaseOrder:
    """The sources of the samples of one phase, in order."""

    first_sample: int
    """Among all samples of the run, each of its phase's length."""
    sources: tuple[str, ...]
    streams: tuple[str, ...]
    """Names, in the order of `sources`."""
    samples_of: tuple[int, ...]
    first_windows: tuple[int, ...]
    """Index in each source's stream where the phase starts."""
    dataset_index: NDArray[np.int16]
    """[samples] index in `sources` of each sample's source."""
    dataset_sample_index: NDArray[np.int64]
    """[samples] number of earlier samples of the same source in the phase."""

    def locate(self, j: int) -> tuple[str, int]:
        """Return the stream of the phase's sample `j` and its index in that stream."""
        number = int(self.dataset_index[j])
        return self.streams[number], self.first_windows[number] + int(self.dataset_sample_index[j])


class Blend(Dataset[dict[str, Tensor | int]]):
    """The samples of a run in order; a map-style dataset of `budget.samples` items."""

    def __init__(self, streams: Mapping[str, Stream | PackedStream], budget: RunBudget) -> None:
        """Order the samples of every phase; reads none yet.

        Args:
            streams: of at least every stream with samples in the budget, by name.
            budget: samples per phase and source.

        Raises:
            AccountError: when a phase's samples are not the sum over its sources, or phases leave gaps (E8).
        """
        self.sources = tuple(sorted({stream.source for stream in streams.values()}))
        """Names; a sample's `source` is an index in this tuple."""
        self._budget = budget
        self._streams = dict(streams)
        self._number = {name: self.sources.index(stream.source) for name, stream in streams.items()}
        self._phases = order_phases(budget)
        self._firsts = [phase.first_sample for phase in self._phases]
        self._samples = sum(len(phase.dataset_index) for phase in self._phases)

    def __len__(self) -> int:
        """Samples of the run, each of its phase's length."""
        return self._samples

    def batch_at(self, consumed_samples: int) -> range:
        """Return the samples of the step that starts at `consumed_samples` of the run's length."""
        batch = self._budget.batch_at(consumed_samples)
        return range(batch.first_window, batch.first_window + batch.windows)

    def __getitem__(self, i: int) -> dict[str, Tensor | int]:
        """Read sample `i` of the run.

        Returns:
            `tokens`, `labels`, `position_ids` (int64) and `loss_mask` (float32), [S] each, and `source`, the
            index of the source in `sources`.
        """
        stream, k = self._stream_index(i)
        return {**self._streams[stream].sample(k), "source": self._number[stream]}

    def locate(self, i: int) -> tuple[str, int, int]:
        """Return the stream of sample `i`, its epoch, and its index in the shuffled order of that epoch."""
        stream, k = self._stream_index(i)
        return stream, *self._streams[stream].locate(k)

    def save_index(self, folder: Path) -> dict[str, str]:
        """Write the arrays that replay and trace need, for every epoch that the run reaches.

        Returns:
            SHA-256 of each file by its name in `folder`, including `index.json`.
        """
        writer = IndexWriter(folder)
        used: Counter[str] = Counter()
        for phase in self._phases:
            used.update(dict(zip(phase.streams, phase.samples_of, strict=True)))
        read = sorted(used)
        record = IndexRecord(
            seed=self._streams[read[0]].seed,
            sequence_length=self._budget.sequence_length,
            masks=self._streams[read[0]].masks,
            samples=self._budget.samples,
            streams=tuple(self._streams[name].save(writer, number, used[name]) for number, name in enumerate(read)),
            phases=tuple(
                _save_phase(phase, of_budget, number, writer)
                for number, (phase, of_budget) in enumerate(zip(self._phases, self._budget.phases, strict=True))
            ),
        )
        return writer.finish(record)

    def _stream_index(self, i: int) -> tuple[str, int]:
        if not 0 <= i < self._samples:
            raise IndexError(f"sample {i} of a run of {self._samples}")
        number = bisect_right(self._firsts, i) - 1
        return self._phases[number].locate(i - self._firsts[number])


def order_phases(budget: RunBudget) -> tuple[PhaseOrder, ...]:
    """Order the samples of each phase; each stream continues where the previous phase left it.

    Raises:
        AccountError: when E8 does not close.
    """
    first_window: Counter[str] = Counter()
    ordered: list[PhaseOrder] = []
    first_sample = windows = 0
    for number, phase in enumerate(budget.phases):
        sources = tuple(sorted(phase.samples_of))
        counts = tuple(phase.samples_of[source] for source in sources)
        streams = tuple(phase.stream_of(source) for source in sources)
        unit, tokens = f"phase {number}", phase.samples * budget.sequence_length
        if (phase.first_sample, tokens) != (first_sample, sum(counts) * budget.length_of(phase)):
            expected = f"{phase.samples} samples from {phase.first_sample}"
            raise AccountError("E8", expected, f"{sum(counts)} from {first_sample}", stage="blend", unit=unit)
        dataset_index, dataset_sample_index = interleave(counts)
        found = tuple(np.bincount(dataset_index, minlength=len(counts)).tolist())
        if found != counts:
            raise AccountError("E8", counts, found, stage="blend", unit=unit)
        firsts = tuple(first_window[name] for name in streams)
        orders = (dataset_index, dataset_sample_index)
        ordered.append(PhaseOrder(windows, sources, streams, counts, firsts, *orders))
        first_window.update(dict(zip(streams, counts, strict=True)))
        first_sample += phase.samples
        windows += sum(counts)
    if first_sample != budget.samples:
        raise AccountError("E8", budget.samples, first_sample, stage="blend")
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


def _save_phase(phase: PhaseOrder, of_budget: PhaseBudget, number: int, writer: IndexWriter) -> PhaseIndexRecord:
    name = f"phase-{number:03d}"
    return PhaseIndexRecord(
        first_sample=of_budget.first_sample,
        samples=of_budget.samples,
        sequence_length=of_budget.sequence_length,
        sources=phase.sources,
        streams=None if phase.streams == phase.sources else phase.streams,
        samples_of=phase.samples_of,
        first_windows=phase.first_windows,
        dataset_index=writer.save(phase.dataset_index, f"{name}-dataset_index"),
        dataset_sample_index=writer.save(phase.dataset_sample_index, f"{name}-dataset_sample_index"),
    )
