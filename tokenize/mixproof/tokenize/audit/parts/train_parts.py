"""All training parts of a build: each part in parallel, then the parts of each source together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.task_progress import OnProgress, TaskProgress
from mixproof.tokenize.audit.checksums import is_inside
from mixproof.tokenize.audit.inputs import Inputs
from mixproof.tokenize.audit.report import Checks, Location, Reencoded

from .audited_source import AuditedSource, AuditedTokenizer
from .heldout import hashes_of, values_of
from .masks import PLAIN, Form, form_of
from .part_files import check_part_files
from .provenance import Rows, Withheld, check_provenance
from .reencode import load_reference, reencode_sample
from .reencode_conversations import load_conversation_ids

LARGE_BYTES = 8_000_000_000
"""Total `.bin` bytes from which starting a cluster pays off; one machine reads this much in a few seconds."""
CheckedPart = tuple[Checks, Rows | None, Reencoded]


def check_train_parts(
    root: Path,
    tokenizer: AuditedTokenizer,
    sources: Sequence[AuditedSource],
    is_decontaminated: bool,
    checks: Checks,
    cluster: Cluster | None,
    progress: OnProgress | None,
) -> Reencoded:
    """Check all training parts in parallel, then the parts of each source together."""
    heldout = [table for source in sources for table in [source.texts, *source.heldout_rows] if table is not None]
    hashes = hashes_of(heldout) if is_decontaminated else None
    marked = [source for source in sources if source.record.kind is not None]
    prompts = {
        source.name: values_of(_prompts_of(marked if is_decontaminated else [source]), "prompt_xxh128")
        for source in marked
    }
    calls = [
        (
            str(root),
            part,
            AuditedTokenizer(tokenizer.record, None) if source.is_adopted else tokenizer,
            source.inputs,
            Withheld(source.heldout_positions, hashes, source.cell, source.labels, prompts.get(source.name)),
            checks.at(source=source.name, stage="train", shard=part.prefix).location,
            form_of(source.record),
        )
        for source in sources
        for part in source.record.train.datasets
    ]
    if cluster is not None and sum(_bin_bytes(root, part) for _, part, *_ in calls) >= LARGE_BYTES:
        done = cluster.run(check_train_part, calls, label="audit")
    else:
        done = _in_threads(calls, progress)
    checks.merge(found for found, _, _ in done)
    rows = iter([part_rows for _, part_rows, _ in done])
    for source in sources:
        of_source = [next(rows) for _ in source.record.train.datasets]
        _check_parts_together(source, of_source, checks.at(source=source.name, stage="train"))
    return sum((reencoded for _, _, reencoded in done), Reencoded())


def _prompts_of(sources: Sequence[AuditedSource]) -> list[pa.Table]:
    """Tables with the hashes of the prompts that these sources hold out."""
    return [table for source in sources for table in [source.texts, *source.heldout_rows] if table is not None]


def _bin_bytes(root: Path, part: DatasetRecord) -> int:
    path = root / f"{part.prefix}.bin"
    return path.stat().st_size if is_inside(part.prefix) and path.is_file() else 0


def check_train_part(
    root: str,
    part: DatasetRecord,
    tokenizer: AuditedTokenizer,
    inputs: Inputs | None,
    withheld: Withheld,
    location: Location,
    form: Form = PLAIN,
) -> CheckedPart:
    """Check one training part (Ray task)."""
    checks = Checks(location)

    def check_rows_of(
        path: Path, part: DatasetRecord, lengths: NDArray[np.int32] | None, checks: Checks
    ) -> Rows | None:
        return check_provenance(path, part, lengths, inputs, withheld, checks, form)

    path = tokenizer.path
    before = tokenizer.record.around - 1
    reencode = None if path is None else partial(reencode_sample, load_reference(path, tokenizer.record), before=before)
    if reencode is not None and path is not None and form.kind is not None:
        reencode = partial(reencode, control=load_conversation_ids(path, tokenizer.record).control_ids)
    return checks, *check_part_files(Path(root), part, tokenizer.record, checks, check_rows_of, reencode)


def _check_parts_together(source: AuditedSource, parts: Sequence[Rows | None], checks: Checks) -> None:
    """Check the bytes of all parts, and that each part starts after the previous one, if all parts could be read."""
    rows = [part for part in parts if part is not None]
    if len(rows) < len(parts):
        return
    checks.equal("E6", "bytes in all parts", source.record.train.bytes, sum(part.text_bytes for part in rows))
    for number, (before, after) in enumerate(pairwise(rows), start=1):
        checks.at(shard=source.record.train.datasets[number].prefix).true(
            "E6",
            before.last_position < after.first_position or source.inputs is None,
            f"a part that starts after record {before.last_position} of the source",
            f"one that starts at record {after.first_position}",
        )


def _in_threads(calls: Sequence[tuple[Any, ...]], progress: OnProgress | None) -> list[CheckedPart]:
    """Check parts in one thread per CPU; results are in the order of the calls."""
    results: list[CheckedPart] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for future in [threads.submit(check_train_part, *call) for call in calls]:
            results.append(future.result())
            if progress is not None:
                progress(TaskProgress("audit", len(results), len(calls)))
    return results
