"""The index of a dataset that another tool wrote: every form that Megatron reads, and nothing that it would misread.

Megatron-LM opens a truncated `.bin` without complaint and believes an index whatever it says, so all of it is
checked first: header, sizes of both files, sequences that follow each other without gap from byte 0, documents
that hold every sequence. Datasets cut into sentences have several sequences a document; those of one
document lie together, so a document is their sum. Multimodal datasets (with a mode a sequence) are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError

from .indexed import CODE_OF_DTYPE, HEADER, MAGIC, MAX_DOCUMENT_TOKENS, VERSION

NAMES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float64", 7: "float32", 8: "uint16"}
"""Megatron's codes; ids of text are stored as uint16 or int32."""


@dataclass(frozen=True)
class ForeignIndex:
    """Documents of a `.bin` that lie in it one after another, from its first byte to its last."""

    dtype: np.dtype[np.uint16] | np.dtype[np.int32]
    lengths: NDArray[np.int64]
    """[documents] tokens of each, an EOD included where it has one; 0 for a document without sequences."""


def read_foreign_index(url: str, bin_url: str, bin_bytes: int) -> ForeignIndex:
    """Read and check an `.idx` against the size of its `.bin`.

    Raises:
        DamagedFileError: when it is truncated, of another format, or does not describe such a `.bin`.
    """
    data = _read(url)
    start = len(MAGIC) + HEADER.size
    if len(data) < start or not data.startswith(MAGIC):
        raise DamagedFileError(url, "byte 0", f"not an index of Megatron's: it starts with {data[:9]!r}")
    dtype, sequences, boundaries = _header(url, data)
    size = start + 12 * sequences + 8 * boundaries
    if len(data) != size:
        what = "truncated" if len(data) < size else "of another form, as a multimodal one"
        raise DamagedFileError(url, f"byte {len(data)}", f"{what}: {sequences} sequences take {size} bytes")
    lengths = np.frombuffer(data, "<i4", sequences, start).astype(np.int64)
    pointers = np.frombuffer(data, "<i8", sequences, start + 4 * sequences)
    ends = _ends(url, lengths, pointers, dtype.itemsize)
    if ends[-1] * dtype.itemsize != bin_bytes:
        what = "truncated" if bin_bytes < ends[-1] * dtype.itemsize else "longer than its index says"
        reason = f"{what}: {url} speaks of {ends[-1]} tokens of {dtype.itemsize} bytes, so of another file or time"
        raise DamagedFileError(bin_url, f"byte {bin_bytes}", reason)
    documents = np.frombuffer(data, "<i8", boundaries, start + 12 * sequences)
    return ForeignIndex(dtype, _documents(url, documents, ends))


def _header(url: str, data: bytes) -> tuple[np.dtype[np.uint16] | np.dtype[np.int32], int, int]:
    version, code, sequences, boundaries = HEADER.unpack_from(data, len(MAGIC))
    names = {code: name for name, code in CODE_OF_DTYPE.items()}
    if version != VERSION:
        raise DamagedFileError(url, "byte 9", f"version {version}; known is {VERSION}")
    if code not in names:
        found = f"dtype code {code} ({NAMES.get(code, 'unknown')})"
        raise DamagedFileError(url, "byte 17", f"{found}; ids of text are uint16 (8) or int32 (4)")
    if boundaries < 1:
        raise DamagedFileError(url, "byte 26", "no document boundary, where even an empty dataset has one")
    return np.dtype(names[code]), sequences, boundaries


def _ends(url: str, lengths: NDArray[np.int64], pointers: NDArray[np.int64], itemsize: int) -> NDArray[np.int64]:
    """[sequences + 1] tokens before each sequence, and all of them."""
    if len(lengths) and int(lengths.min()) < 0:
        raise DamagedFileError(url, f"sequence {int(lengths.argmin())}", "a length below zero")
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    wrong = np.flatnonzero(pointers != ends[:-1] * itemsize)
    if len(wrong):
        first = int(wrong[0])
        reason = f"starts at byte {int(pointers[first])}, the one before ends at {int(ends[first]) * itemsize}"
        raise DamagedFileError(url, f"sequence {first}", reason)
    return ends


def _documents(url: str, boundaries: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """[documents] tokens of each."""
    steps = np.diff(boundaries)
    if int(boundaries[0]) != 0 or int(boundaries[-1]) != len(ends) - 1 or (steps < 0).any():
        reason = f"does not rise from 0 to {len(ends) - 1}, so some sequences are in no document"
        raise DamagedFileError(url, "document index", reason)
    lengths: NDArray[np.int64] = np.diff(ends[boundaries])
    if len(lengths) and int(lengths.max()) > MAX_DOCUMENT_TOKENS:
        raise DamagedFileError(url, f"document {int(lengths.argmax())}", "more tokens than an index entry holds")
    return lengths


def header_itemsize(url: str) -> int:
    """Bytes of an id by the header of an `.idx`.

    Raises:
        DamagedFileError: when it is not an index of ids.
    """
    data = _read(url, len(MAGIC) + HEADER.size)
    try:
        return _header(url, data)[0].itemsize
    except struct.error:
        raise DamagedFileError(url, "byte 0", "not an index of Megatron's: it is shorter than a header") from None


def _read(url: str, most: int = -1) -> bytes:
    import fsspec  # here, because few builds take tokens that are there

    with fsspec.open(url, "rb") as file:
        data: bytes = file.read(most)
    return data
