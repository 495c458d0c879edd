"""Read and check the index of a dataset that another tool wrote.

Megatron-LM opens a truncated `.bin` without an error and trusts the index, so everything is checked first: the header,
the sizes of both files, that sequences are contiguous from byte 0, and that every sequence is in a document. If a
dataset is split into sentences, a document has several consecutive sequences; its length is their sum. Multimodal
datasets, which have a mode per sequence, are refused.

datatrove's tokenizer writes ids alone (`.ds`, uint16 or uint32 by the size of its vocabulary) and, beside them, the end
of each document in tokens (`.ds.index`, u64 without a header; `datatrove/pipeline/tokens/tokenizer.py`). The width of
an id follows from both sizes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError
from mixproof.pipeline.inputs.files import DATATROVE_ENDS
from mixproof.pipeline.readers.raw import open_input

from .indexed import CODE_OF_DTYPE, HEADER, MAGIC, MAX_DOCUMENT_TOKENS, VERSION

NAMES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float64", 7: "float32", 8: "uint16"}
"""Megatron's dtype codes; ids of text are stored as uint16 or int32."""


@dataclass(frozen=True)
class ForeignIndex:
    """The documents of a `.bin`, contiguous from its first byte to its last."""

    dtype: np.dtype[np.uint16] | np.dtype[np.int32]
    lengths: NDArray[np.int64]
    """[documents] tokens of each document, including its EOD if it has one; 0 for a document without sequences."""
    sha256: str
    """SHA-256 of the bytes that were read."""


def read_foreign_index(url: str, bin_url: str, bin_bytes: int) -> ForeignIndex:
    """Read an `.idx` and check it against the size of its `.bin`.

    Raises:
        DamagedFileError: when it is truncated, has another format, or does not describe a `.bin` of this size.
    """
    data = _read(url)
    if url.endswith(DATATROVE_ENDS[1]):
        return _datatrove_index(url, data, bin_url, bin_bytes)
    start = len(MAGIC) + HEADER.size
    if len(data) < start or not data.startswith(MAGIC):
        raise DamagedFileError(url, "byte 0", f"not a Megatron index: it starts with {data[:9]!r}")
    dtype, sequences, boundaries = _header(url, data)
    size = start + 12 * sequences + 8 * boundaries
    if len(data) != size:
        what = "truncated" if len(data) < size else "too long, perhaps a multimodal index"
        raise DamagedFileError(url, f"byte {len(data)}", f"{what}: {sequences} sequences take {size} bytes")
    lengths = np.frombuffer(data, "<i4", sequences, start).astype(np.int64)
    pointers = np.frombuffer(data, "<i8", sequences, start + 4 * sequences)
    ends = _ends(url, lengths, pointers, dtype.itemsize)
    if ends[-1] * dtype.itemsize != bin_bytes:
        what = "truncated" if bin_bytes < ends[-1] * dtype.itemsize else "longer than its index says"
        reason = f"{what}: {url} states {ends[-1]} tokens of {dtype.itemsize} bytes; copy both files again"
        raise DamagedFileError(bin_url, f"byte {bin_bytes}", reason)
    documents = np.frombuffer(data, "<i8", boundaries, start + 12 * sequences)
    return ForeignIndex(dtype, _documents(url, documents, ends), hashlib.sha256(data).hexdigest())


def _header(url: str, data: bytes) -> tuple[np.dtype[np.uint16] | np.dtype[np.int32], int, int]:
    version, code, sequences, boundaries = HEADER.unpack_from(data, len(MAGIC))
    names = {code: name for name, code in CODE_OF_DTYPE.items()}
    if version != VERSION:
        raise DamagedFileError(url, "byte 9", f"version {version} is not supported; the supported version is {VERSION}")
    if code not in names:
        found = f"dtype code {code} ({NAMES.get(code, 'unknown')})"
        raise DamagedFileError(url, "byte 17", f"{found} is not supported; token ids are uint16 (8) or int32 (4)")
    if boundaries < 1:
        raise DamagedFileError(url, "byte 26", "no document boundaries; even an empty dataset has one")
    return np.dtype(names[code]), sequences, boundaries


def _ends(url: str, lengths: NDArray[np.int64], pointers: NDArray[np.int64], itemsize: int) -> NDArray[np.int64]:
    """[sequences + 1] number of tokens before each sequence, then the total."""
    if len(lengths) and int(lengths.min()) < 0:
        raise DamagedFileError(url, f"sequence {int(lengths.argmin())}", "the length is negative")
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    wrong = np.flatnonzero(pointers != ends[:-1] * itemsize)
    if len(wrong):
        first = int(wrong[0])
        reason = f"starts at byte {int(pointers[first])}, but the previous one ends at {int(ends[first]) * itemsize}"
        raise DamagedFileError(url, f"sequence {first}", reason)
    return ends


def _documents(url: str, boundaries: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """[documents] tokens of each."""
    steps = np.diff(boundaries)
    if int(boundaries[0]) != 0 or int(boundaries[-1]) != len(ends) - 1 or (steps < 0).any():
        reason = f"does not ascend from 0 to {len(ends) - 1}, so some sequences are in no document"
        raise DamagedFileError(url, "document index", reason)
    lengths: NDArray[np.int64] = np.diff(ends[boundaries])
    if len(lengths) and int(lengths.max()) > MAX_DOCUMENT_TOKENS:
        raise DamagedFileError(url, f"document {int(lengths.argmax())}", f"more than {MAX_DOCUMENT_TOKENS} tokens")
    return lengths


def _datatrove_index(url: str, data: bytes, ds_url: str, ds_bytes: int) -> ForeignIndex:
    if len(data) % 8:
        raise DamagedFileError(url, f"byte {len(data)}", "truncated: the end of each document takes 8 bytes")
    ends = np.frombuffer(data, "<u8").astype(np.int64)
    lengths: NDArray[np.int64] = np.diff(ends, prepend=0)
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= MAX_DOCUMENT_TOKENS:
        raise DamagedFileError(
            url, f"document {int(lengths.argmin())}", "ends do not ascend, or a document is too long"
        )
    return ForeignIndex(_datatrove_dtype(url, ends, ds_url, ds_bytes), lengths, hashlib.sha256(data).hexdigest())


def _datatrove_dtype(
    url: str, ends: NDArray[np.int64], ds_url: str, ds_bytes: int
) -> np.dtype[np.uint16] | np.dtype[np.int32]:
    tokens = int(ends[-1]) if len(ends) else 0
    dtypes: dict[int, np.dtype[np.uint16] | np.dtype[np.int32]] = {
        2 * tokens: np.dtype(np.uint16),
        4 * tokens: np.dtype(np.int32),
    }
    if ds_bytes not in dtypes:
        reason = f"{url} states {tokens} tokens, which take {2 * tokens} or {4 * tokens} bytes; copy both files again"
        raise DamagedFileError(ds_url, f"byte {ds_bytes}", reason)
    return dtypes[ds_bytes]


def header_itemsize(url: str, ids_bytes: int) -> int:
    """Bytes per id according to an index and the size of its file of ids.

    Raises:
        DamagedFileError: when it is not an index of token ids.
    """
    if url.endswith(DATATROVE_ENDS[1]):
        ends = np.frombuffer(_read(url), "<u8").astype(np.int64)
        return _datatrove_dtype(url, ends, url.removesuffix(".index"), ids_bytes).itemsize
    data = _read(url, len(MAGIC) + HEADER.size)
    try:
        return _header(url, data)[0].itemsize
    except struct.error:
        raise DamagedFileError(url, "byte 0", "not a Megatron index: it is shorter than a header") from None


def _read(url: str, most: int = -1) -> bytes:
    with open_input(url) as file:
        return file.read(most)
