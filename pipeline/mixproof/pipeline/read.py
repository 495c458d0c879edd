"""The fused task of a shard: raw records > documents > steps, in one pass, with one write of text.

Its output is keyed by what it reads and does, not by names: a renamed or moved file, or the same file in
another source, is not read again. Memory is bounded by one group of rows and one block of raw bytes.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from mixproof.ledger.account import Count, StageRow, check_chain
from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Limits, Source, Step

from .files import TREES, Format, InputFile
from .readers.arrow import read_arrow
from .readers.code import read_code
from .readers.html import PACKAGES as HTML_PACKAGES
from .readers.jsonl import read_jsonl
from .readers.parquet import read_parquet
from .readers.raw import NO_OTHER_LIMITS
from .readers.record import POISON, Raw, Records, Reject, detail_of
from .readers.remote import is_remote, stat_of
from .readers.text import read_text
from .readers.warc import read_warc, read_wet
from .shards import ShardPlan
from .steps import NOT_SAMPLED, Counted, apply_steps, make_steps, needs_fields, steps_identity
from .watch import PATIENCE_SECONDS, Watch

STAGE = "read"
VERSION = 2
MARKS = ".marks"
DOCUMENTS = "documents.parquet"
REJECTS = "rejects.parquet"
DROPPED = "dropped.parquet"
"""Where a source says `keep_dropped`: what its steps took out, except for what `sampler` left out."""
HASHES = "hashes.npy"
ROW_GROUP_ROWS = 1024
ROW_GROUP_BYTES = 64 * 1000 * 1000
"""A group ends at this many bytes of text as well, so that long documents do not take the memory."""

HASH_DTYPE = np.dtype([("high", "<u8"), ("low", "<u8"), ("bytes", "<i8"), ("row", "<i8")])
"""One document in `hashes.npy`, which is sorted by these fields: the halves of its text's xxh3_128, its
UTF-8 bytes, its row in `documents.parquet`. A range of hashes is one slice of the file."""

_FILE = pa.field("file", pa.string())
_DOCUMENT_FIELDS = [
    pa.field("record", pa.int64()),
    pa.field("id", pa.string()),
    pa.field("text", pa.large_string()),
    pa.field("text_xxh128", pa.binary(16)),
    pa.field("text_bytes", pa.int64()),
]
_DROPPED_FIELDS = [
    pa.field("record", pa.int64()),
    pa.field("id", pa.string()),
    pa.field("step", pa.string()),
    pa.field("reason", pa.string()),
    pa.field("text", pa.large_string()),
]
_REJECT_FIELDS = [
    pa.field("record", pa.int64()),
    pa.field("line", pa.int64()),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
]


@dataclass(frozen=True)
class ReadTask:
    """Everything a worker needs to read one shard."""

    plan: ShardPlan
    key: str
    text: str
    id: str
    steps: tuple[Step, ...]
    keep_dropped: bool = False
    limits: Limits = NO_OTHER_LIMITS
    patience_seconds: float = PATIENCE_SECONDS
    """How long one document may take; execution, so not in the key."""


def read_task(plan: ShardPlan, source: Source, sha256: Mapping[str, str], limits: Limits = NO_OTHER_LIMITS) -> ReadTask:
    """The task for a planned shard; `sha256` is by URL."""
    first = plan.files[0]
    inputs: object = [sha256[first.url], plan.start, plan.end]
    if first.format in TREES:
        inputs = [[file.name, sha256[file.url]] for file in plan.files]
    config: dict[str, object] = {
        "format": first.format,
        "compression": first.compression,
        "text": source.text,
        "id": source.id,
        "steps": steps_identity(source.steps),
        **_reader_identity(first.format),
    }
    if source.keep_dropped:
        config["keep_dropped"] = True
    if limits != NO_OTHER_LIMITS:
        config["limits"] = limits.model_dump(mode="json")
    key = stage_key(STAGE, VERSION, config, inputs)
    return ReadTask(plan, key, source.text, source.id, source.steps, source.keep_dropped, limits)


def _reader_identity(kind: Format) -> dict[str, object]:
    """Whose version may change what a reader takes out of the same bytes."""
    packages = HTML_PACKAGES if kind == "warc" else ()
    return {"packages": {name: importlib.metadata.version(name) for name in packages}} if packages else {}


def mark_of(store: Store, task: ReadTask) -> Path:
    """Where the place of the record under work is kept while a shard is read: on this machine, whatever the store."""
    return store.root / MARKS / task.key


def read_shard(store: Store, task: ReadTask, poison: Mapping[int, str] | None = None) -> None:
    """Write a shard's documents, rejects and sorted hashes; `poison`: places to leave out, and why.

    Raises:
        DamagedFileError: when an input cannot be read to its end.
        RequestError: when an input is no longer what was identified.
        AccountError: when E1, E2 or E3 does not close.
    """
    steps = make_steps(task.steps)
    name = task.plan.files[0].name
    with store.attempt(STAGE, task.key) as attempt:
        tree = task.plan.files[0].format in TREES
        dropped = attempt.path(DROPPED) if task.keep_dropped else None
        with (
            _Output(attempt.path(DOCUMENTS), attempt.path(REJECTS), dropped, tree=tree) as output,
            Watch(mark_of(store, task), task.patience_seconds) as watch,
        ):
            for file in task.plan.files:
                _check_unchanged(file)
                for item in _watched(file, task, watch, output.records, (poison or {}).get):
                    output.take(item, steps, file.name)
                _check_unchanged(file)
        with attempt.path(HASHES).open("wb") as hashes:
            np.save(hashes, output.sorted_hashes(), allow_pickle=False)
        account = (output.read_row(), *(step.row() for step in steps))
        check_chain(account, source=task.plan.source, shard=f"{name} from byte {task.plan.start}")
        facts: dict[str, object] = {"records": output.records}
        if tree:
            facts["files"] = len(task.plan.files)
        attempt.commit(account=account, facts=facts)


def try_record(store: Store, task: ReadTask, place: int) -> None:
    """Do with one record of a shard what `read_shard` does, and write nothing: to see whether the process lives."""
    steps = make_steps(task.steps)
    first = 0
    with Watch(mark_of(store, task), task.patience_seconds) as watch:
        for file in task.plan.files:
            for item in _watched(file, task, watch, first, lambda at: None if at == place else "not tried"):
                first += 1
                if isinstance(item, Raw):
                    apply_steps(item, item.text.encode(), steps)
                if first > place:
                    return


def _watched(
    file: InputFile, task: ReadTask, watch: Watch, first: int, why_not: Callable[[int], str | None]
) -> Records:
    """The records of a file with the watch set for each; what `why_not` gives a reason for is rejected as poison."""
    items = records_of(file, task, lambda record: why_not(first + record))
    for place in itertools.count(first):
        watch.start(place)
        item = next(items, None)
        if item is None:
            return
        reason = why_not(place)
        if isinstance(item, Raw):
            if reason is not None:
                item = Reject(item.record, None, POISON, detail_of(f"{reason}: {item.text}"))
            else:
                watch.extend(len(item.text))
        yield item


def records_of(file: InputFile, task: ReadTask, why_not: Callable[[int], str | None]) -> Records:
    """The records of one file of a shard as its format's reader gives them; `why_not` says which to pass over."""
    plan = task.plan
    fields: dict[str, Any] = {"text": task.text, "id_": task.id}
    options: dict[str, Any] = {"with_fields": needs_fields(task.steps), "limits": task.limits}
    if file.format == "code":
        return iter((read_code(file.url, file.name),))
    if file.format == "text":
        return iter((read_text(file.url, file.compression, file.name, task.limits),))
    if file.format == "warc":
        return read_warc(file.url, file.compression, id_=task.id, why_not=why_not, **options)
    if file.format == "wet":
        return read_wet(file.url, file.compression, id_=task.id, **options)
    if file.format == "arrow":
        return read_arrow(file.url, **fields, **options)
    if file.format == "parquet":
        return read_parquet(file.url, plan.start, plan.end, **fields, **options)
    return read_jsonl(file.url, file.compression, plan.start, plan.end, **fields, **options)


def _check_unchanged(file: InputFile) -> None:
    if is_remote(file.url):
        now: tuple[object, ...] = stat_of(file.url)
        then: tuple[object, ...] = (file.bytes, file.tag)
    else:
        status = Path(file.url).stat()
        now, then = (status.st_size, status.st_mtime_ns), (file.bytes, file.mtime_ns)
    if now != then:
        raise RequestError(f"{file.url}: changed while it was read (size and time {then}, now {now}); run again")


class _Output:
    """The Parquet files of a shard, written in groups of rows, and the counts for its account."""

    def __init__(self, documents: Path, rejects: Path, dropped: Path | None, *, tree: bool) -> None:
        self._tree = tree
        files = [_FILE] if tree else []
        self._documents = _Rows(documents, pa.schema(files + _DOCUMENT_FIELDS))
        self._rejects = _Rows(rejects, pa.schema(files + _REJECT_FIELDS))
        self._dropped = None if dropped is None else _Rows(dropped, pa.schema(files + _DROPPED_FIELDS))
        self._hashes: list[bytes] = []
        self._lengths: list[int] = []
        self._rejected: Counter[str] = Counter()
        self.records = 0
        self._read_bytes = 0

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *error: object) -> None:
        self._documents.close()
        self._rejects.close()
        if self._dropped is not None:
            self._dropped.close()

    def take(self, item: Raw | Reject, steps: Sequence[Counted], file: str) -> None:
        self.records += 1
        head: tuple[object, ...] = (file,) if self._tree else ()
        if isinstance(item, Reject):
            self._rejected[item.reason] += 1
            self._rejects.add((*head, *item))
            return
        data = item.text.encode()
        self._read_bytes += len(data)

        def gone(step: str, reason: str, text: bytes) -> None:
            if self._dropped is not None and reason != NOT_SAMPLED:
                self._dropped.add((*head, item.record, item.id, step, reason, text), len(text))

        try:
            done = apply_steps(item, data, steps, gone)
        except Exception as error:
            error.add_note(f"in a step, at {file} record {item.record} of the shard, id {item.id}")
            raise
        if done is None:
            return
        data = done
        digest = xxhash.xxh3_128_digest(data)
        self._documents.add((*head, item.record, item.id, data, digest, len(data)), len(data))
        self._hashes.append(digest)
        self._lengths.append(len(data))

    def read_row(self) -> StageRow:
        return StageRow(
            stage="read",
            documents_in=self.records,
            documents_out=self.records - self._rejected.total(),
            bytes_in=self._read_bytes,
            bytes_out=self._read_bytes,
            dropped={name: Count(documents=n, bytes=0) for name, n in sorted(self._rejected.items())},
        )

    def sorted_hashes(self) -> Any:  # noqa: ANN401 - a structured array has no element type
        halves = np.frombuffer(b"".join(self._hashes), dtype=">u8").reshape(-1, 2)
        table = np.empty(len(halves), dtype=HASH_DTYPE)
        table["high"], table["low"] = halves[:, 0], halves[:, 1]
        table["bytes"], table["row"] = self._lengths, np.arange(len(halves))
        return table[np.lexsort((table["row"], table["bytes"], table["low"], table["high"]))]


class _Rows:
    """A Parquet file written in groups of fixed size, so that its bytes depend on nothing but the rows."""

    def __init__(self, path: Path, schema: Any) -> None:  # noqa: ANN401 - pyarrow ships no types
        self._schema = schema
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", compression_level=1, use_dictionary=False, write_statistics=False
        )
        self._rows: list[tuple[object, ...]] = []
        self._bytes = 0

    def add(self, row: tuple[object, ...], text_bytes: int = 0) -> None:
        self._rows.append(row)
        self._bytes += text_bytes
        if len(self._rows) == ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [_array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=ROW_GROUP_ROWS)
        self._rows, self._bytes = [], 0


def _array(column: Sequence[object], kind: Any) -> Any:  # noqa: ANN401 - as above
    if pa.types.is_large_string(kind):
        return pa.array(column, type=pa.large_binary()).view(kind)  # texts come encoded; once is enough
    return pa.array(column, type=kind)


def iter_rejects(store: Store, key: str) -> Iterator[dict[str, Any]]:
    """The rejects of a finished shard, in order, blank lines included."""
    with pq.ParquetFile(store.path(f"{STAGE}/{key}/{REJECTS}")) as file:
        for batch in file.iter_batches(ROW_GROUP_ROWS):
            yield from batch.to_pylist()
