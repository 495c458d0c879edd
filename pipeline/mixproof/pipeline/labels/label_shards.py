"""The labels of shards: one file per label and shard, a row per row of the shard's `documents.parquet`.

Each label of a shard is an output of its own, keyed by the label and the shard's documents. So a label that is added is
computed alone, and nothing else is read or computed again. A field of the records is not in the documents: its label
parses the shard's raw records again, without their steps. A document that no row is dropped for keeps its labels
through every later stage, because these pass on bitmaps over the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.labels import FieldLabel
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.columns import array_of, read_whole
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.read.batches import share_shards
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.read_task import ReadTask
from mixproof.pipeline.read.records import records_of, with_local_piece
from mixproof.pipeline.read.shards import DOCUMENTS, Shard
from mixproof.pipeline.readers.remote import is_of_this_process
from mixproof.pipeline.readers.value import value_of
from mixproof.pipeline.record import Raw, field_of
from mixproof.pipeline.steps.step import is_number

from .labeler import Labeler, Values

STAGE = "labels"
VERSION = 1
LABEL = "label.parquet"


@dataclass(frozen=True)
class LabelTask:
    """One label of one shard."""

    labeler: Labeler
    shard: Shard
    read: ReadTask | None
    """How to parse the raw records, for a label that is a field of theirs."""


def label_sources(
    sources: Mapping[str, SourceDocuments],
    labelers: Mapping[str, Mapping[str, Labeler]],
    store: Store,
    cluster: Cluster,
) -> dict[str, tuple[dict[str, str], ...]]:
    """Compute the labels that the store does not have.

    Args:
        sources: the documents.
        labelers: by source, and by name of the label.
        store: where labels are found and written.
        cluster: runs the tasks.

    Returns:
        By source, for each shard the path of each label's file, relative to the store.
    """
    work: dict[str, LabelTask] = {}
    paths: dict[str, tuple[dict[str, str], ...]] = {}
    for name, source in sources.items():
        keys_of_shards: list[dict[str, str]] = [{} for _ in source.shards]
        for label, labeler in labelers.get(name, {}).items():
            identity = labeler.identity()
            for keys, shard, read in zip(keys_of_shards, source.shards, source.tasks, strict=True):
                task = LabelTask(labeler, shard, None if labeler.label.field is None else read)
                inputs = [shard.documents_sha256, *([] if task.read is None else [task.read.key])]
                key = stage_key(STAGE, VERSION, identity, inputs)
                work.setdefault(key, task)
                keys[label] = f"{STAGE}/{key}/{LABEL}"
        paths[name] = tuple(keys_of_shards)

    def calls(missing: dict[str, LabelTask]) -> list[tuple[object, ...]]:
        batches = share_shards({key: task.shard for key, task in missing.items()}, cluster)
        return [(store, [(key, missing[key]) for key, _ in batch]) for batch in batches]

    run_missing(
        store,
        STAGE,
        work,
        calls,
        label_shards,
        cluster,
        "labels",
        in_driver=lambda task: task.read is not None and is_of_this_process(task.read.plan.files[0].url),
    )
    return paths


def label_shards(store: Store, tasks: Sequence[tuple[str, LabelTask]]) -> None:
    """Write the labels of some shards, each under its key (Ray task)."""
    for key, task in tasks:
        with store.attempt(STAGE, key) as attempt:
            with pq.ParquetWriter(attempt.path(LABEL), task.labeler.schema, compression="zstd") as writer:
                if task.read is None:
                    _write_computed(store, task, writer)
                else:
                    writer.write_table(_fields(store, task, task.read))
            attempt.commit()


def _write_computed(store: Store, task: LabelTask, writer: Any) -> None:  # noqa: ANN401 - pyarrow ships no types
    of_texts = task.labeler.of_texts(store)
    with pq.ParquetFile(store.path(f"{task.shard.folder}/{DOCUMENTS}")) as file:
        for group in range(file.num_row_groups):
            texts = file.read_row_group(group, columns=["text"])["text"].to_pylist()
            writer.write_table(_table(of_texts(texts), task.labeler.schema))


def _table(values: Values, schema: pa.Schema) -> pa.Table:
    columns = [column for column in values if column is not None]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def _fields(store: Store, task: LabelTask, read: ReadTask) -> pa.Table:
    field = task.labeler.label.field
    assert field is not None, "only fields of records are read from raw files"
    read = with_local_piece(read, store)
    found = {
        (file.name, record): value for file in read.plan.files for record, value in field_values(file, read, field)
    }
    columns = ["record"] if task.shard.file else ["record", "file"]
    rows = read_whole(store.path(f"{task.shard.folder}/{DOCUMENTS}"), columns)
    names = [task.shard.file] * rows.num_rows if task.shard.file else rows["file"].to_pylist()
    places = zip(names, array_of(rows["record"]).tolist(), strict=True)
    return _table(([found.get(place) for place in places], None), task.labeler.schema)


def field_values(file: InputFile, read: ReadTask, field: FieldLabel) -> Iterator[tuple[int, str | float | None]]:
    """The value of every record of a file that has a text; `read` says how the file is parsed."""
    for item in records_of(file, replace(read, steps=(), column=field.name, value=None), lambda _: None):
        if isinstance(item, Raw):
            yield item.record, field_value(item, field)


def field_value(item: Raw, field: FieldLabel) -> str | float | None:
    """A record's value in a field, or None: of the wrong type, not finite, or absent."""
    if field.type == "text":
        text = value_of(item, field.name)
        return text if isinstance(text, str) else None
    value = field_of(item.fields or {}, field.name)
    if not is_number(value):
        return None
    assert isinstance(value, int | float | Decimal)
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
