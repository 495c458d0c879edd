"""The records of one file of a shard, by the reader of its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mixproof.ledger.store import Store
from mixproof.pipeline.chat.conversations import conversations
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.readers.arrow import read_arrow
from mixproof.pipeline.readers.attributes import AttributesFile, with_attributes
from mixproof.pipeline.readers.code import read_code
from mixproof.pipeline.readers.html import DEFAULT
from mixproof.pipeline.readers.html_field import extracted
from mixproof.pipeline.readers.jsonl import read_jsonl
from mixproof.pipeline.readers.parquet import read_parquet
from mixproof.pipeline.readers.text import read_text
from mixproof.pipeline.readers.value import of_value
from mixproof.pipeline.readers.warc import read_warc, read_wet
from mixproof.pipeline.record import DETAIL_CHARS, TOO_LONG, Raw, Records, Reject, detail_of
from mixproof.pipeline.steps import needs_fields

from .read_task import ReadTask
from .unpack import PIECE_COMPRESSION


def records_of(file: InputFile, task: ReadTask, skip_reason: Callable[[int], str | None]) -> Records:
    """The records of one file of a shard, those of other parts of a split source rejected as such.

    Args:
        file: one of the shard's.
        task: the shard; if it reads a piece, as `with_local_piece` gives it.
        skip_reason: why a record, by its index in the file, must not be processed; None: it may be.
    """
    items = _read(file, task, skip_reason)
    if file.attributes:
        files = [AttributesFile(each.url, each.compression, each.bytes) for each in file.attributes]
        items = with_attributes(items, files, task.limits)
    if task.rule is not None:
        items = conversations(items, task.rule, has_lines=file.format == "jsonl")
    if task.column is None:
        return _short_enough(items, task.limits.document_bytes)
    if task.value is None:
        return items
    return _short_enough(of_value(items, task.column, task.value), task.limits.document_bytes)


def with_local_piece(task: ReadTask, store: Store) -> ReadTask:
    """The task with the path, on this machine, of the piece that it reads; the same task if it reads no piece."""
    if task.plan.piece is None:
        return task
    return replace(task, plan=replace(task.plan, piece=str(store.path(task.plan.piece))))


def _short_enough(items: Records, most_bytes: int) -> Records:
    """The same records, with texts of more bytes rejected."""
    for item in items:
        if isinstance(item, Raw) and len(item.data) > most_bytes:
            limit = f"{len(item.data)} bytes, more than the limit set by `limits: {{document_bytes: ...}}`"
            yield Reject(item.record, None, TOO_LONG, detail_of(f"{limit}: {item.text[:DETAIL_CHARS]}"))
        else:
            yield item


def _read(file: InputFile, task: ReadTask, skip_reason: Callable[[int], str | None]) -> Records:
    start, end = task.plan.bytes_of(file)
    url, compression = (file.url, file.compression) if task.plan.piece is None else (task.plan.piece, PIECE_COMPRESSION)
    with_fields = needs_fields(task.steps) or task.column is not None or task.rule is not None
    options: dict[str, Any] = {"with_fields": with_fields, "limits": task.limits}
    fields: dict[str, Any] = {"text": task.text if task.rule is None else None, "id_": task.id}
    if file.format == "code":
        return iter((read_code(file.url, file.name),))
    if file.format == "text":
        return iter((read_text(file.url, file.compression, file.name, task.limits),))
    if file.format == "warc":
        return read_warc(
            url,
            compression,
            id_=task.id,
            skip_reason=skip_reason,
            extractor=task.extractor or DEFAULT,
            is_start=start == 0,
            **options,
        )
    if file.format == "wet":
        return read_wet(url, compression, id_=task.id, is_start=start == 0, **options)
    if file.format == "arrow":
        items = read_arrow(file.url, **fields, **options)
    elif file.format == "parquet":
        items = read_parquet(file.url, start, end, **fields, **options)
    else:
        items = read_jsonl(url, compression, start, end, exact=task.column, **fields, **options)
    return items if task.extractor is None else extracted(items, task.extractor, file.url, skip_reason)
