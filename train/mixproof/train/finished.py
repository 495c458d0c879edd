"""Runs that have ended: find the record of a complete run, or of one whose training failed."""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.ledger.store import RECEIPT, Store

from .checkpoint_files import FILES, checkpoint_path, read_facts
from .record import IDENTITY, RUN, TRAIN, RunRecord, read_run, run_folder
from .request import RunRequest


def finished_record(store: Store, request: RunRequest) -> RunRecord | None:
    """Return the record of a run that is done and whose files all exist, else None."""
    folder = f"{TRAIN}/{request.key}"
    sizes = store.sizes(folder)
    if RUN not in sizes:
        return None
    record = read_run(store.path(f"{folder}/{RUN}"))
    present = all(name in sizes for name in (IDENTITY, RECEIPT, *record.files, *record.index))
    complete = present and _has_last_checkpoint(store, record, sizes)
    return record if record.status == "done" and complete else None


def _has_last_checkpoint(store: Store, record: RunRecord, sizes: Mapping[str, int]) -> bool:
    """Whether every file of the last checkpoint has its full size; `sizes` are of the run's files in bytes."""
    folder = run_folder(store, record.key)
    last = checkpoint_path(folder, record.consumed_samples).relative_to(folder).as_posix()
    listed = store.path(f"{TRAIN}/{record.key}/{last}/{FILES}")
    facts = read_facts(listed) if f"{last}/{FILES}" in sizes else None
    return facts is not None and all(
        sizes.get(f"{last}/{name}") == file["bytes"] for name, file in facts["files"].items()
    )


def failed_record(store: Store, request: RunRequest) -> RunRecord | None:
    """Return the record of a run whose training failed, else None."""
    path = store.path(f"{TRAIN}/{request.key}/{RUN}")
    record = read_run(path) if path.is_file() else None
    return record if record is not None and record.status == "failed" else None
