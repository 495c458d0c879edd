"""Audit of windows after pretraining: pieces and their supervised tokens, derived again from the draw's mask.

A conversation that fits into a window must be one piece; a longer one must be cut as the record says. The supervised
tokens of every piece are counted in the mask, document by document, with code that the writer does not share.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.tokenize.audit.report import Checks
from mixproof.train.data.saved_index import PackedStreamRecord
from mixproof.train.record import RunRecord
from mixproof.train.stage_record import PlannedSource

Piece = tuple[int, int, int, int]
"""Document, first token, tokens and supervised tokens."""


def expected_pieces(
    root: Path, run: RunRecord, stream: PackedStreamRecord, lengths: NDArray[np.int32], length: int
) -> list[Piece] | None:
    """Derive the pieces of one pass from the draw's mask; None if the mask is missing or has another size."""
    mask = _mask(root, stream, int(lengths.sum(dtype=np.int64)))
    if mask is None or run.post_training is None:
        return None
    if run.masks.pairs:
        return _pairs(lengths.tolist(), mask, length)
    too_long = run.post_training.too_long
    pieces: list[Piece] = []
    first = 0
    for document, tokens in enumerate(lengths.tolist()):
        of_document = mask[first : first + tokens]
        for start, stop in _cuts(of_document, length, too_long):
            supervised = int(of_document[start:stop].sum(dtype=np.int64))
            if supervised:
                pieces.append((document, start, stop - start, supervised))
        first += tokens
    return pieces


def check_pieces(expected: list[Piece], columns: list[NDArray[Any]], checks: Checks) -> None:
    """Check E7: the saved pieces are the expected ones, with the same supervised tokens."""
    found = sorted(zip(*(column.tolist() for column in columns), strict=True))
    checks.true("E7", found == expected, "the pieces and supervised tokens derived from the mask", "others")


def check_account(run: RunRecord, source: str, examples: int, read_tokens: int, targets: int, checks: Checks) -> None:
    """Check E9: what was replayed from the index is what the record states and what was planned."""
    delivered = run.delivered[source]
    replayed = PlannedSource(
        supervised_tokens=targets,
        context_tokens=read_tokens - targets,
        padding_tokens=delivered.samples * run.sequence_length - read_tokens,
        examples=examples,
    )
    stated = {name: getattr(delivered, name) for name in PlannedSource.model_fields}
    checks.equal("E9", "supervised, context, padding and examples, replayed", replayed.model_dump(), stated)
    planned = None if run.post_training is None else run.post_training.planned.get(source)
    checks.equal("E9", "supervised, context, padding and examples, as planned", planned, replayed)


def _pairs(lengths: list[int], mask: NDArray[np.uint8], length: int) -> list[Piece]:
    """Derive the pairs that fit into a window, in the order of the documents."""
    pieces: list[Piece] = []
    first = 0
    for chosen in range(0, len(lengths), 2):
        both = lengths[chosen : chosen + 2]
        middle = first + both[0]
        supervised = [int(mask[first:middle].sum()), int(mask[middle : first + sum(both)].sum())]
        if sum(both) <= length and all(supervised):
            pieces += [(chosen, 0, both[0], supervised[0]), (chosen + 1, 0, both[1], supervised[1])]
        first += sum(both)
    return pieces


def check_pairs(documents: NDArray[Any], starts: NDArray[Any], checks: Checks) -> None:
    """Check E7: the two answers of every pair follow each other in one window."""
    found = documents.tolist()
    together = all(one % 2 == 0 and other == one + 1 for one, other in zip(found[::2], found[1::2], strict=False))
    checks.true("E7", together and len(found) % 2 == 0, "the answers of each pair next to each other", "others")
    checks.true("E7", all(start % 2 == 0 for start in starts.tolist()), "whole pairs in each window", "half a pair")


def _cuts(mask: NDArray[np.uint8], length: int, too_long: str) -> Iterator[tuple[int, int]]:
    """Yield the first token and the end of every part of a conversation that may be read."""
    if len(mask) <= length:
        yield 0, len(mask)
    elif too_long == "split":
        for start in range(0, len(mask), length):
            yield start, min(start + length, len(mask))
    elif too_long == "truncate":
        ends = [stop for stop in range(1, length + 1) if mask[stop - 1] and not mask[stop]]
        yield 0, ends[-1] if ends else length


def _mask(root: Path, stream: PackedStreamRecord, tokens: int) -> NDArray[np.uint8] | None:
    if stream.draw.mask_sha256 is None:
        return np.ones(tokens, np.uint8)
    path = root / "draw" / stream.draw.key / f"{stream.source}.mask"
    mask = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    return mask if len(mask) == tokens else None
