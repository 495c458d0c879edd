"""Incidents: the steps of a run that spiked or failed, and the documents that they read; `incidents.json`.

Written at the end of a run that had any, from its metrics and its saved index, so that a resumed run writes the same
bytes. Every document is named by source, file and record, up to `MOST_DOCUMENTS` a step; `mixproof trace --step` has
them all, with their text.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mixproof.ledger.store import Store, publish_bytes
from mixproof.train.data.delivered import spans_of
from mixproof.train.request import RunRequest

from .metrics import read_metrics
from .spikes import find_spikes

INCIDENTS = "incidents.json"
INDEX_FOLDER = "index"
MOST_DOCUMENTS = 64
"""Documents listed for one step."""
MOST_NAMED = 4
"""Documents named in the reason for which a run failed."""


def phase_starts_of(request: RunRequest) -> list[int]:
    """The steps, from 1, with which the phases of a run begin."""
    return [phase.first_sample // request.budget.global_batch_size + 1 for phase in request.budget.phases]


def documents_of(request: RunRequest, folder: Path, step: int) -> list[dict[str, Any]]:
    """The documents of a batch in the order in which they were read, each once.

    Args:
        request: the run.
        folder: of the run, with its saved index.
        step: from 1; also one that was not finished.

    Returns:
        `source`, `file`, `record` and `id` of each.
    """
    batch = request.budget.global_batch_size
    rows: dict[tuple[str, int], None] = {}
    for sample in range((step - 1) * batch, step * batch):
        source, _, spans = spans_of(folder / INDEX_FOLDER, sample)
        rows.update({(source, span.document): None for span in spans})
    store = Store(request.store)
    tables = {
        source: pq.read_table(store.path(request.draws[source].provenance), columns=["file", "record", "id"])
        for source in {source for source, _ in rows}
    }
    return [{"source": source, **tables[source].slice(row, 1).to_pylist()[0]} for source, row in rows]


def name_documents(documents: list[dict[str, Any]]) -> str:
    """Name the first documents of a batch in words."""
    named = ", ".join(f"{found['source']}: {found['file']}#{found['record']}" for found in documents[:MOST_NAMED])
    more = len(documents) - MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


def write_incidents(request: RunRequest, folder: Path, failed_step: int | None) -> None:
    """Write `incidents.json` into a run's folder, where there is anything to say; remove an earlier attempt's."""
    spikes = find_spikes(read_metrics(folder), phase_starts_of(request))
    found: list[dict[str, Any]] = [{"kind": "spike", **asdict(spike)} for spike in spikes]
    if failed_step is not None:
        found.append({"kind": "failed", "step": failed_step})
    if not found:
        (folder / INCIDENTS).unlink(missing_ok=True)
        return
    for incident in found:
        documents = documents_of(request, folder, incident["step"])
        incident |= {"num_documents": len(documents), "documents": documents[:MOST_DOCUMENTS]}
    text = json.dumps({"incidents": found}, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    publish_bytes(f"{text}\n".encode(), folder / INCIDENTS)
