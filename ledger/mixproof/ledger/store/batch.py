"""Batches: many small outputs of one task share a scratch folder, and their receipts one sealed file.

The files of each output are published when it is committed; its receipt only at the end of the batch, with those of
all others. A kill therefore loses the receipts of one batch, whose outputs are made again. That saves a scratch folder
and a receipt file for each output: a third of the time and of the files that an output of two small files takes. A
batch of few outputs leaves their receipts beside them, as `Store.attempt` does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .attempts import Attempt, scratch_folder
from .receipt import Receipt
from .sealed import write_sealed
from .store import Store

SEAL_LEAST = 32
"""Receipts: fewer are left beside their outputs."""


class Batch:
    """Outputs of one stage that are made one after the other."""

    def __init__(self, store: Store, scratch: Path) -> None:
        self._store, self._scratch = store, scratch
        self._receipts: dict[str, Receipt] = {}

    @contextmanager
    def attempt(self, stage: str, key: str) -> Iterator[Attempt]:
        """As `Store.attempt`; the receipt of a committed output is written at the end of the batch."""
        folder = f"{self._scratch}/{key[:16]}"
        os.mkdir(folder)  # noqa: PTH102  Path would take longer than the calls themselves
        try:
            yield Attempt(self._store, stage, key, Path(folder), self._keep)
        finally:
            shutil.rmtree(folder)

    def close(self) -> None:
        """Write the receipts of all committed outputs."""
        if len(self._receipts) < SEAL_LEAST:
            for receipt in self._receipts.values():
                self._store.write_receipt(receipt)
        else:
            (stage,) = {receipt.stage for receipt in self._receipts.values()}
            write_sealed(self._store, stage, {key: one.to_bytes() for key, one in self._receipts.items()})

    def _keep(self, receipt: Receipt) -> None:
        self._receipts[receipt.key] = receipt


Outputs = Store | Batch
"""Where a task writes its outputs."""


@contextmanager
def open_batch(store: Store, stage: str, keys: Sequence[str]) -> Iterator[Batch]:
    """Open a batch for the outputs `keys` of a stage; those committed before an error are kept."""
    with scratch_folder(store.root, stage, min(keys)) as scratch:
        batch = Batch(store, scratch)
        try:
            yield batch
        finally:
            batch.close()
