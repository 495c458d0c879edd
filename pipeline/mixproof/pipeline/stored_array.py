"""Open an array of the store: mapped if it has a file of its own, read whole if it is in a pack of small files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store


def open_array(store: Store, path: str) -> NDArray[Any]:
    """Open the `.npy` file at `path` in the store."""
    file = store.open(path)
    array: NDArray[Any] = np.load(file, mmap_mode="r" if isinstance(file, Path) else None, allow_pickle=False)
    return array
