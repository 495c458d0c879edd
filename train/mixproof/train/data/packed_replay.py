"""Replay of packed windows: what the first windows of a packed stream held, from the saved index with numpy only.

E7 is checked on every pass that the run reached. In pretraining every token of the draw is in one piece, and no
document is cut that fits into a window; with fill-in-the-middle that is said of the transformed documents. After
pretraining the pieces may leave tokens out, and each has supervised tokens, which are its targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError

from .fim import SENTINELS, added_tokens
from .saved_index import IndexRecord, PackedEpochRecord, PackedStreamRecord, load_array
from .saved_stream import Delivered, LeftOut, Reading, SavedStream, Span, count_fim, sum_fim


@dataclass(frozen=True)
class _Pieces:
    """The pieces of one epoch in reading order; all arrays but `starts` are [pieces]."""

    starts: NDArray[Any]
    """[windows + 1] the first piece of each window."""
    documents: NDArray[Any]
    first_tokens: NDArray[Any]
    tokens: NDArray[Any]
    """Positions that each takes, with its sentinels."""
    fim: NDArray[np.int32] | None
    """[pieces, 3] how each is read."""


class SavedPacking(SavedStream):
    """A stream of packed windows."""

    def __init__(self, folder: Path, index: IndexRecord, record: PackedStreamRecord) -> None:
        super().__init__(folder, index, record)
        self.record = record
        self._lengths: NDArray[np.int32] = load_array(folder, record.lengths)

    def delivered(self, samples: int) -> Delivered:
        """Replay the first windows; epochs are passes over what the windows of a pass hold."""
        record, masks = self.record, self.index.masks
        self._check_pass()
        tokens, targets, unique, examples, fim = 0, 0, 0, 0, []
        of_epochs = self.read_of(samples)
        for epoch, count in zip(record.epochs, of_epochs, strict=True):
            pieces, at = self._pieces(epoch), {**self._where, "unit": f"epoch {epoch.epoch}"}
            self._check_epoch(epoch, pieces, at)
            stop = int(pieces.starts[count])
            read = int(pieces.tokens[:stop].sum(dtype=np.int64))
            tokens, targets, unique = tokens + read, targets + self._targets(epoch, pieces, stop, at), max(unique, read)
            examples += stop // 2 if masks.pairs else _examples(pieces, stop, len(self._lengths))
            if pieces.fim is not None:
                begins = np.ones(stop, bool) if self._by_piece else pieces.first_tokens[:stop] == 0
                fim.append(count_fim(pieces.fim[:stop, 0], begins, pieces.tokens[:stop].astype(np.int64)))
        passed = tokens / (record.dataset_tokens - (record.left_out or 0))
        return Delivered(
            samples=samples,
            tokens=samples * self.length,
            targets=targets,
            epochs=passed if record.fim is None else self.epochs_of_windows(of_epochs),
            unique_tokens=unique,
            read_tokens=tokens if masks.supervised else None,
            examples=examples if masks.supervised else None,
            fim=sum_fim(fim),
        )

    def spans(self, epoch: int, window: int) -> tuple[Span, ...]:
        """Return the pieces of one window."""
        pieces = self._pieces(self.record.epochs[epoch])
        first, last = pieces.starts[window : window + 2].tolist()
        columns = (of[first:last].tolist() for of in (pieces.documents, pieces.first_tokens, pieces.tokens))
        fim = [None] * (last - first) if pieces.fim is None else [tuple(row) for row in pieces.fim[first:last].tolist()]
        return tuple(Span(*piece) for piece in zip(*columns, fim, strict=True))

    def readings(self, document: int) -> Iterator[Reading]:
        """Yield every window that contains a piece of the document."""
        for epoch in self.record.epochs:
            pieces = self._pieces(epoch)
            for piece in np.flatnonzero(pieces.documents == document).tolist():
                first, tokens = int(pieces.first_tokens[piece]), int(pieces.tokens[piece])
                targets = tokens - int(first == 0 and self.index.masks.eod_mask_loss)
                if epoch.supervised is not None:
                    targets = int(load_array(self.folder, epoch.supervised)[piece])
                window = int(np.searchsorted(pieces.starts, piece, side="right")) - 1
                kind = None if pieces.fim is None else int(pieces.fim[piece, 0])
                yield Reading(self.first_window_of(epoch.epoch) + window, epoch.epoch, first, tokens, targets, kind)

    def padding(self, samples: int) -> int:
        """Return the positions that no piece takes."""
        tokens = 0
        for epoch, count in zip(self.record.epochs, self.read_of(samples), strict=True):
            pieces = self._pieces(epoch)
            tokens += int(pieces.tokens[: int(pieces.starts[count])].sum(dtype=np.int64))
        return samples * self.length - tokens

    def left_out(self) -> LeftOut | None:
        """What no window of a pass holds; None in pretraining, where nothing is left out."""
        if not self.index.masks.supervised:
            return None
        pieces = self._pieces(self.record.epochs[0])
        packed = np.zeros(len(self._lengths), np.int64)
        np.add.at(packed, pieces.documents, pieces.tokens)
        short = packed < self._lengths
        return LeftOut(int(short.sum()), int((self._lengths - packed).sum()))

    def cut_documents(self, samples: int) -> int:
        """None: E7 says that no document is cut that fits."""
        return 0

    @property
    def _where(self) -> dict[str, str]:
        return {"source": self.source, "stage": "stream"}

    @property
    def _by_piece(self) -> bool:
        return self.record.fim is not None and self.record.fim.unit == "piece"

    def _pieces(self, epoch: PackedEpochRecord) -> _Pieces:
        arrays = (epoch.window_starts, epoch.documents, epoch.first_tokens, epoch.tokens)
        starts, documents, first_tokens, tokens = (load_array(self.folder, array) for array in arrays)
        return _Pieces(starts, documents, first_tokens, tokens, self.arrangements(epoch))

    def _check_pass(self) -> None:
        """Check E7 on the numbers of a pass without transformed documents."""
        record, left_out = self.record, self.record.left_out or 0
        length = self.length
        if record.windows * length != record.draw.tokens - left_out + record.padding:
            expected = f"{record.draw.tokens} tokens - {left_out} left out + {record.padding} of padding"
            found = f"{record.windows} · {length} positions"
            raise AccountError("E7", expected, found, unit="pass", **self._where)

    def _check_epoch(self, epoch: PackedEpochRecord, pieces: _Pieces, at: dict[str, str]) -> None:
        """Check E7 on the pieces of one pass."""
        length = self.length
        _check_windows(pieces.tokens, pieces.starts, self.windows_in(epoch), length, at)
        arrays = [pieces.documents, pieces.first_tokens, pieces.tokens]
        if epoch.supervised is not None:
            _check_conversations(self._lengths, arrays, self.record, length, at)
        elif pieces.fim is None:
            _check_documents(self._lengths, arrays, length, length, at)
        elif self._by_piece:
            arrays[2] = pieces.tokens - added_tokens(pieces.fim)
            _check_documents(self._lengths, arrays, length, length - SENTINELS, at)
        else:
            _check_documents(_with_sentinels(self._lengths, pieces), arrays, length, length, at)
        if self.index.masks.pairs:
            _check_pairs(pieces.documents, pieces.starts, at)

    def _targets(self, epoch: PackedEpochRecord, pieces: _Pieces, stop: int, where: dict[str, str]) -> int:
        """Return the targets of the first `stop` pieces."""
        if epoch.supervised is None:
            masked = int((pieces.first_tokens[:stop] == 0).sum()) if self.index.masks.eod_mask_loss else 0
            return int(pieces.tokens[:stop].sum(dtype=np.int64)) - masked
        supervised = load_array(self.folder, epoch.supervised)
        if len(supervised) != len(pieces.tokens) or np.any(supervised < 1) or np.any(supervised > pieces.tokens):
            raise AccountError("E7", "1 supervised token or more in each piece, at most its tokens", "others", **where)
        return int(supervised[:stop].sum(dtype=np.int64))


def _with_sentinels(lengths: NDArray[np.int32], pieces: _Pieces) -> NDArray[np.int32]:
    """Return [documents] tokens of each transformed document, from the arrangements of their pieces."""
    assert pieces.fim is not None, "only with fill-in-the-middle"
    longer = lengths.copy()
    longer[pieces.documents] = lengths[pieces.documents] + added_tokens(pieces.fim)
    return longer


def _examples(pieces: _Pieces, stop: int, documents: int) -> int:
    """Count the documents whose first piece is among the first `stop` pieces."""
    firsts = np.full(documents, np.iinfo(np.int32).max, np.int32)
    np.minimum.at(firsts, pieces.documents, pieces.first_tokens)
    return int((pieces.first_tokens[:stop] == firsts[pieces.documents[:stop]]).sum())


def _check_windows(
    tokens: NDArray[Any], starts: NDArray[Any], windows: int, length: int, where: dict[str, str]
) -> None:
    """Check E7 for one pass: no window is empty or overfull."""
    if starts.shape != (windows + 1,) or starts[-1] != len(tokens) or starts[0] != 0:
        raise AccountError("E7", f"{windows} windows", f"{len(starts) - 1}", **where)
    fullest = int(np.add.reduceat(tokens, starts[:-1], dtype=np.int64).max())
    if fullest > length or np.any(np.diff(starts) < 1):
        raise AccountError("E7", f"1 to {length} tokens in each window", f"up to {fullest}", **where)


def _check_pairs(documents: NDArray[Any], starts: NDArray[Any], where: dict[str, str]) -> None:
    """Check E7: both answers of every pair are next to each other in one window."""
    chosen, rejected = documents[::2], documents[1::2]
    together = len(chosen) == len(rejected) and np.all(chosen % 2 == 0) and np.array_equal(rejected, chosen + 1)
    if not together or np.any(starts % 2):
        raise AccountError("E7", "both answers of each pair in one window", "others", **where)


def _check_documents(
    lengths: NDArray[Any], pieces: list[NDArray[Any]], length: int, cut_at: int, where: dict[str, str]
) -> None:
    """Check E7 for one pass of pretraining: every token in one piece, no document cut that fits.

    A document longer than `length` has `cut_at` tokens in each piece but its last.
    """
    documents, first_tokens, tokens = pieces
    order = np.lexsort((first_tokens, documents))
    ends = first_tokens[order] + tokens[order]
    is_last = np.append(np.diff(documents[order]) != 0, True)
    follows = np.concatenate([[0], np.where(is_last[:-1], 0, ends[:-1])])
    complete = np.array_equal(documents[order][is_last], np.arange(len(lengths))) and np.array_equal(
        ends[is_last], lengths
    )
    if not complete or not np.array_equal(first_tokens[order], follows):
        raise AccountError("E7", "every token in one piece", "others", **where)
    is_cut = ~is_last
    if np.any(tokens[order][is_cut] != cut_at) or np.any(lengths[documents[order][is_cut]] <= length):
        raise AccountError("E7", f"no document cut that fits into {length} tokens", "some", **where)


def _check_conversations(
    lengths: NDArray[Any], pieces: list[NDArray[Any]], stream: PackedStreamRecord, length: int, where: dict[str, str]
) -> None:
    """Check E7 for one pass after pretraining: no token in two pieces, and all but those left out in one."""
    documents, first_tokens, tokens = pieces
    order = np.lexsort((first_tokens, documents))
    ends = first_tokens[order] + tokens[order]
    same = np.diff(documents[order]) == 0
    if np.any(ends > lengths[documents[order]]) or np.any(same & (first_tokens[order][1:] < ends[:-1])):
        raise AccountError("E7", "no token in two pieces", "some", **where)
    expected = stream.draw.tokens - (stream.left_out or 0)
    found = int(tokens.sum(dtype=np.int64))
    if found != expected:
        raise AccountError("E7", f"{expected} tokens that are not left out", found, **where)
    whole = (first_tokens == 0) & (tokens == lengths[documents])
    if np.any(~whole & (lengths[documents] <= length)):
        raise AccountError("E7", f"no document cut that fits into {length} tokens", "some", **where)
