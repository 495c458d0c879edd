"""Tables with one row for each document of a group, in a `.npy` file of each shard: signatures, vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import Documents, load_group, shards_of
from mixproof.pipeline.stored_array import open_array

BLOCK_BYTES = 1 << 30

Load = Callable[[Documents], NDArray[Any]]
"""Gives the rows of ascending documents: [documents, width]."""


@dataclass(frozen=True)
class DocumentRows:
    """The rows of a group's documents."""

    stage: str
    """Of the search, which saved the list of shards and writes its outputs there."""
    group: str
    """Key of the list of shards."""
    documents: int
    """In all shards, kept or not."""
    file: str
    """In the folder of each shard: `dtype` [documents of the shard, width]."""
    dtype: np.dtype[Any]
    width: int

    @property
    def block(self) -> int:
        """Number of consecutive documents, a power of two, whose rows take up to BLOCK_BYTES."""
        return 1 << max(1, BLOCK_BYTES // (self.width * self.dtype.itemsize)).bit_length() - 1

    @property
    def blocks(self) -> int:
        """Number of blocks of documents."""
        return max(1, -(-self.documents // self.block))

    def read(self, store: Store, documents: Documents) -> NDArray[Any]:
        """Read the rows of ascending documents from their shards."""
        shards = load_group(store, self.stage, self.group)
        owners = shards_of(documents, [shard.first for shard in shards])
        parts = [np.zeros((0, self.width), self.dtype)]
        for owner in np.unique(owners).tolist():
            rows = documents[owners == owner] - shards[owner].first
            parts.append(open_array(store, f"{shards[owner].folder}/{self.file}")[rows])
        return np.concatenate(parts)
