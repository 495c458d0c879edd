"""`incidents.json`: the steps of a run with a loss spike or a failure, and the documents that they read.

Written at the end of a run that had any, from its metrics and saved index, so a resumed run writes the same bytes.
Documents are named by source, file and record, at most `MAX_DOCUMENTS` per step; `mixproof trace --step` shows all of
them with their text.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mixproof.ledger.store import Store, publish_bytes
from mixproof.train.data.delivered import spans_of
from mixproof.train.data.saved_index import INDEX_FOLDER
from mixproof.train.request import RunRequest

from .metrics import read_metrics
from .spikes import find_spikes

INCIDENTS = "incidents.json"
MAX_DOCUMENTS = 64
"""Documents listed per step."""
MAX_NAMED = 4
"""Documents named in the reason why a run failed."""


def phase_starts_of(request: RunRequest) -> list[int]:
    """Return the first step of each phase of a run, from 1."""
    return [phase.first_sample // request.budget.global_batch_size + 1 for phase in request.budget.phases]


def documents_of(store: Store, request: RunRequest, folder: Path, step: int) -> list[dict[str, Any]]:
    """List the documents of a batch in reading order, each once.

    Args:
        store: of the run.
        request: the run.
        folder: of the run, with its saved index.
        step: from 1; may be a step that was not finished.

    Returns:
        `source`, `file`, `record` and `id` of each.
    """
    batch = request.budget.batch_at((step - 1) * request.budget.global_batch_size)
    rows: dict[tuple[str, int], None] = {}
    for sample in range(batch.first_window, batch.first_window + batch.windows):
        stream, _, spans = spans_of(folder / INDEX_FOLDER, sample)
        rows.update({(stream, span.document): None for span in spans})
    tables = {
        stream: pq.read_table(store.path(request.draws[stream].provenance), columns=["file", "record", "id"])
        for stream in {stream for stream, _ in rows}
    }
    return [
        {"source": request.draws[stream].source, **tables[stream].slice(row, 1).to_pylist()[0]} for stream, row in rows
    ]


def name_documents(documents: list[dict[str, Any]]) -> str:
    """Name the first documents of a batch."""
    named = ", ".join(f"{found['source']}: {found['file']}#{found['record']}" for found in documents[:MAX_NAMED])
    more = len(documents) - MAX_NAMED
    return f"{named} and {more} more" if more > 0 else named


def write_incidents(store: Store, request: RunRequest, folder: Path, failed_step: int | None) -> None:
    """Write `incidents.json` into a run's folder; without incidents, remove that of an earlier attempt."""
    spikes = find_spikes(read_metrics(folder), phase_starts_of(request))
    found: list[dict[str, Any]] = [{"kind": "spike", **asdict(spike)} for spike in spikes]
    if failed_step is not None:
        found.append({"kind": "failed", "step": failed_step})
    if not found:
        (folder / INCIDENTS).unlink(missing_ok=True)
        return
    for incident in found:
        documents = documents_of(store, request, folder, incident["step"])
        incident |= {"num_documents": len(documents), "documents": documents[:MAX_DOCUMENTS]}
    text = json.dumps({"incidents": found}, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    publish_bytes(f"{text}\n".encode(), folder / INCIDENTS)
