"""One part of a dataset, `.bin` and `.idx`, read again with Megatron's own IndexedDataset.

Header and sizes are checked first without Megatron, because Megatron opens a truncated `.bin` without an error and
raises others in its destructors. Then, through IndexedDataset: lengths and pointers, the document index, the dtype,
every id below the vocabulary size, and an EOD at the end of each document and nowhere else. The `.bin` is memory-mapped
and read in blocks, at about 4 GB/s per core.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.tokenize.audit.report import Checks

MAGIC = b"MMIDIDX\x00\x00"
HEADER_BYTES = 34
UINT16_BELOW = 65500
"""Megatron stores ids of vocabularies below this size as uint16, all others as int32."""
BLOCK_TOKENS = 1 << 21
BLOCK_DOCUMENTS = 1 << 20


@contextmanager
def open_part(part: DatasetRecord, bin_path: Path, tokenizer: TokenizerRecord, checks: Checks) -> Iterator[Any]:
    """Open a part with IndexedDataset; yield None if its header, sizes or dtype are wrong.

    The arrays of the dataset are views of memory-mapped files and must not be used outside this context.
    """
    idx_path = bin_path.with_name(bin_path.name.removesuffix(".bin") + ".idx")
    if not _check_header(part, bin_path, idx_path, tokenizer, checks):
        yield None
        return
    try:
        dataset = load_megatron()(str(bin_path).removesuffix(".bin"), multimodal=False, mmap=True)
    except AssertionError:
        at = checks.at(file=str(idx_path))
        at.true("E5", False, "an index that Megatron opens", "a document index with a wrong end")
        yield None
        return
    yield dataset


def check_part(dataset: Any, part: DatasetRecord, bin_path: Path, tokenizer: TokenizerRecord, checks: Checks) -> bool:  # noqa: ANN401  (Megatron ships no types)
    """Check E5 for one open part; False if its index cannot be used to find the documents."""
    at_idx = checks.at(file=str(bin_path).removesuffix(".bin") + ".idx")
    at_bin = checks.at(file=str(bin_path))
    itemsize = np.dtype(dataset.index.dtype).itemsize
    lengths: NDArray[np.int32] = dataset.index.sequence_lengths
    pointers: NDArray[np.int64] = dataset.index.sequence_pointers
    documents: NDArray[np.int64] = dataset.index.document_indices
    sound = at_idx.equal("E5", "tokens by the lengths", part.tokens, int(lengths.sum(dtype=np.int64)))
    sound &= at_idx.true("E5", bool(lengths.min() > tokenizer.around), "a token in each document", "a shorter one")
    sound &= at_idx.true("E5", _is_contiguous(pointers, lengths, itemsize), "contiguous documents", "gaps")
    sound &= at_idx.true("E5", _counts_up(documents), "one sequence for each document", "another document index")
    if sound:
        _check_ids(dataset, lengths, pointers, tokenizer, at_bin)
    return sound


def _check_header(
    part: DatasetRecord, bin_path: Path, idx_path: Path, tokenizer: TokenizerRecord, checks: Checks
) -> bool:
    """Check the form of both files from the index header and the file sizes."""
    at = checks.at(file=str(idx_path))
    with idx_path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    is_index = len(header) == HEADER_BYTES and header[:9] == MAGIC
    if not at.true("schema", is_index, "a Megatron index", f"a {len(header)}-byte header that starts {header[:9]!r}"):
        return False
    version, code, sequences, documents = struct.unpack("<QBQQ", header[9:])
    is_uint16 = tokenizer.vocab_size < UINT16_BELOW
    holds = at.equal("schema", "as the index's version", 1, version)
    holds &= at.equal("E5", "as the dtype's code", 8 if is_uint16 else 4, code)
    holds &= at.equal("E5", "documents in the index", part.documents, sequences)
    holds &= at.equal("E5", "boundaries in the index", part.documents + 1, documents)
    size = HEADER_BYTES + 20 * part.documents + 8
    holds &= at.equal("E5", "bytes of index", size, idx_path.stat().st_size)
    at_bin = checks.at(file=str(bin_path))
    size = part.tokens * (2 if is_uint16 else 4)
    holds &= at_bin.equal("E5", "bytes of tokens", size, bin_path.stat().st_size)
    return holds and part.documents > 0


def _is_contiguous(pointers: NDArray[np.int64], lengths: NDArray[np.int32], itemsize: int) -> bool:
    """Whether the first document starts at byte 0 and each other one where the previous one ends."""
    end = 0
    for first in range(0, len(lengths), BLOCK_DOCUMENTS):
        block = lengths[first : first + BLOCK_DOCUMENTS].astype(np.int64) * itemsize
        ends = end + np.cumsum(block)
        if not np.array_equal(ends - block, pointers[first : first + BLOCK_DOCUMENTS]):
            return False
        end = int(ends[-1])
    return True


def _counts_up(documents: NDArray[np.int64]) -> bool:
    return all(
        np.array_equal(
            documents[first : first + BLOCK_DOCUMENTS],
            np.arange(first, min(first + BLOCK_DOCUMENTS, len(documents))),
        )
        for first in range(0, len(documents), BLOCK_DOCUMENTS)
    )


def _check_ids(
    dataset: Any,  # noqa: ANN401  (Megatron ships no types)
    lengths: NDArray[np.int32],
    pointers: NDArray[np.int64],
    tokenizer: TokenizerRecord,
    checks: Checks,
) -> None:
    """Check the range of the ids and EODs: as many as documents, one at the end of each; BOS the same at the start."""
    dtype = np.dtype(dataset.index.dtype)
    total = int(pointers[-1]) // dtype.itemsize + int(lengths[-1])
    largest, smallest, eods, bos = 0, 0, 0, 0
    for first in range(0, total, BLOCK_TOKENS):
        ids = dataset.bin_reader.read(dataset.index.dtype, min(BLOCK_TOKENS, total - first), first * dtype.itemsize)
        largest = max(largest, int(ids.max()))
        smallest = min(smallest, int(ids.min()))
        eods += int(np.count_nonzero(ids == tokenizer.eod_id))
        bos += 0 if tokenizer.bos_id is None else int(np.count_nonzero(ids == tokenizer.bos_id))
    checks.true("E5", largest < tokenizer.vocab_size, f"ids below {tokenizer.vocab_size}", f"id {largest}")
    checks.true("E5", smallest >= 0, "no negative id", f"id {smallest}")
    checks.equal("E5", "EODs", len(lengths), eods)
    tokens = dataset.bin_reader.read(dataset.index.dtype, total, 0)
    without = 0
    for first in range(0, len(lengths), BLOCK_DOCUMENTS):
        block = slice(first, first + BLOCK_DOCUMENTS)
        ends = pointers[block] // dtype.itemsize + lengths[block] - 1
        without += int(np.count_nonzero(tokens[ends] != tokenizer.eod_id))
    checks.equal("E5", "documents without an EOD at their end", 0, without)
    if tokenizer.bos_id is not None:
        starts = pointers // dtype.itemsize
        checks.equal("E5", "BOS", len(lengths), bos)
        checks.equal("E5", "documents without a BOS at their start", 0, int((tokens[starts] != tokenizer.bos_id).sum()))


def load_megatron() -> Any:  # noqa: ANN401  (Megatron ships no types)
    """Megatron's IndexedDataset, imported when the first part is opened: the import takes 4 s and needs no GPU."""
    with warnings.catch_warnings():
        # the import warns about GPU features and torch deprecations, never about data
        warnings.simplefilter("ignore")
        try:
            from megatron.core.datasets.indexed_dataset import IndexedDataset
        except ModuleNotFoundError as error:
            raise RequestError(
                f"audit --depth bytes re-reads datasets with Megatron Core, and {error.name} is not installed; "
                "install mixproof[train], or audit with --depth arithmetic"
            ) from error
    return IndexedDataset
