"""Audit of packed windows: E7 on the pieces of every pass, and the windows that best fit decreasing gives.

The pieces must hold every token of the draw once, cut no document that fits into a window, and fill no window beyond
its length. Best fit decreasing is run again on the lengths, piece by piece, with code that the writer does not share:
the windows must have the same contents by length, each as often. Not covered: which of several documents of one length
is in which window, and the order of windows; these follow from the seed and are bound by the arrays' checksums.
`conversations.py` derives the pieces of runs after pretraining.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.tokenize.audit.report import Checks
from mixproof.train.data.saved_index import IndexRecord, PackedEpochRecord, PackedStreamRecord
from mixproof.train.record import RunRecord

from .arrays import compare_array
from .conversations import Piece, check_account, check_pairs, check_pieces, expected_pieces
from .fim import ADDED, Counted, Derivation, derivation_of, table_of
from .stream_audit import StreamAudit, StreamCounts

Contents = Counter[tuple[int, ...]]
"""How many windows have pieces of these lengths, the longest first."""


class PackedAudit(StreamAudit):
    """The checks of a stream of packed windows."""

    def __init__(self, run: RunRecord, index: IndexRecord, stream: PackedStreamRecord) -> None:
        super().__init__(run, index, stream)
        self.record = stream
        self._plain: Contents | None = None
        """Windows of a pass without transformed documents, the same in every epoch."""

    def check_pass(self, checks: Checks) -> None:
        """Check that tokens and padding are the positions of the windows."""
        stream = self.record
        held = stream.draw.tokens - (stream.left_out or 0) + stream.padding
        checks.equal("E7", "tokens - left out + padding of a pass", stream.windows * self.length, held)

    def counts_of(self, samples: int) -> StreamCounts | None:
        """None: how full the windows are is known from the arrays only."""
        return None

    def check_arrays(
        self, root: Path, lengths: NDArray[np.int32] | None, samples: int, checks: Checks
    ) -> StreamCounts | None:
        """Check the pieces of every pass."""
        run, index, stream, derived = self.run, self.index, self.record, None
        if run.post_training is not None and lengths is not None:
            derived = expected_pieces(root, run, stream, lengths, self.length)
            if not checks.true("E6", derived is not None, f"a mask of {len(lengths)} documents", "another or none"):
                return None
        derivation, counted = derivation_of(root, run, stream, lengths), Counted()
        tokens, targets, unique, examples = 0, 0, 0, 0
        for epoch, count in zip(stream.epochs, self.read_of(samples), strict=True):
            at = checks.at(shard=f"epoch {epoch.epoch}")
            arrays = _read(root, f"train/{run.key}/index", epoch, at)
            if arrays is None:
                return None
            starts, documents, first_tokens, sizes, *supervised = arrays
            if not _is_well_formed(starts, sizes, self.windows_in(epoch), at):
                return None
            kinds = self._compare_fim(root, epoch, arrays, derivation, at)
            if lengths is not None and (derivation is None) == (kinds is None):
                self._check_pieces(lengths, arrays, derived, kinds, at)
            stop = int(starts[count])
            read = int(sizes[:stop].sum(dtype=np.int64))
            masked = int((first_tokens[:stop] == 0).sum()) if index.masks.eod_mask_loss else 0
            targets += int(supervised[0][:stop].sum(dtype=np.int64)) if supervised else read - masked
            tokens, unique = tokens + read, max(unique, read)
            if index.masks.pairs:
                check_pairs(documents, starts, at)
            examples += stop // 2 if index.masks.pairs else _examples(documents, first_tokens, stop)
            if kinds is not None:
                begins = np.ones(stop, bool) if self._by_piece else first_tokens[:stop] == 0
                counted.add_all(kinds[:stop, 0], sizes[:stop], begins)
        epochs = tokens / (stream.dataset_tokens - (stream.left_out or 0))
        if stream.fim is not None:
            epochs = self.passes(samples)
        return StreamCounts(tokens, targets, unique, epochs, examples, None if derivation is None else counted)

    def check_counts(self, counts: StreamCounts, checks: Checks) -> None:
        """Check E9 on what was replayed over all passes."""
        super().check_counts(counts, checks)
        source, run = self.record.source, self.run
        delivered = run.delivered[source]
        checks.equal("E9", "targets, replayed from the index", counts.targets, delivered.targets)
        checks.equal("E9", "unique tokens, replayed from the index", counts.unique_tokens, delivered.unique_tokens)
        if run.post_training is not None:
            check_account(run, source, counts.examples, counts.tokens, counts.targets, checks)
        same = abs(counts.epochs - delivered.epochs) <= 1e-12 * max(1.0, counts.epochs)
        checks.true("E9", same, f"{counts.epochs} epochs", str(delivered.epochs))

    @property
    def _by_piece(self) -> bool:
        return self.record.fim is not None and self.record.fim.unit == "piece"

    def _compare_fim(
        self,
        root: Path,
        epoch: PackedEpochRecord,
        arrays: list[NDArray[Any]],
        derivation: Derivation | None,
        checks: Checks,
    ) -> NDArray[Any] | None:
        """Derive the transformation of every piece again; None without fill-in-the-middle, or if it differs."""
        _, documents, first_tokens, *_ = arrays
        known = derivation is not None and int(documents.min()) >= 0 and int(documents.max()) < derivation.documents
        if derivation is None or not checks.true("E7", known, "documents of the draw", "others"):
            return None
        pairs = zip(documents.tolist(), first_tokens.tolist(), strict=True)
        if self._by_piece:
            expected = [derivation.of_piece(epoch.epoch, document, first, self.length) for document, first in pairs]
        else:
            of_documents = derivation.of_documents(epoch.epoch)
            expected = [of_documents[document] for document in documents.tolist()]
        return self.compare(root, epoch, table_of(expected), checks)

    def _check_pieces(
        self,
        lengths: NDArray[np.int32],
        arrays: list[NDArray[Any]],
        derived: list[Piece] | None,
        kinds: NDArray[Any] | None,
        checks: Checks,
    ) -> None:
        """Check the pieces of one pass, and that best fit gives their windows."""
        starts, documents, first_tokens, sizes, *supervised = arrays
        length, pairs = self.length, self.index.masks.pairs
        content = sizes if kinds is None or not self._by_piece else sizes - ADDED * (kinds[:, 0] > 0)
        if derived is not None:
            check_pieces(derived, [documents, first_tokens, sizes, *supervised], checks)
            units = _sizes(derived, 2 if pairs else 1)
        else:
            if kinds is not None and not self._by_piece:
                lengths = lengths.copy()
                lengths[documents[kinds[:, 0] > 0]] += ADDED  # one document in several pieces is one assignment
            cut_at = length - ADDED if self._by_piece else length
            _check_pieces(lengths, documents, first_tokens, content, (length, cut_at), checks)
            units = sizes.tolist() if self._by_piece else _cut(lengths.tolist(), length)
        saved = (starts // 2, sizes[::2] + sizes[1::2]) if pairs else (starts, sizes)
        expected = self._plain if kinds is None and self._plain is not None else _best_fit(units, length)
        self._plain = expected if kinds is None else None
        checks.equal("E7", "windows by the lengths of their pieces", expected, _contents(*saved))


def _sizes(pieces: list[Piece], together: int) -> list[int]:
    """Tokens of each piece, or of both pieces of each pair."""
    tokens = [piece[2] for piece in pieces]
    return [sum(tokens[first : first + together]) for first in range(0, len(tokens), together)]


def _examples(documents: NDArray[Any], first_tokens: NDArray[Any], stop: int) -> int:
    """Count the documents whose first piece is read."""
    first: dict[int, int] = {}
    for document, token in zip(documents.tolist(), first_tokens.tolist(), strict=True):
        first[document] = min(first.get(document, token), token)
    read = zip(documents[:stop].tolist(), first_tokens[:stop].tolist(), strict=True)
    return sum(first[document] == token for document, token in read)


def _read(root: Path, folder: str, epoch: PackedEpochRecord, checks: Checks) -> list[NDArray[Any]] | None:
    records = (epoch.window_starts, epoch.documents, epoch.first_tokens, epoch.tokens, epoch.supervised)
    found = [compare_array(root, folder, record, None, "E7", checks) for record in records if record is not None]
    whole = [array for array in found if array is not None and array.ndim == 1]
    return whole if len(whole) == len(found) else None


def _is_well_formed(starts: NDArray[Any], sizes: NDArray[Any], windows: int, checks: Checks) -> bool:
    well_formed = len(starts) == windows + 1 and starts[0] == 0 and starts[-1] == len(sizes)
    well_formed = well_formed and bool(np.all(np.diff(starts) > 0))
    return checks.true("E7", well_formed, f"{windows} windows of one piece or more", "other windows")


def _check_pieces(
    lengths: NDArray[np.int32],
    documents: NDArray[Any],
    first_tokens: NDArray[Any],
    sizes: NDArray[Any],
    window_and_cut: tuple[int, int],
    checks: Checks,
) -> None:
    """Check that the pieces are the documents; those longer than a window are cut every `cut` tokens."""
    window, cut = window_and_cut
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if not checks.true(
        "E7", bool(np.all((documents >= 0) & (documents < len(lengths)))), "documents of the draw", "others"
    ):
        return
    begins = np.sort(offsets[documents] + first_tokens)
    whole = [
        np.arange(start, stop, cut if stop - start > window else window) for start, stop in pairwise(offsets.tolist())
    ]
    cuts = np.concatenate(whole) if whole else np.zeros(0, np.int64)
    checks.true("E7", np.array_equal(begins, cuts), "documents cut at whole windows only", "other cuts")
    ends = np.sort(offsets[documents] + first_tokens + sizes)
    closed = np.array_equal(ends, np.append(cuts[1:], offsets[-1]))
    checks.true("E7", closed, "every token in one piece", "tokens missing or repeated")


def _contents(starts: NDArray[Any], sizes: NDArray[Any]) -> Contents:
    bounds, values = starts.tolist(), sizes.tolist()
    return Counter(tuple(sorted(values[start:stop], reverse=True)) for start, stop in pairwise(bounds))


def _cut(lengths: list[int], length: int) -> list[int]:
    """Tokens of every piece of these documents."""
    return [piece for tokens in lengths for piece in [length] * (tokens // length) + [tokens % length] if piece]


def _best_fit(units: list[int], length: int) -> Contents:
    """Pack unit by unit: the longest first, each into the fullest window that has room, of several the first."""
    pieces = sorted(units, reverse=True)
    with_room: dict[int, deque[list[int]]] = {}
    rooms: list[int] = []
    windows: list[list[int]] = []
    window: list[int]
    for piece in pieces:
        at = bisect_left(rooms, piece)
        if at == len(rooms):
            window, room = [], length
            windows.append(window)
        else:
            room = rooms[at]
            window = with_room[room].popleft()
            if not with_room[room]:
                rooms.pop(at)
        window.append(piece)
        left = room - piece
        if not with_room.setdefault(left, deque()):
            insort(rooms, left)
        with_room[left].append(window)
    return Counter(tuple(window) for window in windows)
