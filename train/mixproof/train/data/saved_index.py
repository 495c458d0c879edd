"""The saved index: the arrays that say which windows a run read, in order, in the run's folder `index/`.

`index.json` is an `IndexRecord`; the arrays are `.npy` files beside it, each with its SHA-256:

    stream-000-lengths.npy                      [documents] int32, tokens of each document of the draw
    stream-000-epoch-0000-document_index.npy    [documents] the order in which documents are concatenated
    stream-000-epoch-0000-sample_index.npy      [W + 1, 2] index in document_index, token in that document
    stream-000-epoch-0000-shuffle_index.npy     [W] the order in which windows are read
    phase-000-dataset_index.npy                 [samples] index in the phase's sources of each sample's source
    phase-000-dataset_sample_index.npy          [samples] number of earlier samples of that source in the phase

A run with best-fit packing has, in place of the three arrays of an epoch, its pieces in reading order:

    stream-000-epoch-0000-window_starts.npy     [W + 1] first piece of each window, and the number of pieces
    stream-000-epoch-0000-documents.npy         [pieces] document of each piece
    stream-000-epoch-0000-first_tokens.npy      [pieces] index of its first token in the document
    stream-000-epoch-0000-tokens.npy            [pieces] its tokens
    stream-000-epoch-0000-supervised.npy        [pieces] its supervised tokens, for runs after pretraining

A source with fill-in-the-middle has one more array an epoch, and its lengths, tokens and positions are those of the
transformed documents of that epoch:

    stream-000-epoch-0000-fim.npy               [documents or pieces, 3] int32: 0 as it is, 1 PSM, 2 SPM; content tokens
                                                before the middle, and before the suffix

Sample i of the run, each of its phase's length, is in phase p at j = i - samples of earlier phases. Its source is
`sources[dataset_index[j]]`, its index in that source's stream k = first_windows[...] + dataset_sample_index[j], its
epoch and index in the epoch divmod(k, W). The array names are Megatron's. Together with the draw's provenance this
names the documents of any sample without Megatron, also after the store has moved. This module reads;
`index_writer.py` writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.records.stored_path import StoredPath
from mixproof.train.delivered_record import DrawRecord, FimRecord
from mixproof.train.record import MasksRecord
from mixproof.train.record_part import RecordPart, SparseRecordPart

INDEX_FOLDER = "index"
INDEX = "index.json"


class ArrayRecord(RecordPart):
    """One `.npy` file of the folder."""

    file: StoredPath
    sha256: str


class EpochRecord(SparseRecordPart):
    """One pass of a stream that the run reaches."""

    epoch: NonNegativeInt
    seed: NonNegativeInt
    document_index: ArrayRecord
    sample_index: ArrayRecord
    shuffle_index: ArrayRecord
    windows: NonNegativeInt | None = None
    """Windows of this epoch, with its sentinels; absent without fill-in-the-middle."""
    fim: ArrayRecord | None = None
    """How each document is read; absent without fill-in-the-middle."""

    @property
    def arrays(self) -> tuple[ArrayRecord, ...]:
        """Every array of the epoch."""
        return _present(self.document_index, self.sample_index, self.shuffle_index, self.fim)


class StreamRecord(SparseRecordPart):
    """A source's stream, as far as the run reads it."""

    source: StoredPath
    stream: StoredPath | None = None
    """Name of the stream, if phases read it at their own length or with `min_tokens`; absent if it is the source's."""
    sequence_length: PositiveInt | None = None
    """Of the stream; absent if `stream` is."""
    draw: DrawRecord
    dataset_documents: NonNegativeInt
    """Training documents of the source in the build; the draw is a part of them."""
    dataset_tokens: NonNegativeInt
    windows: NonNegativeInt
    """W: windows of one pass over the draw."""
    rest: NonNegativeInt
    """Tokens at the end of a pass that are never targets: T - 1 - W·S."""
    lengths: ArrayRecord
    fim: FimRecord | None = None
    """Absent without fill-in-the-middle; with it `windows` and `rest` are those of a pass without transformations."""
    epochs: tuple[EpochRecord, ...]

    @property
    def name(self) -> str:
        """Name of the stream."""
        return self.stream or self.source


class PackedEpochRecord(SparseRecordPart):
    """One pass of a packed stream that the run reaches."""

    epoch: NonNegativeInt
    seed: NonNegativeInt
    window_starts: ArrayRecord
    documents: ArrayRecord
    first_tokens: ArrayRecord
    tokens: ArrayRecord
    supervised: ArrayRecord | None = None
    """Absent for pretraining."""
    windows: NonNegativeInt | None = None
    """Windows of this epoch, with its sentinels; absent without fill-in-the-middle."""
    fim: ArrayRecord | None = None
    """How each piece is read; absent without fill-in-the-middle."""

    @property
    def arrays(self) -> tuple[ArrayRecord, ...]:
        """Every array of the epoch."""
        pieces = (self.window_starts, self.documents, self.first_tokens, self.tokens)
        return _present(*pieces, self.supervised, self.fim)


class PackedStreamRecord(SparseRecordPart):
    """A source's stream of packed windows, as far as the run reads it."""

    source: StoredPath
    stream: StoredPath | None = None
    """As in `StreamRecord`."""
    sequence_length: PositiveInt | None = None
    """As in `StreamRecord`."""
    draw: DrawRecord
    dataset_documents: NonNegativeInt
    """Training documents of the source in the build; the draw is a part of them."""
    dataset_tokens: NonNegativeInt
    windows: NonNegativeInt
    """W: windows of one pass over the draw."""
    padding: NonNegativeInt
    """Positions of a pass without a token: W·S - T + left out."""
    left_out: NonNegativeInt | None = None
    """Tokens of the draw that are in no window; absent for pretraining, where there are none."""
    lengths: ArrayRecord
    fim: FimRecord | None = None
    """Absent without fill-in-the-middle; with it `windows` and `padding` are those of a pass without
    transformations."""
    epochs: tuple[PackedEpochRecord, ...]

    @property
    def name(self) -> str:
        """Name of the stream."""
        return self.stream or self.source


class PhaseIndexRecord(SparseRecordPart):
    """A range of the run's samples with its own shares; all tuples are in the order of `sources`."""

    first_sample: NonNegativeInt
    """Of the run's `sequence_length`."""
    samples: NonNegativeInt
    """Of the run's `sequence_length`."""
    sequence_length: PositiveInt | None = None
    """Absent if it is that of the run; otherwise `samples_of` and the arrays have samples of this length."""
    sources: tuple[str, ...]
    streams: tuple[str, ...] | None = None
    """Names of the streams; absent if they are those of the sources."""
    samples_of: tuple[NonNegativeInt, ...]
    first_windows: tuple[NonNegativeInt, ...]
    """Index in each source's stream where the phase starts: windows read by earlier phases."""
    dataset_index: ArrayRecord
    dataset_sample_index: ArrayRecord

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the streams."""
        return self.streams or self.sources


class IndexRecord(RecordPart):
    """The contents of `index.json`."""

    schema_: Literal[1] = 1
    seed: int
    sequence_length: NonNegativeInt
    masks: MasksRecord
    samples: NonNegativeInt
    streams: tuple[StreamRecord, ...] | tuple[PackedStreamRecord, ...]
    """Sorted by name."""
    phases: tuple[PhaseIndexRecord, ...]

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"), populate_by_name=True
    )

    def length_of(self, part: PhaseIndexRecord | StreamRecord | PackedStreamRecord) -> int:
        """Tokens of a sample in a phase or stream."""
        return part.sequence_length or self.sequence_length

    def windows_of(self, phase: PhaseIndexRecord, consumed_samples: int) -> int:
        """Samples of its own length that a phase has read when the run has consumed `consumed_samples` of its own."""
        within = min(max(consumed_samples - phase.first_sample, 0), phase.samples)
        return within * self.sequence_length // self.length_of(phase)

    def batch_of(self, step: int, global_batch_size: int) -> range:
        """Return the samples of a step, from 1, each of its phase's length, counted over the run."""
        first = (step - 1) * global_batch_size
        bounds = (first, min(first + global_batch_size, self.samples))
        return range(*(sum(self.windows_of(phase, bound) for phase in self.phases) for bound in bounds))

    def step_of(self, sample: int, global_batch_size: int) -> int:
        """Return the step, from 1, that reads a sample, which is counted as in `batch_of`."""
        for phase in self.phases:
            windows = self.windows_of(phase, self.samples)
            if sample < windows:
                consumed = phase.first_sample + sample * self.length_of(phase) // self.sequence_length
                return consumed // global_batch_size + 1
            sample -= windows
        raise IndexError(f"sample {sample} after the last one of the run")


def _present(*arrays: ArrayRecord | None) -> tuple[ArrayRecord, ...]:
    return tuple(array for array in arrays if array is not None)


def read_index_record(folder: Path) -> IndexRecord:
    """Read `index.json`.

    Raises:
        DamagedFileError: when the file is missing or does not follow the schema.
    """
    path = folder / INDEX
    try:
        return IndexRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DamagedFileError(str(path), "whole file", "is missing; train the run again") from None
    except ValidationError as error:
        raise DamagedFileError(str(path), "whole file", f"is not an index of schema 1: {error}") from None


def load_array(folder: Path, array: ArrayRecord) -> NDArray[Any]:
    """Memory-map one array of the folder; the audit checks its checksum.

    Raises:
        DamagedFileError: when the file is missing or truncated.
    """
    path = folder / array.file
    try:
        loaded: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedFileError(str(path), "array", str(error)) from None
    return loaded
