"""Read every source: the shards' documents and the account of reading.

Only shards without a receipt are read. What comes back is the same under any shard plan: concatenated in
order, with `first_record` added to the column `record`, the shards give the same documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.account import Count, StageRow, check_chain, sum_rows
from mixproof.ledger.errors import BadRecordsError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.manifest import InputsRecord
from mixproof.ledger.receipts import Receipts, find_receipts
from mixproof.ledger.sealed import seal_receipts
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.columns import table_of
from mixproof.pipeline.readers.remote import is_of_this_process
from mixproof.pipeline.record import EMPTY_TEXT, OTHER_PART, PASSED_OVER
from mixproof.pipeline.steps import NOT_SAMPLED, make_steps

from .batches import share_tasks
from .files import InputFile
from .formats import TREES
from .identify import identify
from .quarantine import read_shards
from .read_task import STAGE, ReadTask, read_tasks
from .shard_output import iter_rejects
from .shards import DOCUMENTS, DROPPED, REJECTS, SHARD_BYTES, Shard, plan_shards
from .watch import PATIENCE_SECONDS

INPUTS = "inputs.parquet"
INPUTS_VERSION = 1
SHOWN_REJECTS = 3
TASK_SHARDS = 500

_INPUTS_SCHEMA = pa.schema(
    [("file", pa.string()), ("sha256", pa.string()), ("bytes", pa.int64()), ("records", pa.int64())]
)


@dataclass(frozen=True)
class RemovalList:
    """A Parquet file that names the records or documents which a shard lost, with the reasons."""

    kind: Literal["rejected", "dropped", "decontaminated"]
    path: str
    """Relative to the store."""
    file: str | None
    """Name of the input file; None where the column `file` names it."""
    first_record: int
    """To add to the column `record`, which counts from the start of the shard."""


@dataclass(frozen=True)
class SourceDocuments:
    """A source after reading and its steps."""

    name: str
    inputs: InputsRecord
    shards: tuple[Shard, ...]
    """In the order of (file, record)."""
    ledger: tuple[StageRow, ...]
    """`read`, then one row a step; shards summed."""
    lists: tuple[RemovalList, ...] = ()
    """Of the shards that rejected records, or whose steps dropped documents that are kept."""


def read_sources(
    spec: Spec,
    files: Mapping[str, tuple[InputFile, ...]],
    store: Store,
    cluster: Cluster,
    *,
    shard_bytes: int = SHARD_BYTES,
    patience_seconds: float = PATIENCE_SECONDS,
) -> dict[str, SourceDocuments]:
    """Read every source of the spec that has texts; `shard_bytes` is execution and changes no document.

    A document that takes longer than `patience_seconds` and what its size allows, or kills the process, is rejected
    as `poison`.

    Raises:
        RequestError: for steps that cannot be made, before anything is read.
        DamagedFileError: when an input cannot be read to its end.
        BadRecordsError: when a source has more bad records than `on_bad_record` allows.
        AccountError: when E1, E2 or E3 does not close.
    """
    for name, source in spec.sources.items():
        make_steps(source.steps, spec.where("sources", name, "steps"))
    files = {name: inputs for name, inputs in files.items() if spec.sources[name].megatron is None}
    sha256 = identify((file for inputs in files.values() for file in inputs), store, cluster)
    tasks_of = {
        name: [
            replace(task, patience_seconds=patience_seconds)
            for task in read_tasks(plan_shards({name: inputs}, shard_bytes), spec.sources[name], sha256, spec.limits)
        ]
        for name, inputs in files.items()
    }
    done = _read([task for tasks in tasks_of.values() for task in tasks], store, cluster, shard_bytes)
    sources = {}
    for name, inputs in files.items():
        read = [(task, done[task.key]) for task in tasks_of[name]]
        sources[name] = _source(name, inputs, read, sha256, store)
        _check_rejects(sources[name], read, spec, store)
    return sources


def _read(tasks: Sequence[ReadTask], store: Store, cluster: Cluster, batch_bytes: int) -> Receipts:
    by_key = {task.key: task for task in tasks}
    done = find_receipts(store, STAGE, by_key)
    missing = [task for key, task in by_key.items() if key not in done]
    cluster.count(run=len(missing), reused=len(done))
    here = [task for task in missing if is_of_this_process(task.plan.files[0].url)]
    read_shards(str(store), here)
    elsewhere = [task for task in missing if not is_of_this_process(task.plan.files[0].url)]
    elsewhere.sort(key=lambda task: (-task.plan.input_bytes, task.key))  # so no worker ends long after the others
    batches = share_tasks(elsewhere, lambda task: task.plan.input_bytes, most_bytes=batch_bytes, most_items=TASK_SHARDS)
    cluster.run(read_shards, [(str(store), batch) for batch in batches], label="read")
    done = done | find_receipts(store, STAGE, [task.key for task in missing])
    assert len(done) == len(by_key), f"{len(by_key) - len(done)} shards were read and have no receipt"
    seal_receipts(store, STAGE, done.beside)
    return done


def _source(
    name: str,
    inputs: Sequence[InputFile],
    done: Sequence[tuple[ReadTask, Receipt]],
    sha256: Mapping[str, str],
    store: Store,
) -> SourceDocuments:
    shards: list[Shard] = []
    lists: list[RemovalList] = []
    records_of = dict.fromkeys((file.name for file in inputs), 0)
    for task, receipt in done:
        records = int(receipt.facts["records"])
        tree = task.plan.files[0].format in TREES
        file = "" if tree else task.plan.files[0].name
        shards.append(
            Shard(
                source=name,
                file=file,
                first_record=0 if tree else records_of[file],
                records=records,
                folder=f"{STAGE}/{receipt.key}",
                documents=receipt.account[-1].documents_out,
                text_bytes=receipt.account[-1].bytes_out,
                documents_sha256=receipt.files[DOCUMENTS].sha256,
            )
        )
        lists += _lists(receipt, file or None, shards[-1].first_record)
        for member in task.plan.files:
            records_of[member.name] += 1 if tree else records
    rows = [receipt.account for _, receipt in done]
    ledger = tuple(sum_rows(stage) for stage in zip(*rows, strict=True))
    check_chain(ledger, source=name)
    recorded = write_inputs(inputs, records_of, sha256, store)
    assert recorded.records == ledger[0].documents_in
    return SourceDocuments(name, recorded, tuple(shards), ledger, tuple(lists))


def _lists(receipt: Receipt, file: str | None, first_record: int) -> Iterator[RemovalList]:
    read, *steps = receipt.account
    if set(read.dropped) - {OTHER_PART}:
        yield RemovalList("rejected", f"{STAGE}/{receipt.key}/{REJECTS}", file, first_record)
    if DROPPED in receipt.files and any(set(step.dropped) - {NOT_SAMPLED} for step in steps):
        yield RemovalList("dropped", f"{STAGE}/{receipt.key}/{DROPPED}", file, first_record)


def write_inputs(
    inputs: Iterable[InputFile], records_of: Mapping[str, int], sha256: Mapping[str, str], store: Store
) -> InputsRecord:
    """Write the list of a source's raw files; `records_of` is by name, `sha256` by URL."""
    rows = [
        {"file": file.name, "sha256": sha256[file.url], "bytes": file.bytes, "records": records_of[file.name]}
        for file in inputs
    ]
    key = stage_key("inputs", INPUTS_VERSION, {}, rows)
    receipt = store.receipt(STAGE, key)
    if receipt is None:
        with store.attempt(STAGE, key) as attempt:
            listed = table_of([tuple(row.values()) for row in rows], _INPUTS_SCHEMA)
            pq.write_table(listed, attempt.path(INPUTS), compression="zstd", write_statistics=False)
            receipt = attempt.commit()
    return InputsRecord(
        path=f"{STAGE}/{key}/{INPUTS}",
        sha256=receipt.files[INPUTS].sha256,
        files=len(rows),
        records=sum(records_of.values()),
        bytes=sum(file.bytes for file in inputs),
    )


def _check_rejects(source: SourceDocuments, done: Sequence[tuple[ReadTask, Receipt]], spec: Spec, store: Store) -> None:
    read = source.ledger[0]
    fine = PASSED_OVER
    if all(file.format in TREES for task, _ in done for file in task.plan.files):
        fine |= {EMPTY_TEXT}  # an empty file, as many trees of code have them, is not a bad one
    passed_over = sum(count.documents for name, count in read.dropped.items() if name in fine)
    bad = read.documents_in - read.documents_out - passed_over
    elsewhere = read.dropped.get(OTHER_PART, Count(documents=0, bytes=0))
    records = read.documents_in - passed_over + elsewhere.documents
    limit = spec.on_bad_record.reject
    if bad <= limit * records:
        return
    shown: list[str] = []
    places: list[str] = []
    for shard, (task, receipt) in zip(source.shards, done, strict=True):
        reasons = receipt.account[0].dropped
        if set(reasons) - fine:
            places.append(str(store.path(f"{STAGE}/{task.key}/{REJECTS}")))
        for reject in iter_rejects(store, shard.folder):
            if len(shown) == SHOWN_REJECTS:
                break
            if reject["reason"] not in fine:
                file, record = reject.get("file", shard.file), shard.first_record + reject["record"]
                shown.append(f"{file} record {record}: {reject['reason']}: {reject['detail'][:80]!r}")
    counts = ", ".join(f"{name} {count.documents}" for name, count in read.dropped.items() if name not in fine)
    raise BadRecordsError(
        f"source {source.name}: {bad} of {records} records ({100 * bad / records:.4g}%) cannot be read ({counts}), "
        f"more than `on_bad_record: {{reject: {100 * float(limit):.4g}%}}` allows. First: {'; '.join(shown)}. "
        f"All rejected records: {', '.join(places[:SHOWN_REJECTS])}"
        + (f" and {len(places) - SHOWN_REJECTS} more files" if len(places) > SHOWN_REJECTS else "")
    )
