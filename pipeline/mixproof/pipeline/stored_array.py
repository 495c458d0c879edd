"""Open an array of the store: mapped if it has a file of its own, read whole if it is in a pack of small files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mixproof.ledger.store import Store

from .load_array import load_array


def open_array(store: Store, path: str) -> NDArray[Any]:
    """Open the `.npy` file at `path` in the store."""
    file = store.open(path)
    return load_array(file, mmap_mode="r" if isinstance(file, Path) else None, name=store.location(path))
