"""The base of a replayed stream: what the windows of one source held, from a run's saved index with numpy only.

Epochs are counted over the source, not over the draw. With fill-in-the-middle every epoch has its own number of windows
and of tokens, so an epoch counts as the share of its windows that was read, times the draw's share of the source.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError
from mixproof.train.delivered_record import FimDelivered

from .fim import PSM, SPM
from .saved_index import EpochRecord, IndexRecord, PackedEpochRecord, PackedStreamRecord, StreamRecord, load_array


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
    """Tokens of the draw that were targets at least once; with fill-in-the-middle, the most that one pass read."""
    read_tokens: int | None = None
    """After pretraining: tokens of the pieces read, supervised or context; the other positions are padding."""
    examples: int | None = None
    """After pretraining: conversations read."""
    fim: FimDelivered | None = None
    """None without fill-in-the-middle."""

    def __add__(self, other: Delivered) -> Delivered:
        """Add another stream of the source, in pretraining; their documents differ, or are counted once for each."""
        return Delivered(
            samples=self.samples + other.samples,
            tokens=self.tokens + other.tokens,
            targets=self.targets + other.targets,
            epochs=self.epochs + other.epochs,
            unique_tokens=self.unique_tokens + other.unique_tokens,
            fim=sum_fim([fim for fim in (self.fim, other.fim) if fim is not None]),
        )


class LeftOut(NamedTuple):
    """What no window of a pass holds of a source's conversations: the rest of one that is too long, or all of it."""

    documents: int
    """Conversations, or answers of pairs, that are shortened or left out."""
    tokens: int


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of one document in a window."""

    document: int
    """Row in the draw's provenance."""
    first_token: int
    """Index in the document; in the transformed document, with fill-in-the-middle of documents."""
    tokens: int
    arrangement: tuple[int, int, int] | None = None
    """With fill-in-the-middle: kind of the document, or of this piece, and its cuts."""


class Reading(NamedTuple):
    """One window of a stream that read tokens of a document."""

    window: int
    """Index in the stream."""
    epoch: int
    first_token: int
    """Index in the document, as in `Span`."""
    tokens: int
    targets: int
    """Those of the tokens that were targets in this window."""
    kind: int | None
    """With fill-in-the-middle: kind of the document, or of this piece."""


class SavedStream(ABC):
    """One stream of a saved index."""

    def __init__(self, folder: Path, index: IndexRecord, record: StreamRecord | PackedStreamRecord) -> None:
        self.folder, self.index, self.source, self.name = folder, index, record.source, record.name
        self.length = index.length_of(record)
        self._record = record

    @abstractmethod
    def delivered(self, samples: int) -> Delivered:
        """Replay the first `samples` windows.

        Raises:
            AccountError: when E7 or E9 does not close.
        """

    @abstractmethod
    def spans(self, epoch: int, window: int) -> tuple[Span, ...]:
        """Return the documents that the window at index `window` of an epoch's reading order read, in order."""

    @abstractmethod
    def readings(self, document: int) -> Iterator[Reading]:
        """Yield every window of the saved epochs that read tokens of a document."""

    @abstractmethod
    def padding(self, samples: int) -> int:
        """Return the positions without a token in the first `samples` windows."""

    def left_out(self) -> LeftOut | None:
        """What no window of a pass holds, where conversations may be too long; None in pretraining."""
        return None

    @abstractmethod
    def cut_documents(self, samples: int) -> int:
        """Count the documents that would fit into a window and were cut, in the first `samples` windows."""

    @property
    def epochs(self) -> Sequence[EpochRecord | PackedEpochRecord]:
        """The epochs that the run reached."""
        return self._record.epochs

    def windows_in(self, epoch: EpochRecord | PackedEpochRecord) -> int:
        """Windows of an epoch."""
        return self._record.windows if epoch.windows is None else epoch.windows

    def locate(self, k: int) -> tuple[int, int]:
        """Return the epoch of the stream's window `k` and its index in the reading order of that epoch."""
        for epoch in self.epochs:
            if k < self.windows_in(epoch):
                return epoch.epoch, k
            k -= self.windows_in(epoch)
        raise IndexError(f"source {self.source}: window {k} after the last epoch of the index")

    def read_of(self, samples: int) -> list[int]:
        """Return how many windows the first `samples` are in each epoch.

        Raises:
            AccountError: when the index has too few epochs (E9).
        """
        read = []
        for epoch in self.epochs:
            read.append(min(samples, self.windows_in(epoch)))
            samples -= read[-1]
        if samples:
            expected = f"epochs for {samples + sum(read)} samples"
            raise AccountError("E9", expected, f"{samples} too few", stage="train", source=self.source)
        return read

    def first_window_of(self, epoch: int) -> int:
        """Return the index in the stream of an epoch's first window."""
        return sum(self.windows_in(before) for before in self.epochs[:epoch])

    def epochs_of_windows(self, read: Sequence[int]) -> float:
        """Return the passes over the source of a stream with fill-in-the-middle; `read` is `read_of`."""
        passes = sum(count / self.windows_in(epoch) for count, epoch in zip(read, self.epochs, strict=True))
        return passes * self._record.draw.tokens / self._record.dataset_tokens

    def arrangements(self, epoch: EpochRecord | PackedEpochRecord) -> NDArray[np.int32] | None:
        """Return how the documents or pieces of an epoch are read; None without fill-in-the-middle."""
        return None if epoch.fim is None else load_array(self.folder, epoch.fim)


def count_fim(kinds: NDArray[np.int32], begins: NDArray[np.bool_], tokens: NDArray[np.int64]) -> FimDelivered:
    """Count what was read of one epoch.

    Args:
        kinds: [texts] kind of each document or piece.
        begins: [texts] whether its first token was read.
        tokens: [texts] how many of its tokens were read.
    """
    return FimDelivered(
        documents=int(begins.sum()),
        psm_documents=int((begins & (kinds == PSM)).sum()),
        spm_documents=int((begins & (kinds == SPM)).sum()),
        psm_tokens=int(tokens[kinds == PSM].sum()),
        spm_tokens=int(tokens[kinds == SPM].sum()),
    )


def sum_fim(counts: Sequence[FimDelivered]) -> FimDelivered | None:
    """Add up epochs; None if there are none."""
    if not counts:
        return None
    names = FimDelivered.model_fields
    return FimDelivered(**{name: sum(getattr(count, name) for count in counts) for name in names})
