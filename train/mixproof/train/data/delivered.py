"""Delivered: what a run consumed of each source, replayed from its saved index with numpy only.

The arrays that ordered the samples are read back, and the windows are derived from them up to the consumed samples of
the checkpoint; nothing is taken from the budget. The replay checks E7 for every epoch (the windows of a pass start S
tokens apart; each document and window occurs once), E8 for every phase (samples of the sources = samples of the phase;
phases have no gaps; each source's windows continue where they stopped) and E9 (the counts per source sum to the
consumed samples). So no window was read twice within an epoch.

Epochs are counted over the source, not over the draw: 0.3 means that 30% of the source's windows were seen once, even
if the draw has only half of the source. A source that is drawn whole was seen `samples / W` times. If a source is cut
to simulate the repetition of a larger run, the cut counts as the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError
from mixproof.mixtures.arithmetic.budget import windows

from .packed_replay import replay_packed
from .saved_index import (
    ArrayRecord,
    EpochRecord,
    IndexRecord,
    PackedEpochRecord,
    PackedStreamRecord,
    PhaseIndexRecord,
    StreamRecord,
    load_array,
    read_index_record,
)


@dataclass(frozen=True)
class Delivered:
    """What a run consumed of one source."""

    samples: int
    tokens: int
    """Samples × sequence length: positions, which hold a token each unless windows are packed."""
    targets: int
    """Tokens that counted in the loss: without padding and those masked by `eod_mask_loss`."""
    epochs: float
    """Passes over the source: 2.0 means that every window was seen twice."""
    unique_tokens: int
    """Tokens of the draw that were targets at least once."""
    read_tokens: int | None = None
    """After pretraining: tokens of the pieces read, supervised or context; the other positions are padding."""
    examples: int | None = None
    """After pretraining: conversations read."""


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of one document in a window."""

    document: int
    """Row in the draw's provenance."""
    first_token: int
    tokens: int


def delivered(index_folder: Path, consumed_samples: int) -> dict[str, Delivered]:
    """Replay a run up to its checkpoint.

    Args:
        index_folder: the run's `index/`.
        consumed_samples: of the checkpoint.

    Returns:
        What was consumed of every source in the index, including sources that were not reached.

    Raises:
        AccountError: when E7, E8 or E9 does not close.
        DamagedFileError: when the index is missing, truncated or does not follow the schema.
    """
    record = read_index_record(index_folder)
    if not 0 <= consumed_samples <= record.samples:
        raise AccountError("E9", f"at most {record.samples} samples", consumed_samples, stage="train")
    samples = samples_of(index_folder, record, consumed_samples)
    result: dict[str, Delivered] = {}
    for stream in record.streams:
        read = samples.pop(stream.source)
        if isinstance(stream, PackedStreamRecord):
            result[stream.source] = _count_packed(index_folder, record, stream, read)
        else:
            targets_of_epochs = [_targets_in_order(index_folder, record, stream, epoch) for epoch in stream.epochs]
            result[stream.source] = _count(record, stream, read, targets_of_epochs)
    if samples:
        raise AccountError("E9", "a stream of every source", f"none of {sorted(samples)}", stage="train")
    return result


def samples_of(index_folder: Path, record: IndexRecord, consumed_samples: int) -> dict[str, int]:
    """Count the samples of each source among the first `consumed_samples`, in the blend's arrays.

    Raises:
        AccountError: when E8 or E9 does not close.
    """
    seen = {stream.source: 0 for stream in record.streams}
    planned: dict[str, int] = {}
    first_sample = 0
    for number, phase in enumerate(record.phases):
        index = load_array(index_folder, phase.dataset_index)
        _check_phase(index, load_array(index_folder, phase.dataset_sample_index), phase, number)
        if phase.first_sample != first_sample:
            raise AccountError("E8", first_sample, phase.first_sample, stage="blend", unit=f"phase {number}")
        reached = index[: max(consumed_samples - first_sample, 0)]
        counts = np.bincount(reached, minlength=len(phase.sources))
        for index_of_source, source in enumerate(phase.sources):
            if phase.first_windows[index_of_source] != planned.get(source, 0):
                raise AccountError(
                    "E8",
                    f"window {planned.get(source, 0)} next",
                    f"window {phase.first_windows[index_of_source]}",
                    source=source,
                    stage="blend",
                    unit=f"phase {number}",
                )
            planned[source] = planned.get(source, 0) + phase.samples_of[index_of_source]
            seen[source] = seen.get(source, 0) + int(counts[index_of_source])
        first_sample += phase.samples
    if first_sample != record.samples:
        raise AccountError("E8", record.samples, first_sample, stage="blend")
    if sum(seen.values()) != consumed_samples:
        raise AccountError("E9", consumed_samples, sum(seen.values()), stage="train")
    return seen


def spans_of(index_folder: Path, i: int) -> tuple[str, int, tuple[Span, ...]]:
    """Find the documents that sample `i` of a run read.

    Returns:
        The source, the epoch, and the spans of the S + 1 tokens in order; of a packed window, its pieces.

    Raises:
        IndexError: when the run has no such sample.
    """
    record = read_index_record(index_folder)
    if not 0 <= i < record.samples:
        raise IndexError(f"sample {i} of a run of {record.samples}")
    phase = next(phase for phase in reversed(record.phases) if phase.first_sample <= i)
    number = int(load_array(index_folder, phase.dataset_index)[i - phase.first_sample])
    before = int(load_array(index_folder, phase.dataset_sample_index)[i - phase.first_sample])
    stream = next(stream for stream in record.streams if stream.source == phase.sources[number])
    epoch, window = divmod(phase.first_windows[number] + before, stream.windows)
    if isinstance(stream, PackedStreamRecord):
        return stream.source, epoch, _pieces(index_folder, stream.epochs[epoch], window)
    arrays = stream.epochs[epoch]
    start = int(load_array(index_folder, arrays.shuffle_index)[window])
    sample_index = load_array(index_folder, arrays.sample_index)
    (first, skip), (last, end) = sample_index[start].tolist(), sample_index[start + 1].tolist()
    documents = load_array(index_folder, arrays.document_index)[first : last + 1].tolist()
    lengths = load_array(index_folder, stream.lengths)
    spans: list[Span] = []
    for document in documents:
        stop = end + 1 if len(spans) == last - first else int(lengths[document])
        spans.append(Span(document, skip, stop - skip))
        skip = 0
    return stream.source, epoch, tuple(spans)


def _pieces(index_folder: Path, arrays: PackedEpochRecord, window: int) -> tuple[Span, ...]:
    """Return the pieces of one packed window."""
    first, last = load_array(index_folder, arrays.window_starts)[window : window + 2].tolist()
    columns = (
        load_array(index_folder, array)[first:last].tolist()
        for array in (arrays.documents, arrays.first_tokens, arrays.tokens)
    )
    return tuple(Span(*piece) for piece in zip(*columns, strict=True))


def _count(
    record: IndexRecord, stream: StreamRecord, samples: int, targets_of_epochs: list[NDArray[np.int64]]
) -> Delivered:
    """Walk through the epochs of one stream until its samples are used up."""
    targets, remaining = 0, samples
    for in_order in targets_of_epochs:
        targets += int(in_order[:remaining].sum())
        remaining -= min(remaining, len(in_order))
    if remaining:
        raise AccountError(
            "E9", f"epochs for {samples} samples", f"{remaining} too few", source=stream.source, stage="train"
        )
    return Delivered(
        samples=samples,
        tokens=samples * record.sequence_length,
        targets=targets,
        epochs=samples / windows(stream.dataset_tokens, record.sequence_length),
        unique_tokens=min(samples, stream.windows) * record.sequence_length,
    )


def _targets_in_order(folder: Path, record: IndexRecord, stream: StreamRecord, epoch: EpochRecord) -> NDArray[np.int64]:
    """Return [W] the targets of each window of one pass in reading order; checks E7."""
    length, source = record.sequence_length, stream.source
    lengths = load_array(folder, stream.lengths)
    documents = load_array(folder, epoch.document_index)
    starts = load_array(folder, epoch.sample_index)
    order = load_array(folder, epoch.shuffle_index)
    where = {"source": source, "stage": "stream", "unit": f"epoch {epoch.epoch}"}
    tokens = int(lengths.sum(dtype=np.int64))
    if tokens != 1 + stream.windows * length + stream.rest or tokens != stream.draw.tokens:
        equation = f"1 + {stream.windows} · {length} + {stream.rest}"
        raise AccountError("E7", f"{stream.draw.tokens} = {equation}", tokens, **where)
    if starts.shape != (stream.windows + 1, 2) or not 0 <= stream.rest < length:
        raise AccountError("E7", f"{stream.windows} windows", f"{len(starts) - 1}", **where)
    _check_once(documents, len(lengths), epoch.document_index, where)
    _check_once(order, stream.windows, epoch.shuffle_index, where)
    ends = np.cumsum(lengths[documents], dtype=np.int64)
    positions = ends[starts[:, 0]] - lengths[documents[starts[:, 0]]] + starts[:, 1]
    if not np.array_equal(positions, np.arange(stream.windows + 1) * length):
        raise AccountError("E7", f"windows {length} tokens apart", "others", **where)
    targets = np.full(stream.windows, length, np.int64)
    if record.masks.eod_mask_loss:
        eods = (ends - 1) // length
        targets -= np.bincount(eods[eods < stream.windows], minlength=stream.windows)
    in_order: NDArray[np.int64] = targets[order]
    return in_order


def _count_packed(folder: Path, record: IndexRecord, stream: PackedStreamRecord, samples: int) -> Delivered:
    """Replay one packed stream; epochs are passes over what its windows hold."""
    counts = replay_packed(folder, record, stream, samples)
    supervised = bool(record.masks.supervised)
    return Delivered(
        samples=samples,
        tokens=samples * record.sequence_length,
        targets=counts.targets,
        epochs=counts.tokens / (stream.dataset_tokens - (stream.left_out or 0)),
        unique_tokens=counts.unique_tokens,
        read_tokens=counts.tokens if supervised else None,
        examples=counts.examples if supervised else None,
    )


def _check_once(index: NDArray[Any], size: int, array: ArrayRecord, where: dict[str, str]) -> None:
    if len(index) != size or not np.array_equal(np.sort(index), np.arange(size)):
        raise AccountError("E7", f"each of {size} once", f"others in {array.file}", **where)


def _check_phase(index: NDArray[Any], sample_index: NDArray[Any], phase: PhaseIndexRecord, number: int) -> None:
    """Check E8 for one phase, and that each source's samples are numbered in order."""
    unit = f"phase {number}"
    counts = np.bincount(index, minlength=len(phase.sources)).tolist()
    if counts != list(phase.samples_of) or len(index) != phase.samples or len(sample_index) != phase.samples:
        expected = dict(zip(phase.sources, phase.samples_of, strict=True))
        raise AccountError("E8", f"{phase.samples}: {expected}", counts, stage="blend", unit=unit)
    for index_of_source, source in enumerate(phase.sources):
        numbers = sample_index[index == index_of_source]
        if not np.array_equal(numbers, np.arange(len(numbers))):
            raise AccountError("E8", "windows in order, each once", "others", source=source, stage="blend", unit=unit)
