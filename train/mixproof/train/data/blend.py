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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import canonical_json, sha256_of_file
from mixproof.ledger.store import publish, publish_bytes
from mixproof.mixtures.arithmetic.budget import PhaseBudget, RunBudget

from .megatron_helpers import megatron_helpers
from .packed_stream import PackedStream
from .saved_index import (
    INDEX,
    ArrayRecord,
    EpochRecord,
    IndexRecord,
    PackedEpochRecord,
    PackedStreamRecord,
    PhaseIndexRecord,
    StreamRecord,
)
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

    def __init__(self, streams: Mapping[str, Stream] | Mapping[str, PackedStream], budget: RunBudget) -> None:
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
        self._streams: dict[str, Stream | PackedStream] = dict(streams)
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
        folder.mkdir(parents=True, exist_ok=True)
        files: dict[str, str] = {}
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
                _save_stream(self._streams[source], number, used[source], folder, files)
                for number, source in enumerate(read)
            ),
            phases=tuple(_save_phase(phase, number, folder, files) for number, phase in enumerate(self._phases)),
        )
        publish_bytes(canonical_json(record.model_dump(mode="json", by_alias=True)), folder / INDEX)
        files[INDEX] = sha256_of_file(folder / INDEX)
        return files

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


def _save_array(array: NDArray[Any], name: str, folder: Path, files: dict[str, str]) -> ArrayRecord:
    path = folder / f"{name}.npy"
    scratch = folder / f".{name}.npy"
    np.save(scratch, array, allow_pickle=False)
    publish(scratch, path)
    files[path.name] = sha256_of_file(path)
    return ArrayRecord(file=path.name, sha256=files[path.name])


def _save_stream(
    stream: Stream | PackedStream, number: int, samples: int, folder: Path, files: dict[str, str]
) -> StreamRecord | PackedStreamRecord:
    if isinstance(stream, PackedStream):
        return _save_packed(stream, number, samples, folder, files)
    epochs = []
    for epoch in range(stream.locate(samples - 1)[0] + 1):
        dataset = stream.epoch(epoch)
        name = f"stream-{number:03d}-epoch-{epoch:04d}"
        epochs.append(
            EpochRecord(
                epoch=epoch,
                seed=stream.seed_of(epoch),
                document_index=_save_array(dataset.document_index, f"{name}-document_index", folder, files),
                sample_index=_save_array(dataset.sample_index, f"{name}-sample_index", folder, files),
                shuffle_index=_save_array(dataset.shuffle_index, f"{name}-shuffle_index", folder, files),
            )
        )
    return StreamRecord(
        **_drawn(stream, number, folder, files),
        rest=stream.unused_tokens,
        epochs=tuple(epochs),
    )


def _save_packed(
    stream: PackedStream, number: int, samples: int, folder: Path, files: dict[str, str]
) -> PackedStreamRecord:
    epochs = []
    for epoch in range(stream.locate(samples - 1)[0] + 1):
        pack = stream.epoch(epoch)
        name = f"stream-{number:03d}-epoch-{epoch:04d}"
        epochs.append(
            PackedEpochRecord(
                epoch=epoch,
                seed=stream.seed_of(epoch),
                window_starts=_save_array(pack.window_starts, f"{name}-window_starts", folder, files),
                documents=_save_array(pack.documents, f"{name}-documents", folder, files),
                first_tokens=_save_array(pack.first_tokens, f"{name}-first_tokens", folder, files),
                tokens=_save_array(pack.tokens, f"{name}-tokens", folder, files),
                supervised=None
                if pack.supervised is None
                else _save_array(pack.supervised, f"{name}-supervised", folder, files),
            )
        )
    return PackedStreamRecord(
        **_drawn(stream, number, folder, files),
        padding=stream.padding,
        left_out=None if stream.mask is None else stream.left_out,
        epochs=tuple(epochs),
    )


def _drawn(stream: Stream | PackedStream, number: int, folder: Path, files: dict[str, str]) -> dict[str, Any]:
    """Save the lengths of a stream's documents; return what its record says of the draw and its windows."""
    return {
        "source": stream.source,
        "draw": stream.draw.record,
        "dataset_documents": stream.draw.dataset_documents,
        "dataset_tokens": stream.draw.dataset_tokens,
        "windows": stream.windows,
        "lengths": _save_array(stream.lengths, f"stream-{number:03d}-lengths", folder, files),
    }


def _save_phase(phase: PhaseOrder, number: int, folder: Path, files: dict[str, str]) -> PhaseIndexRecord:
    name = f"phase-{number:03d}"
    return PhaseIndexRecord(
        first_sample=phase.first_sample,
        samples=len(phase.dataset_index),
        sources=phase.sources,
        samples_of=phase.samples_of,
        first_windows=phase.first_windows,
        dataset_index=_save_array(phase.dataset_index, f"{name}-dataset_index", folder, files),
        dataset_sample_index=_save_array(phase.dataset_sample_index, f"{name}-dataset_sample_index", folder, files),
    )
