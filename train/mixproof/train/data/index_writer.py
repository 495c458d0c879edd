"""Writes the arrays of a run's saved index, each published whole, and collects their checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import canonical_json, sha256_of_file
from mixproof.ledger.store import publish, publish_bytes

from .saved_index import INDEX, ArrayRecord, IndexRecord


class IndexWriter:
    """The folder `index/` of a run as it is written."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.files: dict[str, str] = {}
        """SHA-256 of each file by its name."""

    def save(self, array: NDArray[Any], name: str) -> ArrayRecord:
        """Write one array as `<name>.npy`."""
        path, scratch = self._folder / f"{name}.npy", self._folder / f".{name}.npy"
        np.save(scratch, array, allow_pickle=False)
        publish(scratch, path)
        self.files[path.name] = sha256_of_file(path)
        return ArrayRecord(file=path.name, sha256=self.files[path.name])

    def finish(self, record: IndexRecord) -> dict[str, str]:
        """Write `index.json`; return the SHA-256 of every file by its name."""
        publish_bytes(canonical_json(record.model_dump(mode="json", by_alias=True)), self._folder / INDEX)
        self.files[INDEX] = sha256_of_file(self._folder / INDEX)
        return self.files
