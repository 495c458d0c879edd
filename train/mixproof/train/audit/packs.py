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

from .arrays import compare_array, seed_of
from .conversations import Piece, check_account, check_pairs, check_pieces, expected_pieces

Contents = Counter[tuple[int, ...]]
"""How many windows have pieces of these lengths, the longest first."""


def check_packed_numbers(stream: PackedStreamRecord, index: IndexRecord, samples: int, checks: Checks) -> None:
    """Check E7 with the numbers of `index.json` only."""
    positions = stream.windows * index.sequence_length
    held = stream.draw.tokens - (stream.left_out or 0) + stream.padding
    checks.equal("E7", "tokens - left out + padding of a pass", positions, held)
    if not checks.true("E7", stream.windows > 0, "at least one window", "none"):
        return
    passes = -(-samples // stream.windows)
    checks.equal("E7", "as epochs", list(range(passes)), [epoch.epoch for epoch in stream.epochs])
    for epoch in stream.epochs:
        seed = seed_of(index.seed, stream.source, epoch.epoch)
        checks.at(shard=f"epoch {epoch.epoch}").equal("E7", "as seed", seed, epoch.seed)


def check_packed_arrays(
    root: Path,
    run: RunRecord,
    stream: PackedStreamRecord,
    index: IndexRecord,
    lengths: NDArray[np.int32] | None,
    checks: Checks,
) -> None:
    """Check the arrays of every pass, and what the run says it consumed of the source.

    Args:
        root: the store's folder.
        run: the run's record.
        stream: of one source.
        index: of the run.
        lengths: [documents] tokens of each document of the draw; None if the draw is damaged.
        checks: receives the results.
    """
    length, delivered = index.sequence_length, run.delivered[stream.source]
    derived = None
    if run.post_training is not None and lengths is not None:
        derived = expected_pieces(root, run, stream, lengths, length)
        if not checks.true("E6", derived is not None, f"a mask of {len(lengths)} documents", "another or none"):
            return
    sizes_of_units = _sizes(derived, 2 if index.masks.pairs else 1) if derived is not None else None
    expected = None if lengths is None else _best_fit(sizes_of_units or lengths.tolist(), length)
    tokens, targets, unique, examples, remaining = 0, 0, 0, 0, delivered.samples
    for epoch in stream.epochs:
        at = checks.at(shard=f"epoch {epoch.epoch}")
        arrays = _read(root, f"train/{run.key}/index", epoch, at)
        if arrays is None:
            return
        starts, documents, first_tokens, sizes, *supervised = arrays
        if not _is_well_formed(starts, sizes, stream.windows, at):
            return
        if lengths is not None and expected is not None:
            if derived is None:
                _check_pieces(lengths, documents, first_tokens, sizes, length, at)
            else:
                check_pieces(derived, [documents, first_tokens, sizes, *supervised], at)
            units = (starts // 2, sizes[::2] + sizes[1::2]) if index.masks.pairs else (starts, sizes)
            at.equal("E7", "windows by the lengths of their pieces", expected, _contents(*units))
        stop = int(starts[min(remaining, stream.windows)])
        read = int(sizes[:stop].sum(dtype=np.int64))
        masked = int((first_tokens[:stop] == 0).sum()) if index.masks.eod_mask_loss else 0
        targets += int(supervised[0][:stop].sum(dtype=np.int64)) if supervised else read - masked
        tokens, unique = tokens + read, max(unique, read)
        if index.masks.pairs:
            check_pairs(documents, starts, at)
        examples += stop // 2 if index.masks.pairs else _examples(documents, first_tokens, stop)
        remaining -= min(remaining, stream.windows)
    at = checks.at(stage="train")
    at.equal("E9", "targets, replayed from the index", targets, delivered.targets)
    at.equal("E9", "unique tokens, replayed from the index", unique, delivered.unique_tokens)
    if run.post_training is not None:
        check_account(run, stream.source, examples, tokens, targets, at)
    epochs = tokens / (stream.dataset_tokens - (stream.left_out or 0))
    at.true("E9", abs(epochs - delivered.epochs) <= 1e-12 * max(1.0, epochs), f"{epochs} epochs", str(delivered.epochs))


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
    length: int,
    checks: Checks,
) -> None:
    """Check that the pieces are the documents, cut every `length` tokens and nowhere else."""
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if not checks.true(
        "E7", bool(np.all((documents >= 0) & (documents < len(lengths)))), "documents of the draw", "others"
    ):
        return
    begins = np.sort(offsets[documents] + first_tokens)
    whole = [np.arange(start, stop, length) for start, stop in pairwise(offsets.tolist())]
    cuts = np.concatenate(whole) if whole else np.zeros(0, np.int64)
    checks.true("E7", np.array_equal(begins, cuts), "documents cut at whole windows only", "other cuts")
    ends = np.sort(offsets[documents] + first_tokens + sizes)
    closed = np.array_equal(ends, np.append(cuts[1:], offsets[-1]))
    checks.true("E7", closed, "every token in one piece", "tokens missing or repeated")


def _contents(starts: NDArray[Any], sizes: NDArray[Any]) -> Contents:
    bounds, values = starts.tolist(), sizes.tolist()
    return Counter(tuple(sorted(values[start:stop], reverse=True)) for start, stop in pairwise(bounds))


def _best_fit(lengths: list[int], length: int) -> Contents:
    """Pack piece by piece: the longest first, each into the fullest window that has room, of several the first."""
    pieces = sorted(
        [piece for tokens in lengths for piece in [length] * (tokens // length) + [tokens % length] if piece],
        reverse=True,
    )
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
