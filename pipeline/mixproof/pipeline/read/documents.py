"""Read every source: the shards' documents and the account of reading.

Only shards without a receipt are read. The result is the same under any shard plan: concatenated in order, with
`first_record` added to the column `record`, the shards give the same documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from mixproof.ledger.account import StageRow, check_chain, sum_rows
from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.inputs import InputsRecord
from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.receipts import Receipts
from mixproof.mixtures.blocks.source import Conversations
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.chat.conversations import check_rule
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import Call, run_missing
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.inputs.formats import TREES
from mixproof.pipeline.readers.remote import is_of_this_process
from mixproof.pipeline.record import OTHER_PART
from mixproof.pipeline.steps import edits_texts, make_steps

from .bad_records import check_bad_records
from .batches import share_tasks
from .columns import check_columns
from .identify import identify
from .inputs import write_inputs
from .quarantine import read_shards
from .read_task import STAGE, ReadTask, read_tasks
from .shards import DOCUMENTS, DROPPED, HASHES, PROMPTS, REJECTS, SHARD_BYTES, Shard, plan_shards
from .unpack import unpack_files
from .watch import PATIENCE_SECONDS

MOST_SHARDS = 500
"""Shards to read per task; most hold one large file, or a part of one."""


@dataclass(frozen=True)
class RemovalList:
    """A Parquet file that lists the records or documents that a shard lost, with the reasons."""

    kind: Literal["rejected", "dropped", "keep", "pruned", "decontaminated", "removed"]
    """`removed` joins the other five and the duplicates of a source."""
    path: str
    """Relative to the store."""
    file: str | None
    """Name of the input file; None if the column `file` names it."""
    first_record: int
    """To be added to the column `record`, which counts from the start of the shard."""
    rows: int
    """Number of records or documents listed."""


@dataclass(frozen=True)
class SourceDocuments:
    """A source after reading and its steps."""

    name: str
    inputs: InputsRecord
    shards: tuple[Shard, ...]
    """In the order of (file, record)."""
    ledger: tuple[StageRow, ...]
    """`read`, then one row per step; sums over the shards."""
    lists: tuple[RemovalList, ...] = ()
    """Of the shards that rejected records or dropped documents."""
    tasks: tuple[ReadTask, ...] = ()
    """How each shard was read."""
    kind: Conversations | None = None
    """What the documents are if they are conversations; None for plain documents."""
    attributes: tuple[str, ...] = ()
    """Names of the attributes by which the answers of a `ratings` source are rated, sorted."""

    @property
    def hashes(self) -> str:
        """The file of hashes that decides which documents are held out: those of texts, or of prompts."""
        return HASHES if self.kind is None else PROMPTS


def read_sources(
    spec: Spec,
    files: Mapping[str, tuple[InputFile, ...]],
    store: Store,
    cluster: Cluster,
    *,
    shard_bytes: int = SHARD_BYTES,
    patience_seconds: float = PATIENCE_SECONDS,
    in_pieces: bool = True,
) -> dict[str, SourceDocuments]:
    """Read every source of the spec that has texts.

    Args:
        spec: the spec.
        files: those of each source.
        store: where documents are found and written.
        cluster: runs the tasks.
        shard_bytes: raw bytes per shard; changes no document.
        patience_seconds: a document that takes longer (plus a time for its size), or crashes the process, is rejected
            as `poison`.
        in_pieces: whether large compressed files are decompressed into the store first; otherwise each is one shard.

    Raises:
        RequestError: for invalid steps, before anything is read.
        DamagedFileError: when an input cannot be read to its end.
        BadRecordsError: when a source has more bad records than `on_bad_record` allows.
        AccountError: when E1, E2 or E3 does not close.
    """
    check_sources(spec)
    files = {name: inputs for name, inputs in files.items() if spec.sources[name].megatron is None}
    check_columns(spec, files)
    all_files = [file for inputs in files.values() for file in inputs]
    sha256 = identify(all_files, store, cluster)
    large = all_files if in_pieces else ()
    pieces = unpack_files(large, sha256, store, cluster, limits=spec.limits, shard_bytes=shard_bytes)
    tasks_of = {
        name: [
            replace(task, patience_seconds=patience_seconds)
            for task in read_tasks(
                plan_shards({name: inputs}, shard_bytes, pieces),
                spec.sources[name],
                sha256,
                spec.limits,
                keep_prompts=spec.finds_similar_prompts,
            )
        ]
        for name, inputs in files.items()
    }
    done = _read([task for tasks in tasks_of.values() for task in tasks], store, cluster, shard_bytes)
    receipts = {name: [(task, done[task.key]) for task in tasks] for name, tasks in tasks_of.items()}
    records_of = {name: _records_of(inputs, receipts[name]) for name, inputs in files.items()}
    recorded = write_inputs(files, records_of, sha256, store)
    sources = {}
    for name, inputs in files.items():
        read = receipts[name]
        sources[name] = replace(_source(name, recorded[name], read), kind=spec.sources[name].kind)
        check_bad_records(
            name,
            sources[name].ledger[0],
            [(shard, receipt) for shard, (_, receipt) in zip(sources[name].shards, read, strict=True)],
            store,
            limit=spec.on_bad_record.reject,
            files_are_documents=all(file.format in TREES for file in inputs),
        )
    return sources


def check_sources(spec: Spec) -> None:
    """Refuse unusable steps and templates before anything is read.

    Raises:
        RequestError: naming the key.
    """
    for name, source in spec.sources.items():
        make_steps(source.steps, spec.where("sources", name, "steps"))
        for index, step in enumerate(source.steps if source.kind is not None else ()):
            if edits_texts(step):
                raise RequestError(
                    f"{spec.where('sources', name, 'steps', index)}: {step.name} changes texts, and the supervised "
                    f"spans of conversations would no longer fit them; remove it from {name!r}, which may only have "
                    "steps that keep or drop, and clean conversations before the build"
                )
        check_rule(source, spec.where("sources", name, "template"))


def _read(tasks: Sequence[ReadTask], store: Store, cluster: Cluster, batch_bytes: int) -> Receipts:
    def calls(missing: dict[str, ReadTask]) -> list[tuple[object, ...]]:
        largest_first = sorted(missing.values(), key=lambda task: (-task.plan.input_bytes, task.key))
        batches = share_tasks(
            largest_first,
            lambda task: task.plan.input_bytes,
            most_bytes=batch_bytes,
            most_items=MOST_SHARDS,
            tasks=cluster.parallel_tasks(),
        )
        return [(store, batch) for batch in batches]

    return run_missing(
        store,
        STAGE,
        {task.key: task for task in tasks},
        calls,
        read_shards,
        cluster,
        "read",
        in_driver=lambda task: is_of_this_process(task.plan.files[0].url),
        call_bytes=_input_bytes,
    )


def _input_bytes(call: Call) -> int:
    """Raw bytes that a call of `read_shards` reads."""
    return sum(task.plan.input_bytes for task in cast(Sequence[ReadTask], call[1]))


def _records_of(inputs: Sequence[InputFile], done: Sequence[tuple[ReadTask, Receipt]]) -> dict[str, int]:
    """Raw records of each file of a source, by name."""
    records_of = dict.fromkeys((file.name for file in inputs), 0)
    for task, receipt in done:
        counts = receipt.facts["records_of_files"] if task.plan.is_group else [int(receipt.facts["records"])]
        for member, count in zip(task.plan.files, counts, strict=True):
            records_of[member.name] += count
    return records_of


def _source(name: str, recorded: InputsRecord, done: Sequence[tuple[ReadTask, Receipt]]) -> SourceDocuments:
    shards: list[Shard] = []
    lists: list[RemovalList] = []
    first_record: dict[str, int] = {}
    for task, receipt in done:
        records = int(receipt.facts["records"])
        grouped = task.plan.is_group
        file = "" if grouped else task.plan.files[0].name
        shards.append(
            Shard(
                source=name,
                file=file,
                first_record=first_record.get(file, 0),
                records=records,
                folder=f"{STAGE}/{receipt.key}",
                documents=receipt.account[-1].documents_out,
                text_bytes=receipt.account[-1].bytes_out,
                documents_sha256=receipt.files[DOCUMENTS].content_sha256,
            )
        )
        lists += _lists(receipt, file or None, shards[-1].first_record)
        if not grouped:
            first_record[file] = shards[-1].first_record + records
    rows = [receipt.account for _, receipt in done]
    ledger = tuple(sum_rows(stage) for stage in zip(*rows, strict=True))
    check_chain(ledger, source=name)
    assert recorded.records == ledger[0].documents_in
    tasks = tuple(task for task, _ in done)
    attributes = sorted({name for _, receipt in done for name in receipt.facts.get("attributes", ())})
    return SourceDocuments(name, recorded, tuple(shards), ledger, tuple(lists), tasks, attributes=tuple(attributes))


def _lists(receipt: Receipt, file: str | None, first_record: int) -> Iterator[RemovalList]:
    read, *steps = receipt.account
    rejected = sum(count.documents for reason, count in read.dropped.items() if reason != OTHER_PART)
    if rejected:
        yield RemovalList("rejected", f"{STAGE}/{receipt.key}/{REJECTS}", file, first_record, rejected)
    dropped = sum(count.documents for row in steps for count in row.dropped.values())
    if dropped:
        yield RemovalList("dropped", f"{STAGE}/{receipt.key}/{DROPPED}", file, first_record, dropped)
