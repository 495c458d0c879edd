"""The saved index: every array that says which window a run read when, in the folder `index/` of the run.

`index.json` is an `IndexRecord`; the arrays are `.npy` beside it, each with its SHA-256:

    stream-000-lengths.npy                      [documents] int32, tokens of each document of the draw
    stream-000-epoch-0000-document_index.npy    [documents] the order in which documents are laid end to end
    stream-000-epoch-0000-sample_index.npy      [W + 1, 2] place in document_index, token in that document
    stream-000-epoch-0000-shuffle_index.npy     [W] the order in which windows are read
    phase-000-dataset_index.npy                 [samples] which of the phase's sources a sample comes from
    phase-000-dataset_sample_index.npy          [samples] how many samples of that source came before it in the phase

Sample i of the run lies in phase p at j = i - first_sample; its source is `sources[dataset_index[j]]`, its place in
that source's stream k = first_windows[...] + dataset_sample_index[j], its epoch and place in it divmod(k, W). The
names are Megatron's. With the draw's provenance beside it, this is enough to name the documents of any sample
without Megatron, and after the store has moved. This module reads; `blend.py` writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from mixproof.ledger.errors import DamagedFileError
from mixproof.train.record import DrawRecord, MasksRecord

INDEX = "index.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArrayRecord(_Part):
    """One `.npy` of the folder."""

    file: str
    sha256: str


class EpochRecord(_Part):
    """One pass of a stream that the run reaches."""

    epoch: NonNegativeInt
    seed: NonNegativeInt
    document_index: ArrayRecord
    sample_index: ArrayRecord
    shuffle_index: ArrayRecord


class StreamRecord(_Part):
    """A source's stream, as far as the run reads it."""

    source: str
    draw: DrawRecord
    dataset_documents: NonNegativeInt
    """Training documents of the source in the build, of which the draw is a part."""
    dataset_tokens: NonNegativeInt
    windows: NonNegativeInt
    """W of one pass over the draw."""
    rest: NonNegativeInt
    """Tokens of a pass that are never targets: T - 1 - W·S."""
    lengths: ArrayRecord
    epochs: tuple[EpochRecord, ...]


class PhaseIndexRecord(_Part):
    """A stretch of the run with shares of its own; all tuples are in the order of `sources`."""

    first_sample: NonNegativeInt
    samples: NonNegativeInt
    sources: tuple[str, ...]
    samples_of: tuple[NonNegativeInt, ...]
    first_windows: tuple[NonNegativeInt, ...]
    """Where in each source's stream the phase starts: what the phases before have read."""
    dataset_index: ArrayRecord
    dataset_sample_index: ArrayRecord


class IndexRecord(_Part):
    """The statement of a saved index."""

    schema_: Literal[1] = 1
    seed: int
    sequence_length: NonNegativeInt
    masks: MasksRecord
    samples: NonNegativeInt
    streams: tuple[StreamRecord, ...]
    """By name."""
    phases: tuple[PhaseIndexRecord, ...]

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"), populate_by_name=True
    )


def read_index_record(folder: Path) -> IndexRecord:
    """Read `index.json`.

    Raises:
        DamagedFileError: when it is missing or does not follow the schema.
    """
    path = folder / INDEX
    try:
        return IndexRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DamagedFileError(str(path), "whole file", "is missing; train the run again") from None
    except ValidationError as error:
        raise DamagedFileError(str(path), "whole file", f"is no index of schema 1: {error}") from None


def load_array(folder: Path, array: ArrayRecord) -> NDArray[Any]:
    """Map one array of the folder.

    Raises:
        DamagedFileError: when it is missing or truncated. Its checksum is the audit's business.
    """
    path = folder / array.file
    try:
        loaded: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedFileError(str(path), "array", str(error)) from None
    return loaded
