"""Replay of concatenated documents: Megatron's GPTDataset of every epoch, from the saved index with numpy only.

E7 is checked on every pass that the run reached: its windows start S tokens apart, and each document and window occurs
once. So no window was read twice within an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError
from mixproof.mixtures.arithmetic.budget import windows
from mixproof.train.delivered_record import FimDelivered

from .fim import added_tokens
from .saved_index import ArrayRecord, EpochRecord, IndexRecord, StreamRecord, load_array
from .saved_stream import Delivered, Reading, SavedStream, Span, count_fim, sum_fim


class SavedConcatenation(SavedStream):
    """A stream of concatenated documents."""

    def __init__(self, folder: Path, index: IndexRecord, record: StreamRecord) -> None:
        super().__init__(folder, index, record)
        self.record = record
        self._lengths: NDArray[np.int32] = load_array(folder, record.lengths)

    def delivered(self, samples: int) -> Delivered:
        """Replay the first windows; see the base."""
        length, read = self.length, self.read_of(samples)
        targets, fim = 0, []
        for epoch, count in zip(self.record.epochs, read, strict=True):
            targets += int(self._targets_in_order(epoch)[:count].sum())
            if epoch.fim is not None:
                fim.append(self._fim(epoch, count))
        if self.record.fim is None:
            epochs = samples / windows(self.record.dataset_tokens, length)
        else:
            epochs = self.epochs_of_windows(read)
        return Delivered(
            samples=samples,
            tokens=samples * length,
            targets=targets,
            epochs=epochs,
            unique_tokens=max(read, default=0) * length,
            fim=sum_fim(fim),
        )

    def spans(self, epoch: int, window: int) -> tuple[Span, ...]:
        """Return the spans of the S + 1 tokens of a window."""
        arrays = self.record.epochs[epoch]
        start = int(load_array(self.folder, arrays.shuffle_index)[window])
        sample_index = load_array(self.folder, arrays.sample_index)
        (first, skip), (last, end) = sample_index[start].tolist(), sample_index[start + 1].tolist()
        documents = load_array(self.folder, arrays.document_index)[first : last + 1].tolist()
        lengths, arrangements = self._lengths_in(arrays), self.arrangements(arrays)
        spans: list[Span] = []
        for document in documents:
            stop = end + 1 if len(spans) == last - first else int(lengths[document])
            arrangement = None if arrangements is None else tuple(arrangements[document].tolist())
            spans.append(Span(document, skip, stop - skip, arrangement))
            skip = 0
        return tuple(spans)

    def readings(self, document: int) -> Iterator[Reading]:
        """Yield every window that read tokens of a document; its last token can be the first input of the next."""
        length = self.length
        for epoch in self.record.epochs:
            documents, lengths = load_array(self.folder, epoch.document_index), self._lengths_in(epoch)
            arrangements = self.arrangements(epoch)
            ends = np.cumsum(lengths[documents], dtype=np.int64)
            stop = int(ends[int(np.flatnonzero(documents == document)[0])])
            start = stop - int(lengths[document])
            reading_order = np.argsort(load_array(self.folder, epoch.shuffle_index))  # by window, its index in the pass
            first_window = max(0, -(-(start - length) // length))
            for window in range(first_window, min((stop - 1) // length, self.windows_in(epoch) - 1) + 1):
                left, right = max(start, window * length), min(stop, (window + 1) * length + 1)
                yield Reading(
                    window=self.first_window_of(epoch.epoch) + int(reading_order[window]),
                    epoch=epoch.epoch,
                    first_token=left - start,
                    tokens=right - left,
                    targets=right - max(left, window * length + 1),
                    kind=None if arrangements is None else int(arrangements[document, 0]),
                )

    def padding(self, samples: int) -> int:
        """None: every position holds a token."""
        return 0

    def cut_documents(self, samples: int) -> int:
        """Count the documents that cross the boundary of a window that was read, and would fit into one."""
        length, cut = self.length, 0
        for epoch, count in zip(self.record.epochs, self.read_of(samples), strict=True):
            is_read, first, last, sizes = self._windows_of_documents(epoch, count)
            cut += int(((sizes <= length) & (first != last) & (is_read[first] | is_read[last])).sum())
        return cut

    def _windows_of_documents(self, epoch: EpochRecord, read: int) -> tuple[NDArray[Any], ...]:
        """Return [windows + 2] which windows were read, and [documents] first and last window and tokens of each."""
        length, count = self.length, self.windows_in(epoch)
        is_read = np.zeros(count + 2, bool)
        is_read[load_array(self.folder, epoch.shuffle_index)[:read].astype(np.int64)] = True
        sizes = self._lengths_in(epoch)[load_array(self.folder, epoch.document_index)]
        ends = np.cumsum(sizes, dtype=np.int64)
        return is_read, np.minimum((ends - sizes) // length, count), np.minimum((ends - 1) // length, count), sizes

    def _fim(self, epoch: EpochRecord, read: int) -> FimDelivered:
        """Count the transformed documents of an epoch; token p of a pass is a target of window (p - 1) // S."""
        length, arrangements = self.length, self.arrangements(epoch)
        assert arrangements is not None, "only with fill-in-the-middle"
        documents = load_array(self.folder, epoch.document_index)
        is_target = np.zeros(self.windows_in(epoch) * length + 1, bool)
        is_read = np.zeros(self.windows_in(epoch), bool)
        is_read[load_array(self.folder, epoch.shuffle_index)[:read].astype(np.int64)] = True
        is_target[1:] = np.repeat(is_read, length)
        ends = np.minimum(np.cumsum(self._lengths_in(epoch)[documents], dtype=np.int64), len(is_target))
        starts = np.concatenate([[0], ends[:-1]])
        before = np.concatenate([[0], np.cumsum(is_target)])
        tokens = before[ends] - before[starts]
        begins = (starts < len(is_target)) & is_target[np.minimum(starts, len(is_target) - 1)]
        return count_fim(arrangements[documents, 0], begins, tokens)

    def _lengths_in(self, epoch: EpochRecord) -> NDArray[np.int32]:
        """Return [documents] tokens of each in an epoch, with the sentinels that it adds."""
        arrangements = self.arrangements(epoch)
        return self._lengths if arrangements is None else self._lengths + added_tokens(arrangements)

    def _targets_in_order(self, epoch: EpochRecord) -> NDArray[np.int64]:
        """Return [W] the targets of each window of one pass in reading order; checks E7."""
        length, stream, folder = self.length, self.record, self.folder
        documents = load_array(folder, epoch.document_index)
        starts = load_array(folder, epoch.sample_index)
        order = load_array(folder, epoch.shuffle_index)
        where = {"source": self.source, "stage": "stream", "unit": f"epoch {epoch.epoch}"}
        tokens, lengths, count = int(self._lengths.sum(dtype=np.int64)), self._lengths_in(epoch), self.windows_in(epoch)
        if tokens != 1 + stream.windows * length + stream.rest or tokens != stream.draw.tokens:
            equation = f"1 + {stream.windows} · {length} + {stream.rest}"
            raise AccountError("E7", f"{stream.draw.tokens} = {equation}", tokens, **where)
        in_epoch = windows(int(lengths.sum(dtype=np.int64)), length)
        if starts.shape != (count + 1, 2) or count != in_epoch or not 0 <= stream.rest < length:
            raise AccountError("E7", f"{in_epoch} windows", f"{len(starts) - 1}", **where)
        _check_once(documents, len(lengths), epoch.document_index, where)
        _check_once(order, count, epoch.shuffle_index, where)
        ends = np.cumsum(lengths[documents], dtype=np.int64)
        positions = ends[starts[:, 0]] - lengths[documents[starts[:, 0]]] + starts[:, 1]
        if not np.array_equal(positions, np.arange(count + 1) * length):
            raise AccountError("E7", f"windows {length} tokens apart", "others", **where)
        targets = np.full(count, length, np.int64)
        if self.index.masks.eod_mask_loss:
            eods = (ends - 1) // length
            targets -= np.bincount(eods[eods < count], minlength=count)
        in_order: NDArray[np.int64] = targets[order]
        return in_order


def _check_once(index: NDArray[Any], size: int, array: ArrayRecord, where: dict[str, str]) -> None:
    if len(index) != size or not np.array_equal(np.sort(index), np.arange(size)):
        raise AccountError("E7", f"each of {size} once", f"others in {array.file}", **where)
