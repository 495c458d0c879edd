"""The fused task of a shard: raw records > documents > steps, in one pass, with one write of text.

Its output is keyed by what it reads and does, not by names: a renamed or moved file, or the same file in
another source, is not read again. Memory is bounded by one group of rows and one block of raw bytes.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mixproof.ledger.account import check_chain
from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import StageKeys
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Limits, Source, Step
from mixproof.mixtures.split_sources import SplitSource
from mixproof.pipeline.readers.arrow import read_arrow
from mixproof.pipeline.readers.code import read_code
from mixproof.pipeline.readers.html import PACKAGES as HTML_PACKAGES
from mixproof.pipeline.readers.html import VERSION as HTML_VERSION
from mixproof.pipeline.readers.jsonl import read_jsonl
from mixproof.pipeline.readers.parquet import read_parquet
from mixproof.pipeline.readers.raw import NO_OTHER_LIMITS
from mixproof.pipeline.readers.remote import is_remote, stat_of
from mixproof.pipeline.readers.text import read_text
from mixproof.pipeline.readers.value import of_value
from mixproof.pipeline.readers.warc import read_warc, read_wet
from mixproof.pipeline.record import POISON, Raw, Records, Reject, detail_of
from mixproof.pipeline.steps import apply_steps, make_steps, needs_fields, steps_identity

from .files import InputFile
from .formats import TREES, Compression, Format
from .shard_output import ROW_GROUP_ROWS, ShardOutput
from .shards import ShardPlan
from .watch import PATIENCE_SECONDS, Watch

STAGE = "read"
VERSION = 2
MARKS = ".marks"
DOCUMENTS = "documents.parquet"
REJECTS = "rejects.parquet"
DROPPED = "dropped.parquet"
"""Where a source says `keep_dropped`: what its steps took out, except for what `sampler` left out."""
HASHES = "hashes.npy"


MOST_POISON = 20
"""Poisonous documents of a shard before it is the steps that are held to be broken."""


class PoisonError(Exception):
    """Documents of a shard that its steps cannot take, by place, each with the reason: to be left out next time."""

    def __init__(self, poison: Mapping[int, str]) -> None:
        super().__init__(poison)
        self.poison = poison


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
    column: str | None = None
    """The column that the source is split by."""
    value: str | None = None
    """Of that column: records with another one belong to another part of the source. None: all of them stay."""
    patience_seconds: float = PATIENCE_SECONDS
    """How long one document may take; execution, so not in the key."""


def read_task(plan: ShardPlan, source: Source, sha256: Mapping[str, str], limits: Limits = NO_OTHER_LIMITS) -> ReadTask:
    """The task for a planned shard; `sha256` is by URL."""
    return next(read_tasks([plan], source, sha256, limits))


def read_tasks(
    plans: Sequence[ShardPlan], source: Source, sha256: Mapping[str, str], limits: Limits = NO_OTHER_LIMITS
) -> Iterator[ReadTask]:
    """The tasks for a source's planned shards; `sha256` is by URL."""
    value = source.value if isinstance(source, SplitSource) else None
    for plan, key in zip(plans, read_keys(plans, source, sha256, limits), strict=True):
        yield ReadTask(
            plan, key, source.text, source.id, source.steps, source.keep_dropped, limits, source.split_by, value
        )


def read_keys(
    plans: Iterable[ShardPlan], source: Source, sha256: Mapping[str, str], limits: Limits = NO_OTHER_LIMITS
) -> Iterator[str]:
    """The key of each of a source's planned shards; `sha256` is by URL."""
    keys: dict[tuple[Format, Compression | None], StageKeys] = {}
    for plan in plans:
        first = plan.files[0]
        kind = (first.format, first.compression)
        if kind not in keys:
            keys[kind] = StageKeys(STAGE, VERSION, _config(*kind, source, limits))
        if first.format in TREES:
            yield keys[kind].key([[file.name, sha256[file.url]] for file in plan.files])
        else:
            yield keys[kind].key([sha256[first.url], plan.start, plan.end])


def _config(form: Format, compression: Compression | None, source: Source, limits: Limits) -> dict[str, object]:
    config: dict[str, object] = {
        "format": form,
        "compression": compression,
        "text": source.text,
        "id": source.id,
        "steps": steps_identity(source.steps),
        **_reader_identity(form),
    }
    if "." in source.id and form in ("jsonl", "parquet", "arrow"):
        config["id_in_nested_fields"] = True
    if source.keep_dropped:
        config["keep_dropped"] = True
    if limits != NO_OTHER_LIMITS:
        config["limits"] = limits.model_dump(mode="json")
    value = source.value if isinstance(source, SplitSource) else None
    if value is not None:
        config["part"] = [source.split_by, value]
    return config


def _reader_identity(kind: Format) -> dict[str, object]:
    """What may change what a reader takes out of the same bytes: a version of its own, and those of packages."""
    if kind != "warc":
        return {}
    return {"html": HTML_VERSION, "packages": {name: importlib.metadata.version(name) for name in HTML_PACKAGES}}


def mark_of(store: Store, task: ReadTask) -> Path:
    """Where the place of the record under work is kept while a shard is read: on this machine, whatever the store."""
    return store.root / MARKS / task.key


def read_shard(store: Store, task: ReadTask, poison: Mapping[int, str] | None = None) -> None:
    """Write a shard's documents, rejects and sorted hashes; `poison`: places to leave out, and why.

    Raises:
        DamagedFileError: when an input cannot be read to its end.
        RequestError: when an input is no longer what was identified.
        AccountError: when E1, E2 or E3 does not close.
        PoisonError: when a step raised an error on a document; nothing is written then.
    """
    steps = make_steps(task.steps)
    name = task.plan.files[0].name
    with store.attempt(STAGE, task.key) as attempt:
        tree = task.plan.files[0].format in TREES
        dropped = attempt.path(DROPPED) if task.keep_dropped else None
        with (
            ShardOutput(attempt.path(DOCUMENTS), attempt.path(REJECTS), dropped, tree=tree) as output,
            Watch(mark_of(store, task), task.patience_seconds) as watch,
        ):
            for file in task.plan.files:
                with _readable(file):
                    _check_unchanged(file)
                    for item in _watched(file, task, watch, output.records, (poison or {}).get):
                        output.take(item, steps, file.name)
                        if len(output.poison) > MOST_POISON:
                            raise PoisonError(output.poison)
                    _check_unchanged(file)
        if output.poison:
            raise PoisonError(output.poison)
        output.save_hashes(attempt.path(HASHES))
        account = (output.read_row(), *(step.row() for step in steps))
        check_chain(account, source=task.plan.source, unit=f"{name} from byte {task.plan.start}")
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
                    apply_steps(item, item.data, steps)
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
                watch.extend(len(item.data))
        yield item


def records_of(file: InputFile, task: ReadTask, why_not: Callable[[int], str | None]) -> Records:
    """The records of one file of a shard as its format's reader gives them, or of those the part that is read.

    `why_not` says which to pass over.
    """
    items = _read(file, task, why_not)
    if task.column is None or task.value is None:
        return items
    return of_value(items, task.column, task.value)


def _read(file: InputFile, task: ReadTask, why_not: Callable[[int], str | None]) -> Records:
    plan = task.plan
    with_fields = needs_fields(task.steps) or task.column is not None
    options: dict[str, Any] = {"with_fields": with_fields, "limits": task.limits}
    fields: dict[str, Any] = {"text": task.text, "id_": task.id}
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


@contextmanager
def _readable(file: InputFile) -> Iterator[None]:
    """Tell that a file cannot be opened, as one that is gone since it was found, or that this machine does not see."""
    try:
        yield
    except OSError as error:
        if error.filename != file.url:
            raise
        raise RequestError(
            f"source {file.source}: {file.url}: cannot be read: {error.strerror}; every worker must see it, as long as "
            "the command runs"
        ) from error


def _check_unchanged(file: InputFile) -> None:
    if is_remote(file.url):
        now: tuple[object, ...] = stat_of(file.url)
        then: tuple[object, ...] = (file.bytes, file.tag)
    else:
        status = Path(file.url).stat()
        now, then = (status.st_size, status.st_mtime_ns), (file.bytes, file.mtime_ns)
    if now != then:
        raise RequestError(f"{file.url}: changed while it was read (size and time {then}, now {now}); run again")


def iter_rejects(store: Store, key: str) -> Iterator[dict[str, Any]]:
    """The rejects of a finished shard, in order, blank lines included."""
    with pq.ParquetFile(store.path(f"{STAGE}/{key}/{REJECTS}")) as file:
        for batch in file.iter_batches(ROW_GROUP_ROWS):
            yield from batch.to_pylist()
