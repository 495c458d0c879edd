"""Delivered: what a run really consumed of each source, replayed from its saved index with numpy alone.

The arrays that Megatron dealt from are read back, and the windows are derived again from them, up to the
consumed samples of the checkpoint: nothing is taken from the budget. On the way E7 is checked for every epoch
(the windows of a pass start S tokens apart, each document and window comes once), E8 for every phase (samples of
the sources = samples of the phase, phases meet, each source's windows go on where they stopped) and E9 (what is
counted per source sums to the consumed samples). So no window was read twice within an epoch.

Epochs are counted over the source, not over the draw: 0.3 means that 30% of the source's windows were seen once
by then, even where the draw holds half of the source. A source that is drawn whole was seen `samples / W` times. Where
a source is cut to stand for a larger run's repetition, the cut is the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError

from .saved_index import (
    ArrayRecord,
    EpochRecord,
    IndexRecord,
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
    """Samples × sequence length."""
    targets: int
    """Tokens that counted in the loss: without those that `eod_mask_loss` masks."""
    epochs: float
    """Passes over the source: 2.0 means that every window was seen twice."""
    unique_tokens: int
    """Targets of the draw that were seen at least once."""


@dataclass(frozen=True)
class Span:
    """A piece of a window: consecutive tokens of one document."""

    document: int
    """Row of the draw's provenance."""
    first_token: int
    tokens: int


def delivered(index_folder: Path, consumed_samples: int) -> dict[str, Delivered]:
    """Replay a run up to its checkpoint.

    Args:
        index_folder: the run's `index/`.
        consumed_samples: of the checkpoint.

    Returns:
        What was consumed of every source in the index, of those not reached yet as well.

    Raises:
        AccountError: when E7, E8 or E9 does not close.
        DamagedFileError: when the index is missing, truncated or of another form.
    """
    record = read_index_record(index_folder)
    if not 0 <= consumed_samples <= record.samples:
        raise AccountError("E9", f"at most {record.samples} samples", consumed_samples, stage="train")
    samples = samples_of(index_folder, record, consumed_samples)
    result: dict[str, Delivered] = {}
    for stream in record.streams:
        targets_of_epochs = [_targets_in_order(index_folder, record, stream, epoch) for epoch in stream.epochs]
        result[stream.source] = _count(record, stream, samples.pop(stream.source), targets_of_epochs)
    if samples:
        raise AccountError("E9", "a stream of every source", f"none of {sorted(samples)}", stage="train")
    return result


def samples_of(index_folder: Path, record: IndexRecord, consumed_samples: int) -> dict[str, int]:
    """Samples per source among the first `consumed_samples`, counted in the blend's arrays.

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
        for place, source in enumerate(phase.sources):
            if phase.first_windows[place] != planned.get(source, 0):
                raise AccountError(
                    "E8",
                    f"window {planned.get(source, 0)} next",
                    f"window {phase.first_windows[place]}",
                    source=source,
                    stage="blend",
                    unit=f"phase {number}",
                )
            planned[source] = planned.get(source, 0) + phase.samples_of[place]
            seen[source] = seen.get(source, 0) + int(counts[place])
        first_sample += phase.samples
    if first_sample != record.samples:
        raise AccountError("E8", record.samples, first_sample, stage="blend")
    if sum(seen.values()) != consumed_samples:
        raise AccountError("E9", consumed_samples, sum(seen.values()), stage="train")
    return seen


def spans_of(index_folder: Path, i: int) -> tuple[str, int, tuple[Span, ...]]:
    """The documents behind sample `i` of a run.

    Returns:
        Its source, the epoch, and the pieces of its S + 1 tokens in order.

    Raises:
        IndexError: when the run has no such sample.
    """
    record = read_index_record(index_folder)
    if not 0 <= i < record.samples:
        raise IndexError(f"sample {i} of a run of {record.samples}")
    phase = next(phase for phase in reversed(record.phases) if phase.first_sample <= i)
    place = int(load_array(index_folder, phase.dataset_index)[i - phase.first_sample])
    before = int(load_array(index_folder, phase.dataset_sample_index)[i - phase.first_sample])
    stream = next(stream for stream in record.streams if stream.source == phase.sources[place])
    epoch, window = divmod(phase.first_windows[place] + before, stream.windows)
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


def _count(
    record: IndexRecord, stream: StreamRecord, samples: int, targets_of_epochs: list[NDArray[np.int64]]
) -> Delivered:
    """Walk the epochs of one stream until its samples are spent."""
    targets, left = 0, samples
    for in_order in targets_of_epochs:
        targets += int(in_order[:left].sum())
        left -= min(left, len(in_order))
    if left:
        raise AccountError(
            "E9", f"epochs for {samples} samples", f"{left} too few", source=stream.source, stage="train"
        )
    windows_of_dataset = (stream.dataset_tokens - 1) // record.sequence_length
    return Delivered(
        samples=samples,
        tokens=samples * record.sequence_length,
        targets=targets,
        epochs=samples / windows_of_dataset,
        unique_tokens=min(samples, stream.windows) * record.sequence_length,
    )


def _targets_in_order(folder: Path, record: IndexRecord, stream: StreamRecord, epoch: EpochRecord) -> NDArray[np.int64]:
    """[W] targets of each window of one pass, in the order in which they are read; checks E7."""
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
    places = ends[starts[:, 0]] - lengths[documents[starts[:, 0]]] + starts[:, 1]
    if not np.array_equal(places, np.arange(stream.windows + 1) * length):
        raise AccountError("E7", f"windows {length} tokens apart", "others", **where)
    targets = np.full(stream.windows, length, np.int64)
    if record.masks.eod_mask_loss:
        eods = (ends - 1) // length
        targets -= np.bincount(eods[eods < stream.windows], minlength=stream.windows)
    in_order: NDArray[np.int64] = targets[order]
    return in_order


def _check_once(index: NDArray[Any], size: int, array: ArrayRecord, where: dict[str, str]) -> None:
    if len(index) != size or not np.array_equal(np.sort(index), np.arange(size)):
        raise AccountError("E7", f"each of {size} once", f"others in {array.file}", **where)


def _check_phase(index: NDArray[Any], sample_index: NDArray[Any], phase: PhaseIndexRecord, number: int) -> None:
    """E8 for one phase, and that each source's samples are numbered in order."""
    unit = f"phase {number}"
    counts = np.bincount(index, minlength=len(phase.sources)).tolist()
    if counts != list(phase.samples_of) or len(index) != phase.samples or len(sample_index) != phase.samples:
        expected = dict(zip(phase.sources, phase.samples_of, strict=True))
        raise AccountError("E8", f"{phase.samples}: {expected}", counts, stage="blend", unit=unit)
    for place, source in enumerate(phase.sources):
        numbers = sample_index[index == place]
        if not np.array_equal(numbers, np.arange(len(numbers))):
            raise AccountError("E8", "windows in order, each once", "others", source=source, stage="blend", unit=unit)
