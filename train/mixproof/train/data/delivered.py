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

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError

from .concatenated_replay import SavedConcatenation
from .packed_replay import SavedPacking
from .saved_index import IndexRecord, PackedStreamRecord, PhaseIndexRecord, load_array, read_index_record
from .saved_stream import Delivered, SavedStream, Span


def saved_streams(folder: Path, index: IndexRecord) -> dict[str, SavedStream]:
    """Open every stream of a saved index, by name."""
    return {
        stream.name: SavedPacking(folder, index, stream)
        if isinstance(stream, PackedStreamRecord)
        else SavedConcatenation(folder, index, stream)
        for stream in index.streams
    }


def delivered(index_folder: Path, consumed_samples: int) -> dict[str, Delivered]:
    """Replay a run up to its checkpoint, with the streams of each source added up.

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
    for name, stream in saved_streams(index_folder, record).items():
        of_stream = stream.delivered(samples.pop(name))
        before = result.get(stream.source)
        result[stream.source] = of_stream if before is None else before + of_stream
    if samples:
        raise AccountError("E9", "a stream of every source", f"none of {sorted(samples)}", stage="train")
    return result


def samples_of(index_folder: Path, record: IndexRecord, consumed_samples: int) -> dict[str, int]:
    """Count the samples of each stream, of its own length, among the first `consumed_samples` of the run's length.

    Raises:
        AccountError: when E8 or E9 does not close.
    """
    seen = {stream.name: 0 for stream in record.streams}
    planned: dict[str, int] = {}
    first_sample = tokens = 0
    for number, phase in enumerate(record.phases):
        index = load_array(index_folder, phase.dataset_index)
        _check_phase(index, load_array(index_folder, phase.dataset_sample_index), phase, number)
        if phase.first_sample != first_sample:
            raise AccountError("E8", first_sample, phase.first_sample, stage="blend", unit=f"phase {number}")
        reached = index[: record.windows_of(phase, consumed_samples)]
        counts = np.bincount(reached, minlength=len(phase.sources))
        if len(index) * record.length_of(phase) != phase.samples * record.sequence_length:
            expected = f"{phase.samples * record.sequence_length} tokens"
            raise AccountError("E8", expected, f"{len(index)} samples", stage="blend", unit=f"phase {number}")
        tokens += len(reached) * record.length_of(phase)
        for index_of_source, source in enumerate(phase.names):
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
    if tokens != consumed_samples * record.sequence_length:
        raise AccountError("E9", f"{consumed_samples * record.sequence_length} tokens", tokens, stage="train")
    return seen


def spans_of(index_folder: Path, i: int) -> tuple[str, int, tuple[Span, ...]]:
    """Find the documents that sample `i` of a run read; samples are counted in reading order; their lengths may differ.

    Returns:
        The stream, the epoch, and the spans of the S + 1 tokens in order; of a packed window, its pieces.

    Raises:
        IndexError: when the run has no such sample.
    """
    record = read_index_record(index_folder)
    j = i
    for phase in record.phases:
        windows = record.windows_of(phase, record.samples)
        if 0 <= j < windows:
            number = int(load_array(index_folder, phase.dataset_index)[j])
            before = int(load_array(index_folder, phase.dataset_sample_index)[j])
            stream = saved_streams(index_folder, record)[phase.names[number]]
            epoch, window = stream.locate(phase.first_windows[number] + before)
            return stream.name, epoch, stream.spans(epoch, window)
        j -= windows
    raise IndexError(f"sample {i} of a run of {i - j}")


def _check_phase(index: NDArray[Any], sample_index: NDArray[Any], phase: PhaseIndexRecord, number: int) -> None:
    """Check E8 for one phase, and that each source's samples are numbered in order."""
    unit = f"phase {number}"
    counts = np.bincount(index, minlength=len(phase.sources)).tolist()
    if counts != list(phase.samples_of) or not len(index) == len(sample_index) == sum(phase.samples_of):
        expected = dict(zip(phase.sources, phase.samples_of, strict=True))
        raise AccountError("E8", f"{phase.samples}: {expected}", counts, stage="blend", unit=unit)
    for index_of_source, source in enumerate(phase.sources):
        numbers = sample_index[index == index_of_source]
        if not np.array_equal(numbers, np.arange(len(numbers))):
            raise AccountError("E8", "windows in order, each once", "others", source=source, stage="blend", unit=unit)
