"""Load arrays of a store: numbers only, never pickled objects."""

from __future__ import annotations

from io import BytesIO
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError


def load_array(
    path: str | PathLike[str] | BytesIO, mmap_mode: Literal["r"] | None = None, *, name: str | None = None
) -> NDArray[Any]:
    """The array of a `.npy` file.

    Args:
        path: of the file, or its bytes.
        mmap_mode: `r` maps it into memory; None: read it.
        name: of the file, for errors; None: its path.

    Raises:
        DamagedFileError: when the file is not an array of numbers; a pickle in it is not loaded.
        FileNotFoundError: when there is none.
    """
    try:
        found: NDArray[Any] = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (ValueError, EOFError, OverflowError, MemoryError) as error:
        reason = f"not an array of numbers ({error}); delete its folder to make it again"
        raise DamagedFileError(name or str(path), "whole file", reason) from error
    return found
