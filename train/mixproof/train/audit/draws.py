"""Audit of a run's draws: they are valid datasets, and exactly the declared part of their source.

Checksums come first, then E5 through Megatron's IndexedDataset (lengths, EODs, vocabulary), then E6: the dataset's
documents are sorted by text hash again. The draw must be the first of them, up to its cut or a power of two of tokens
(or all), in the order of the dataset, and its ids must equal those in the dataset's `.bin`, document by document. No
code that makes draws is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import DatasetRecord, SplitRecord
from mixproof.tokenize.audit.checksums import check_file
from mixproof.tokenize.audit.parts.dataset import check_part, open_part
from mixproof.tokenize.audit.receipts import check_receipts, files_of
from mixproof.tokenize.audit.report import Checks
from mixproof.tokenize.audit.rows import check_parquet
from mixproof.train.delivered_record import DrawRecord

COLUMNS = ["file", "record", "text_xxh128", "tokens"]


def check_draw(
    root: Path, source: str, draw: DrawRecord, manifest: Manifest | None, checks: Checks
) -> NDArray[np.int32] | None:
    """Check one draw.

    Returns:
        [documents] tokens of each, read by Megatron's IndexedDataset; None if the draw is damaged.
    """
    prefix = f"draw/{draw.key}/{source}"
    at = checks.at(source=source, stage="draw", shard=prefix)
    bin_path = check_file(root, f"{prefix}.bin", draw.bin_sha256, at)
    idx_path = check_file(root, f"{prefix}.idx", draw.idx_sha256, at)
    rows_path = check_parquet(root, f"{prefix}.parquet", draw.provenance_sha256, at)
    mask_path = None
    if draw.mask_sha256 is not None:
        mask_path = check_file(root, f"{prefix}.mask", draw.mask_sha256, at)
    check_receipts(root, files_of(prefix, draw.bin_sha256, draw.idx_sha256, draw.provenance_sha256), at)
    lengths: NDArray[np.int32] | None = None
    if bin_path is not None and idx_path is not None and manifest is not None:
        lengths = _check_tokens(prefix, draw, bin_path, manifest, at)
    if rows_path is None:
        return lengths
    rows = pq.read_table(rows_path, columns=COLUMNS)
    here = at.at(file=str(rows_path))
    here.equal("E6", "documents in the draw", draw.documents, rows.num_rows)
    if lengths is not None:
        same = np.array_equal(rows["tokens"].to_numpy(), lengths)
        here.true("E6", same, "the index's number of tokens for each document", "other numbers")
    if manifest is not None and source in manifest.sources:
        ids = bin_path if lengths is not None else None
        _check_choice(root, draw, rows, manifest.sources[source].train, ids, mask_path, here)
    return lengths


def _check_tokens(
    prefix: str, draw: DrawRecord, bin_path: Path, manifest: Manifest, checks: Checks
) -> NDArray[np.int32] | None:
    part = DatasetRecord(
        prefix=prefix,
        documents=draw.documents,
        tokens=draw.tokens,
        bin_sha256=draw.bin_sha256,
        idx_sha256=draw.idx_sha256,
        provenance=f"{prefix}.parquet",
        provenance_sha256=draw.provenance_sha256,
    )
    with open_part(part, bin_path, manifest.tokenizer, checks) as dataset:
        if dataset is None or not check_part(dataset, part, bin_path, manifest.tokenizer, checks):
            return None
        lengths: NDArray[np.int32] = dataset.index.sequence_lengths.copy()
    return lengths


def _check_ids(
    root: Path,
    bin_path: Path,
    dataset: SplitRecord,
    chosen: NDArray[np.int64],
    lengths: NDArray[np.int32],
    checks: Checks,
) -> None:
    """Check E6: the draw has the same ids, or the same mask, of each chosen document as the dataset."""
    itemsize = bin_path.stat().st_size // max(int(lengths[chosen].sum(dtype=np.int64)), 1)
    first = 0
    at = checks.at(file=str(bin_path))
    with bin_path.open("rb") as drawn:
        for part in dataset.datasets:
            of_part = lengths[first : first + part.documents].astype(np.int64) * itemsize
            mine = chosen[(chosen >= first) & (chosen < first + part.documents)] - first
            extents = zip(
                mine.tolist(), (np.cumsum(of_part) - of_part)[mine].tolist(), of_part[mine].tolist(), strict=True
            )
            first += part.documents
            path = root / f"{part.prefix}{bin_path.suffix}"
            try:
                with path.open("rb") as source:
                    other = next((row for row, start, size in extents if not _same(source, drawn, start, size)), None)
            except OSError as error:
                checks.at(file=str(path)).true(
                    "checksum", False, "a part of the build", f"unreadable: {error.strerror}"
                )
                return
            expected = "the ids of the dataset"
            if not at.true("E6", other is None, expected, f"other ids in document {other} of {path.name}"):
                return


def _same(source: BinaryIO, drawn: BinaryIO, start: int, size: int) -> bool:
    source.seek(start)
    return source.read(size) == drawn.read(size)


def _check_choice(
    root: Path,
    draw: DrawRecord,
    drawn: pa.Table,
    dataset: SplitRecord,
    ids: Path | None,
    mask: Path | None,
    checks: Checks,
) -> None:
    """Check E6: the draw has the documents with the smallest text hashes, as many as its tokens need."""
    paths = [check_parquet(root, part.provenance, part.provenance_sha256, checks) for part in dataset.datasets]
    intact = [path for path in paths if path is not None]
    if len(intact) < len(paths):
        return
    rows = pa.concat_tables(pq.read_table(path, columns=COLUMNS) for path in intact)
    tokens = rows["tokens"].to_numpy()
    order = np.argsort(rows["text_xxh128"].to_numpy().astype("S32"), kind="stable")
    order = _eligible(draw, order, tokens, checks)
    chosen = np.sort(order[: draw.documents])
    same = rows.take(pa.array(chosen)).equals(drawn)
    expected = f"the {draw.documents} documents with the smallest text hashes, in order"
    checks.true("E6", same, expected, "other documents")
    if same and ids is not None:
        _check_ids(root, ids, dataset, chosen, tokens, checks)
        if mask is not None:
            _check_ids(root, mask, dataset, chosen, tokens, checks)
    not_drawn = int(tokens.sum(dtype=np.int64)) - int(tokens[chosen].sum(dtype=np.int64))
    checks.equal("E6", "tokens drawn and not drawn", dataset.tokens, draw.tokens + not_drawn)
    checks.equal("E6", "documents drawn and not drawn", dataset.documents, draw.documents + len(tokens) - len(chosen))
    if draw.part is None and not_drawn and draw.tokens and 0 < draw.documents < len(order):
        last, following = tokens[order[draw.documents - 1 : draw.documents + 1]].tolist()
        _check_size(draw, last, following, checks)


def _eligible(
    draw: DrawRecord, order: NDArray[np.int64], tokens: NDArray[np.int64], checks: Checks
) -> NDArray[np.int64]:
    """Return the documents that a draw may have, in the order in which it takes them; checks what it states of them.

    Args:
        draw: its part of the source, or the least length of its documents.
        order: documents by text hash.
        tokens: [documents] tokens of each.
        checks: receives the results.
    """
    stated = (draw.available_documents, draw.available_tokens)
    if draw.part is not None:
        order = order[slice(*_bounds(tokens[order], draw.part)[-2:])]
        checks.equal("E6", "documents of the part", len(order), draw.documents)
        if stated != (None, None):
            checks.equal("E6", "available", (draw.documents, draw.tokens), stated)
    elif draw.min_tokens is not None:
        is_long = tokens[order] >= draw.min_tokens
        is_fresh = np.arange(len(order)) >= _bounds(tokens[order], draw.other_parts or ())[-1]
        checks.equal("E6", "available", (int(is_long.sum()), int(tokens[order[is_long]].sum())), stated)
        fresh, others = order[is_long & is_fresh], order[is_long & ~is_fresh]
        shared = others[: max(draw.documents - len(fresh), 0)]
        found = (draw.shared_documents, draw.shared_tokens)
        checks.equal("E6", "also drawn by other phases", (len(shared), int(tokens[shared].sum())), found)
        order = np.concatenate([fresh, others])
    return order


def _bounds(tokens: NDArray[np.int64], parts: Sequence[int]) -> list[int]:
    """Return where the parts of a source begin, and where the last one ends; each takes documents until it is full."""
    bounds = [0]
    for least in parts:
        stop, taken = bounds[-1], 0
        while taken < least and stop < len(tokens):
            taken, stop = taken + int(tokens[stop]), stop + 1
        bounds.append(stop)
    return bounds


def _check_size(draw: DrawRecord, last: int, following: int, checks: Checks) -> None:
    """Check E6: one document fewer or more would not fit the size rule; `last` and `following` are their tokens."""
    if draw.cut_tokens is not None:
        others = [draw.tokens - last, draw.tokens + following] if draw.documents > 1 else [draw.tokens + following]
        closer = [tokens for tokens in others if abs(tokens - draw.cut_tokens) < abs(draw.tokens - draw.cut_tokens)]
        checks.equal("E6", f"as tokens closer to the cut of {draw.cut_tokens}", [], closer)
        return
    need = 1 << (draw.tokens.bit_length() - 1)
    checks.true("E6", draw.tokens - last < need, f"no more documents than {need} tokens need", "more documents")
