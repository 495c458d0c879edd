"""Audit of a run's saved index: check E7, E8 and E9 on its numbers, and derive every array again.

A checksum alone would not reveal an array that was stale, belonged to another draw or was edited with its checksum. So
the windows of each epoch are derived again from the draw's lengths (read by Megatron's IndexedDataset) and the seed
(`concatenated.py`, `packs.py`), and the order of sources by Megatron's own function; each must equal the saved array.
No code of the writers is used, and Megatron's GPTDataset is not used either.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.tokenize.audit.report import Checks
from mixproof.train.data.megatron_helpers import megatron_helpers
from mixproof.train.data.saved_index import (
    ArrayRecord,
    IndexRecord,
    PackedStreamRecord,
    PhaseIndexRecord,
    StreamRecord,
)
from mixproof.train.record import RunRecord

from .arrays import compare_array
from .concatenated import ConcatenatedAudit
from .packs import PackedAudit
from .phases import check_phase_account
from .stream_audit import StreamAudit, StreamCounts


def check_index_numbers(run: RunRecord, index: IndexRecord, checks: Checks) -> None:
    """Check E7, E8 and E9 with `index.json` and `run.json` only."""
    checks.equal("schema", "as seed of the index", run.seed, index.seed)
    checks.equal("schema", "as masks of the index", run.masks, index.masks)
    checks.equal("E7", "as sequence length of the index", run.sequence_length, index.sequence_length)
    checks.equal("E8", "streams in phases and index", _read_streams(index), [s.name for s in index.streams])
    planned = _check_phases(run, index, checks.at(stage="blend"))
    for stream in index.streams:
        at = checks.at(source=stream.source, stage="stream")
        at.equal("E6", "as the draw of the stream", run.draws.get(stream.name), stream.draw)
        audit_of(run, index, stream).check_numbers(planned[stream.name], at)
        _check_stream_name(index, stream, at)


def audit_of(run: RunRecord, index: IndexRecord, stream: StreamRecord | PackedStreamRecord) -> StreamAudit:
    """Return the checks of a stream."""
    if isinstance(stream, PackedStreamRecord):
        return PackedAudit(run, index, stream)
    return ConcatenatedAudit(run, index, stream)


def check_index_arrays(
    root: Path, run: RunRecord, index: IndexRecord, lengths: dict[str, NDArray[np.int32]], checks: Checks
) -> None:
    """Check the checksum of every array and derive its values again.

    Args:
        root: the store's folder.
        run: the run's record.
        index: its `index.json`.
        lengths: tokens of each document of a stream, for every draw that could be read.
        checks: receives the results.
    """
    folder = f"train/{run.key}/index"
    consumed: Counter[str] = Counter()
    for number, phase in enumerate(index.phases):
        at = checks.at(stage="blend", shard=f"phase {number}")
        of_phase = _check_phase_arrays(root, run, index, phase, at)
        if of_phase is not None:
            check_phase_account(run, index, number, of_phase, at)
            consumed += of_phase
    counts: dict[str, StreamCounts | None] = {}
    for stream in index.streams:
        at, audit = checks.at(source=stream.source, stage="stream"), audit_of(run, index, stream)
        compare_array(root, folder, stream.lengths, lengths.get(stream.name), "E6", at)
        is_only = sum(other.source == stream.source for other in index.streams) == 1
        samples = run.delivered[stream.source].samples if is_only else consumed[stream.name]
        found = audit.check_arrays(root, lengths.get(stream.name), samples, at)
        before = counts.setdefault(stream.source, StreamCounts())
        if found is None or before is None:
            counts[stream.source] = None
        else:
            before.add(found)
    by_source = {stream.source: audit_of(run, index, stream) for stream in index.streams}
    for source, delivered in run.delivered.items():
        at, replayed = checks.at(source=source, stage="train"), counts.get(source)
        names = [stream.name for stream in index.streams if stream.source == source]
        samples = sum(consumed[name] for name in names)
        at.equal("E9", "samples, replayed from the index", samples, delivered.samples)
        if replayed is not None:
            by_source[source].check_counts(replayed, at)


def _check_phase_arrays(
    root: Path, run: RunRecord, index: IndexRecord, phase: PhaseIndexRecord, checks: Checks
) -> Counter[str] | None:
    """Check the arrays of one phase; return the samples of each stream that the run consumed in it."""
    folder = f"train/{run.key}/index"
    datasets, samples = _interleave(phase)
    found = compare_array(root, folder, phase.dataset_index, datasets, "E8", checks)
    compare_array(root, folder, phase.dataset_sample_index, samples, "E8", checks)
    if found is None:
        return None
    consumed = min(max(run.consumed_samples - phase.first_sample, 0), phase.samples)
    reached = found[: consumed * run.sequence_length // (phase.sequence_length or run.sequence_length)]
    checks.equal("E8", "samples of an unknown source", 0, int((found >= len(phase.sources)).sum()))
    return Counter({name: int((reached == number).sum()) for number, name in enumerate(phase.names)})


def named_arrays(index: IndexRecord) -> dict[str, str]:
    """Return the SHA-256 of every array that `index.json` names."""
    arrays: list[ArrayRecord] = []
    for stream in index.streams:
        arrays.append(stream.lengths)
        for epoch in stream.epochs:
            arrays += epoch.arrays
    for phase in index.phases:
        arrays += [phase.dataset_index, phase.dataset_sample_index]
    return {array.file: array.sha256 for array in arrays}


def _read_streams(index: IndexRecord) -> list[str]:
    return sorted({name for phase in index.phases for name in phase.names})


def _check_stream_name(index: IndexRecord, stream: StreamRecord | PackedStreamRecord, checks: Checks) -> None:
    """Check E8: phases read a stream at its own sequence length, and its draw has the documents that its name says."""
    lengths = {phase.sequence_length or index.sequence_length for phase in index.phases if stream.name in phase.names}
    length = stream.sequence_length or index.sequence_length
    checks.equal("E8", "as sequence lengths of its phases", [length], sorted(lengths))
    least = stream.draw.min_tokens
    own = "" if length == index.sequence_length else f"@{length}"
    name = f"{stream.source}{own}" + ("" if least is None else f">={least}")
    checks.equal("E8", "as name of the stream", name, stream.name)


def _check_phases(run: RunRecord, index: IndexRecord, checks: Checks) -> Counter[str]:
    """Check E8 on the numbers of the phases; return the samples of each stream over all phases."""
    checks.equal("E8", "phases", len(run.phases), len(index.phases))
    before: Counter[str] = Counter()
    first_sample = 0
    for number, phase in enumerate(index.phases):
        at = checks.at(shard=f"phase {number}")
        samples_of = dict(zip(phase.sources, phase.samples_of, strict=False))
        tokens = phase.samples * index.sequence_length
        length = phase.sequence_length or index.sequence_length
        at.equal("E8", "tokens of all sources", tokens, sum(phase.samples_of) * length)
        at.equal("E8", "as first sample", first_sample, phase.first_sample)
        next_windows = [before[name] for name in phase.names]
        at.equal("E8", "as next windows of the sources", next_windows, list(phase.first_windows))
        if number < len(run.phases):
            stated = run.phases[number]
            at.equal("E8", "as first sample of the record", first_sample, stated.first_sample)
            at.equal("E8", "samples in the record", phase.samples, stated.samples)
            at.equal("E8", "samples by source in the record", samples_of, dict(stated.samples_of))
            at.equal("E8", "as sequence length in the record", phase.sequence_length, stated.sequence_length)
            names = [stated.stream_of(source) for source in phase.sources]
            at.equal("E8", "as streams in the record", names, list(phase.names))
        before.update(dict(zip(phase.names, phase.samples_of, strict=False)))
        first_sample += phase.samples
    checks.equal("E8", "samples of all phases", index.samples, first_sample)
    return before


def _interleave(phase: PhaseIndexRecord) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Derive Megatron's exhaustive blending; None if the counts are invalid."""
    counts = phase.samples_of
    if not counts or min(counts) < 1 or len(counts) != len(phase.sources):
        return None, None
    datasets, samples = np.zeros(sum(counts), np.int16), np.zeros(sum(counts), np.int64)
    megatron_helpers().build_exhaustive_blending_indices(datasets, samples, np.asarray(counts, np.int64), len(counts))
    return datasets, samples
