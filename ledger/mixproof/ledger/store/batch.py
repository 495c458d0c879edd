"""Batches: many small outputs of one task share a scratch folder, their receipts one sealed file, their files a pack.

The files of each output are published when it is committed; its receipt only at the end of the batch, with those of
all others. A kill therefore loses the receipts of one batch, whose outputs are made again. That saves a scratch folder
and a receipt file for each output: a third of the time and of the files that an output of two small files takes. A
batch of few outputs leaves their receipts beside them, as `Store.attempt` does.

A batch may also pack the files of small outputs (`packs.py`), which are published at its end, too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .attempts import Attempt, scratch_folder
from .packs import write_pack
from .receipt import Receipt, StoredFile
from .sealed import write_sealed
from .store import Store

SEAL_LEAST = 32
"""Outputs: fewer keep their receipts and files in their own folders."""
PACK_BYTES = 1_000_000
"""A larger output is not packed, because readers map its files."""


class Batch:
    """Outputs of one stage that are made one after the other."""

    def __init__(self, store: Store, stage: str, scratch: Path, *, packs: bool) -> None:
        self._store, self._stage, self._scratch, self._packs = store, stage, scratch, packs
        self._receipts: dict[str, Receipt] = {}
        self._packed: dict[str, dict[str, bytes]] = {}
        """Files to pack, by output and name."""

    @contextmanager
    def attempt(self, stage: str, key: str) -> Iterator[Attempt]:
        """As `Store.attempt`; the receipt of a committed output is written at the end of the batch."""
        folder = f"{self._scratch}/{key[:16]}"
        os.mkdir(folder)  # noqa: PTH102  Path would take longer than the calls themselves
        try:
            yield Attempt(self._store, stage, key, Path(folder), self._keep, self._pack)
        finally:
            _remove(folder)

    def close(self) -> None:
        """Publish the pack, then the receipts of all committed outputs."""
        if self._packed:
            pack = write_pack(self._store, self._stage, self._packed)
            for key in self._packed:
                self._receipts[key] = self._receipts[key].model_copy(update={"pack": pack})
        if len(self._receipts) < SEAL_LEAST and not self._packed:
            for receipt in self._receipts.values():
                self._store.write_receipt(receipt)
        elif self._receipts:
            write_sealed(self._store, self._stage, {key: one.to_bytes() for key, one in self._receipts.items()})

    def _keep(self, receipt: Receipt) -> None:
        self._receipts[receipt.key] = receipt

    def _pack(self, key: str, files: Mapping[str, Path]) -> dict[str, StoredFile] | None:
        """Keep the files of an output for the pack; None: they are too large, or the batch has no pack."""
        if not self._packs or sum(path.stat().st_size for path in files.values()) > PACK_BYTES:
            return None
        contents = {}
        for name, path in files.items():
            contents[name] = path.read_bytes()
            path.unlink()
        if contents:
            self._packed[key] = contents
        return {
            name: StoredFile(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
            for name, data in contents.items()
        }


def _remove(folder: str) -> None:
    """Remove the scratch folder of one output, whose files have been published as a rule."""
    try:
        os.rmdir(folder)  # noqa: PTH106
    except OSError:
        shutil.rmtree(folder)


Outputs = Store | Batch
"""Where a task writes its outputs."""


@contextmanager
def open_batch(store: Store, stage: str, keys: Sequence[str], *, packs: bool = False) -> Iterator[Batch]:
    """Open a batch for the outputs `keys` of a stage; those committed before an error are kept.

    Args:
        store: the store.
        stage: of the outputs.
        keys: of the outputs.
        packs: whether their files may be packed: all readers use `Receipt.folder` and `Store.open`.
    """
    with scratch_folder(store.root, stage, min(keys)) as scratch:
        batch = Batch(store, stage, scratch, packs=packs and len(keys) >= SEAL_LEAST)
        try:
            yield batch
        finally:
            batch.close()
