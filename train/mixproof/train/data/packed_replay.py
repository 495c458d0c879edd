"""Replay of packed windows: what the first windows of a packed stream held, from the saved index with numpy only.

E7 is checked on every pass that the run reached. In pretraining every token of the draw is in one piece, and no
document is cut that fits into a window. After pretraining the pieces may leave tokens out, and each has supervised
tokens, which are its targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError

from .saved_index import IndexRecord, PackedEpochRecord, PackedStreamRecord, load_array


@dataclass(frozen=True)
class PackedCounts:
    """What the windows read of one packed stream held."""

    tokens: int
    """Positions that held a token."""
    targets: int
    """Tokens that counted in the loss."""
    unique_tokens: int
    """Tokens of the draw that were read at least once."""
    examples: int
    """Conversations read; a conversation in several pieces counts where its first piece is."""


def replay_packed(folder: Path, record: IndexRecord, stream: PackedStreamRecord, samples: int) -> PackedCounts:
    """Walk through the epochs of one packed stream until its samples are used up.

    Raises:
        AccountError: when E7 or E9 does not close.
    """
    length, left_out = record.sequence_length, stream.left_out or 0
    lengths = load_array(folder, stream.lengths)
    where = {"source": stream.source, "stage": "stream"}
    if stream.windows * length != stream.draw.tokens - left_out + stream.padding:
        expected = f"{stream.draw.tokens} tokens - {left_out} left out + {stream.padding} of padding"
        raise AccountError("E7", expected, f"{stream.windows} · {length} positions", unit="pass", **where)
    tokens, targets, remaining, unique, examples = 0, 0, samples, 0, 0
    for epoch in stream.epochs:
        pieces = [load_array(folder, array) for array in (epoch.documents, epoch.first_tokens, epoch.tokens)]
        starts = load_array(folder, epoch.window_starts)
        at = {**where, "unit": f"epoch {epoch.epoch}"}
        _check_windows(pieces[2], starts, stream, length, at)
        (_check_documents if epoch.supervised is None else _check_conversations)(lengths, pieces, stream, length, at)
        stop = int(starts[min(remaining, stream.windows)])
        read = int(pieces[2][:stop].sum(dtype=np.int64))
        tokens, targets = tokens + read, targets + _targets(folder, record, epoch, pieces, stop, at)
        if record.masks.pairs:
            _check_pairs(pieces[0], starts, at)
        examples += stop // 2 if record.masks.pairs else _examples(pieces, stop, len(lengths))
        unique = max(unique, read)
        remaining -= min(remaining, stream.windows)
    if remaining:
        raise AccountError(
            "E9", f"epochs for {samples} samples", f"{remaining} too few", stage="train", source=stream.source
        )
    return PackedCounts(tokens, targets, unique, examples)


def _targets(
    folder: Path,
    record: IndexRecord,
    epoch: PackedEpochRecord,
    pieces: list[NDArray[Any]],
    stop: int,
    where: dict[str, str],
) -> int:
    """Return the targets of the first `stop` pieces."""
    if epoch.supervised is None:
        masked = int((pieces[1][:stop] == 0).sum()) if record.masks.eod_mask_loss else 0
        return int(pieces[2][:stop].sum(dtype=np.int64)) - masked
    supervised = load_array(folder, epoch.supervised)
    if len(supervised) != len(pieces[2]) or np.any(supervised < 1) or np.any(supervised > pieces[2]):
        raise AccountError("E7", "1 supervised token or more in each piece, at most its tokens", "others", **where)
    return int(supervised[:stop].sum(dtype=np.int64))


def _examples(pieces: list[NDArray[Any]], stop: int, documents: int) -> int:
    """Count the documents whose first piece is among the first `stop` pieces."""
    firsts = np.full(documents, np.iinfo(np.int32).max, np.int32)
    np.minimum.at(firsts, pieces[0], pieces[1])
    return int((pieces[1][:stop] == firsts[pieces[0][:stop]]).sum())


def _check_windows(
    tokens: NDArray[Any], starts: NDArray[Any], stream: PackedStreamRecord, length: int, where: dict[str, str]
) -> None:
    """Check E7 for one pass: no window is empty or overfull."""
    if starts.shape != (stream.windows + 1,) or starts[-1] != len(tokens) or starts[0] != 0:
        raise AccountError("E7", f"{stream.windows} windows", f"{len(starts) - 1}", **where)
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
    lengths: NDArray[Any], pieces: list[NDArray[Any]], stream: PackedStreamRecord, length: int, where: dict[str, str]
) -> None:
    """Check E7 for one pass of pretraining: every token in one piece, no document cut that fits."""
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
    if np.any(tokens[order][~is_last] != length):
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
