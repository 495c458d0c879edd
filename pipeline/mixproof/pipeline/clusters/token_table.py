"""A static token table and its tokenizer: a vector per token, read straight from safetensors.

The default is the table in the package wordllama (32,000 x 256, MIT; its code is not imported). A folder with
`model.safetensors` and `tokenizer.json` works as well: model2vec writes one, and sentence-transformers writes one for a
StaticEmbedding, in the folder of the model or in `0_StaticEmbedding`. Of model2vec, tables of bytes, weights of tokens
and a mapping of tokens to rows are read. Format of safetensors: 8 bytes with the length of a JSON header, the header
(dtype, shape and offsets of each tensor), then the tensors.

Vectors are rounded to integers of at most 11 bits, so that sums of them are exact in any order (`embed.py`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of_file

from .safetensors_header import read_header

MOST_VALUES = 2**29
"""Of a table whose rows are mapped: a few bytes may name a long row very often. The largest tables have 4e8."""
MOST = 2047
"""Largest absolute value in a rounded table."""
PACKAGE = "wordllama"
PACKAGE_FILES = ("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json")
FOLDER_FILES = ("model.safetensors", "tokenizer.json")
INNER_FOLDER = "0_StaticEmbedding"
TENSORS = ("embeddings", "embedding.weight")
WEIGHTS, MAPPING = "weights", "mapping"
"""Of model2vec: a factor per token, and the row of each token in the table."""
SHOWN_TENSORS = 5
MAX_TOKENS = 8192
"""Tokens of a text that are looked at: for a table, 8192 times its largest value is 2^24."""
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "<i1", "I32": "<i4", "I64": "<i8"}


@dataclass(frozen=True)
class TableFiles:
    """Where a table and its tokenizer are, and what identifies them."""

    table: str
    tokenizer: str
    sha256: str
    """Of both files' SHA-256."""

    @property
    def paths(self) -> tuple[str, ...]:
        """All files that vectors depend on."""
        return (self.table, self.tokenizer)

    @property
    def dimensions(self) -> int:
        """Length of a vector.

        Raises:
            RequestError: when the file does not hold a table.
        """
        return int(load_table(self.table).shape[1])


def find_table(folder: Path | None) -> TableFiles:
    """Find a table: in a folder, or in the package wordllama.

    Raises:
        RequestError: when a file is missing, or the package is not installed.
    """
    if folder is None:
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise RequestError(
                f"the package {PACKAGE}, which has the default token table, is not installed: "
                "pip install 'mixproof[sources]', or name a folder with `embedding: FOLDER`"
            )
        folder, names = Path(found.origin).parent, PACKAGE_FILES
    else:
        names = FOLDER_FILES
        folder = folder / INNER_FOLDER if (folder / INNER_FOLDER).is_dir() else folder
    for name in names:
        if not (folder / name).is_file():
            raise RequestError(f"{folder / name}: no such file; a folder of embeddings has {' and '.join(names)}")
    table, tokenizer = (str((folder / name).resolve()) for name in names)
    both = sha256_of_file(Path(table)) + sha256_of_file(Path(tokenizer))
    return TableFiles(table, tokenizer, hashlib.sha256(both.encode()).hexdigest())


@functools.lru_cache(maxsize=1)
def load_table(path: str) -> NDArray[np.float32]:
    """Read the vectors of all tokens as whole numbers: float32 [tokens, dimensions], at most MOST.

    Raises:
        RequestError: when the file does not hold one matrix of floats.
    """
    first, tensors = read_header(path)
    with Path(path).open("rb") as file:
        try:
            table, name = _table(file, first, tensors, path)
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise RequestError(f"{path}: not a safetensors file with a token table: {error!r}") from error
    largest = float(np.abs(table).max())
    if not largest or not np.isfinite(largest):
        raise RequestError(f"{path}: {name} is zero, or has values that are not finite")
    return np.rint(table * (MOST / largest)).astype(np.float32)


def _table(file: BinaryIO, first: int, tensors: dict[str, Any], path: str) -> tuple[NDArray[np.float64], str]:
    """The vectors of all tokens, and the name of their tensor; `first` is the byte at which tensors begin.

    Raises:
        RequestError: when there is no matrix of floats.
        IndexError, KeyError, TypeError, ValueError: and others, when the header does not fit itself or the file.
    """
    name = next((name for name in TENSORS if name in tensors), None)
    if name is None or tensors[name]["dtype"] not in _DTYPES or len(tensors[name]["shape"]) != 2:
        more = ", ..." if len(tensors) > SHOWN_TENSORS else ""
        raise RequestError(
            f"{path}: has no matrix {' or '.join(TENSORS)} of numbers, so it is not a static token table, as "
            f"model2vec writes; it has {', '.join(list(tensors)[:SHOWN_TENSORS])}{more}"
        )
    table = _tensor(file, first, tensors[name]).astype(np.float64)
    if MAPPING in tensors:
        rows = _tensor(file, first, tensors[MAPPING])
        if rows.size and int(rows.min()) < 0:
            raise ValueError(f"{MAPPING} has negative rows")
        if rows.size * table.shape[1] > MOST_VALUES:
            raise ValueError(f"{MAPPING} makes {rows.size} rows of {table.shape[1]} values, more than {MOST_VALUES}")
        table = table[rows]
    if WEIGHTS in tensors:
        table = table * _tensor(file, first, tensors[WEIGHTS]).astype(np.float64)[:, None]
    if not table.size:
        raise ValueError(f"{name} is empty")
    return table, name


def _tensor(file: BinaryIO, first: int, stated: dict[str, Any]) -> NDArray[Any]:
    """A tensor by its entry in the header."""
    (start, stop), shape, dtype = stated["data_offsets"], stated["shape"], np.dtype(_DTYPES[stated["dtype"]])
    size = dtype.itemsize * math.prod(shape)
    if start < 0 or stop - start != size or first + stop > os.fstat(file.fileno()).st_size or min(shape) < 0:
        raise ValueError(f"bytes {start} to {stop} do not hold {shape} values of {dtype}")
    file.seek(first + start)
    found: NDArray[Any] = np.frombuffer(file.read(size), dtype).reshape(shape)
    return found
