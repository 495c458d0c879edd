"""The header of a safetensors file: names, types, shapes and offsets of its tensors, which are not read."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from mixproof.ledger.errors import RequestError

MOST_HEADER_BYTES = 100_000_000
"""As the package safetensors allows."""


def read_header(path: str | Path) -> tuple[int, dict[str, Any]]:
    """The byte at which tensors begin, and the entry of each tensor by name, as it is stated.

    Raises:
        RequestError: when there is no header.
    """
    with Path(path).open("rb") as file:
        try:
            (size,) = struct.unpack("<Q", file.read(8))
            tensors = orjson.loads(file.read(min(size, MOST_HEADER_BYTES)))
        except (struct.error, ValueError) as error:
            raise RequestError(f"{path}: not a safetensors file: its header cannot be read") from error
    if not isinstance(tensors, dict):
        raise RequestError(f"{path}: not a safetensors file: its header is not a map")
    tensors.pop("__metadata__", None)
    return 8 + size, tensors


def stated_values(paths: Iterable[str | Path]) -> tuple[int, int]:
    """The number of tensors in some files, and of their values.

    Raises:
        RequestError: when a header cannot be read, or states more values than its file has bytes.
    """
    tensors = values = 0
    for path in paths:
        _, stated = read_header(path)
        try:
            own = sum(math.prod(entry["shape"]) for entry in stated.values())
        except (KeyError, TypeError) as error:
            raise RequestError(f"{path}: not a safetensors file: a tensor has no shape") from error
        if own > Path(path).stat().st_size:
            raise RequestError(f"{path}: not a safetensors file: its header states {own:,} values, more than its bytes")
        tensors, values = tensors + len(stated), values + own
    return tensors, values
