"""Audit of a run's draws: bytes as those of any dataset, and that they are the part of the source that they say.

Checksums first; then E5 through Megatron's IndexedDataset (lengths, EODs, vocabulary); then E6: ranking the
dataset's documents by text hash again, the draw must be the first of them up to its cut or a power of two of tokens
(or all), in dataset order, and hold their ids, document by document, as they stand in the dataset's `.bin`.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.manifest import DatasetRecord, Manifest, SplitRecord
from mixproof.tokenize.audit.checksums import check_file
from mixproof.tokenize.audit.dataset import check_part, open_part
from mixproof.tokenize.audit.receipts import check_receipts, files_of
from mixproof.tokenize.audit.report import Checks
from mixproof.train.record import DrawRecord

COLUMNS = ["file", "record", "text_xxh128", "tokens"]


def check_draw(
    root: Path, source: str, draw: DrawRecord, manifest: Manifest | None, checks: Checks
) -> NDArray[np.int32] | None:
    """Check one draw.

    Returns:
        [documents] tokens of each, by Megatron's IndexedDataset; None where the draw is not whole.
    """
    prefix = f"draw/{draw.key}/{source}"
    at = checks.at(source=source, stage="draw", shard=prefix)
    bin_path = check_file(root, f"{prefix}.bin", draw.bin_sha256, at)
    idx_path = check_file(root, f"{prefix}.idx", draw.idx_sha256, at)
    rows_path = check_file(root, f"{prefix}.parquet", draw.provenance_sha256, at)
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
        here.true("E6", same, "tokens of each document as in the index", "others")
    if manifest is not None and source in manifest.sources:
        ids = bin_path if lengths is not None else None
        _check_choice(root, draw, rows, manifest.sources[source].train, ids, here)
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
    """E6: the ids of each chosen document, in the dataset and in the draw, a document at a time."""
    itemsize = bin_path.stat().st_size // max(int(lengths[chosen].sum(dtype=np.int64)), 1)
    first = 0
    at = checks.at(file=str(bin_path))
    with bin_path.open("rb") as drawn:
        for part in dataset.datasets:
            of_part = lengths[first : first + part.documents].astype(np.int64) * itemsize
            mine = chosen[(chosen >= first) & (chosen < first + part.documents)] - first
            places = zip(
                mine.tolist(), (np.cumsum(of_part) - of_part)[mine].tolist(), of_part[mine].tolist(), strict=True
            )
            first += part.documents
            path = root / f"{part.prefix}.bin"
            try:
                with path.open("rb") as whole:
                    other = next((row for row, start, size in places if not _same(whole, drawn, start, size)), None)
            except OSError as error:
                checks.at(file=str(path)).true("checksum", False, "a part", f"no readable file: {error.strerror}")
                return
            if not at.true("E6", other is None, "the ids of the dataset", f"others in document {other} of {path.name}"):
                return


def _same(whole: BinaryIO, drawn: BinaryIO, start: int, size: int) -> bool:
    whole.seek(start)
    return whole.read(size) == drawn.read(size)


def _check_choice(
    root: Path, draw: DrawRecord, drawn: pa.Table, dataset: SplitRecord, ids: Path | None, checks: Checks
) -> None:
    """E6: the draw holds the documents of smallest text hash, as many as its cut or a power of two of tokens takes."""
    paths = [check_file(root, part.provenance, part.provenance_sha256, checks) for part in dataset.datasets]
    whole = [path for path in paths if path is not None]
    if len(whole) < len(paths):
        return
    rows = pa.concat_tables(pq.read_table(path, columns=COLUMNS) for path in whole)
    tokens = rows["tokens"].to_numpy()
    order = np.argsort(rows["text_xxh128"].to_numpy().astype("S32"), kind="stable")
    chosen = np.sort(order[: draw.documents])
    same = rows.take(pa.array(chosen)).equals(drawn)
    checks.true("E6", same, f"the {draw.documents} documents of smallest text hash, in order", "others")
    if same and ids is not None:
        _check_ids(root, ids, dataset, chosen, tokens, checks)
    left = int(tokens.sum(dtype=np.int64)) - int(tokens[chosen].sum(dtype=np.int64))
    checks.equal("E6", "tokens drawn and not drawn", dataset.tokens, draw.tokens + left)
    checks.equal("E6", "documents drawn and not drawn", dataset.documents, draw.documents + len(tokens) - len(chosen))
    if left and draw.tokens and 0 < draw.documents < len(order):
        last, following = tokens[order[draw.documents - 1 : draw.documents + 1]].tolist()
        if draw.cut_tokens is not None:
            others = [draw.tokens - last, draw.tokens + following] if draw.documents > 1 else [draw.tokens + following]
            nearer = [tokens for tokens in others if abs(tokens - draw.cut_tokens) < abs(draw.tokens - draw.cut_tokens)]
            checks.equal("E6", f"as tokens nearer to the cut of {draw.cut_tokens}", [], nearer)
        else:
            need = 1 << (draw.tokens.bit_length() - 1)
            checks.true("E6", draw.tokens - last < need, f"no more documents than {need} tokens need", "more")
