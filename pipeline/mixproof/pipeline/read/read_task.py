"""The work on one shard as a worker gets it, and the key of its result.

The key depends on content and steps, not on names: a renamed or moved file, or the same file in another source, is not
read again. Only the key of a group of small files has their names, which its documents state.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mixproof.ledger.fingerprint import StageKeys
from mixproof.mixtures.blocks.source import Extractor, Limits, Source, Step
from mixproof.mixtures.split_sources import SplitSource
from mixproof.pipeline.chat.conversations import ConversationRule, rule_of
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.inputs.formats import Compression, Format
from mixproof.pipeline.readers.html import DEFAULT, check_extractor, packages_of
from mixproof.pipeline.readers.html import VERSION as HTML_VERSION
from mixproof.pipeline.readers.raw import NO_OTHER_LIMITS
from mixproof.pipeline.steps import steps_digest, steps_identity

from .shards import ShardPlan
from .watch import PATIENCE_SECONDS

STAGE = "read"
VERSION = 4
"""3: numbers as ids are as JSON spells them; a byte order mark may start any line; maps are looked into.

4: outputs are named by their rows.
"""
ATTRIBUTES_VERSION = 1
"""Of the join with attributes; raised when it gives a record other fields."""
GROUP_VERSION = 1
"""Of groups of files; raised when the output of a group changes."""
PIECE_VERSION = 1
"""Of pieces of compressed files; raised when they are divided in another way."""
ROW_RANGE_VERSION = 1
"""Of a part of a Parquet file; raised when another part owns a row."""


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
    """The column by which the source is split."""
    value: str | None = None
    """The part's value in that column; other records belong to other parts. None: every record is read."""
    sha256: tuple[str, ...] = ()
    """Content of each file of the plan."""
    attributes_sha256: tuple[tuple[str, ...], ...] = ()
    """Content of the files of attributes of each file of the plan."""
    steps_digest: str = ""
    """Identity of the steps where the key was made; see `steps_digest`."""
    rule: ConversationRule | None = None
    """How records become conversations; None: they have texts."""
    extractor: Extractor | None = None
    """What takes texts out of HTML; None: the default for WARC files, and none for others."""
    patience_seconds: float = PATIENCE_SECONDS
    """How long any document may take; not in the key, because it changes no document."""


def read_task(plan: ShardPlan, source: Source, sha256: Mapping[str, str], limits: Limits = NO_OTHER_LIMITS) -> ReadTask:
    """Make the task for a planned shard; `sha256` is by URL."""
    return next(read_tasks([plan], source, sha256, limits))


def read_tasks(
    plans: Sequence[ShardPlan],
    source: Source,
    sha256: Mapping[str, str],
    limits: Limits = NO_OTHER_LIMITS,
    *,
    keep_prompts: bool = False,
) -> Iterator[ReadTask]:
    """Make the tasks for a source's planned shards; `sha256` is by URL, `keep_prompts` is for conversations."""
    value = _value_in_column(source)
    digest = steps_digest(source.steps)
    keys = read_keys(plans, source, sha256, limits, keep_prompts=keep_prompts)
    for plan, key in zip(plans, keys, strict=True):
        yield ReadTask(
            plan,
            key,
            source.text,
            source.id,
            source.steps,
            source.keep_dropped,
            limits,
            source.split_column,
            value,
            tuple(sha256[file.url] for file in plan.files),
            tuple(tuple(_attributes(file, sha256)) for file in plan.files),
            digest,
            rule_of(source, keep_prompts=keep_prompts),
            source.extractor,
        )


def read_keys(
    plans: Iterable[ShardPlan],
    source: Source,
    sha256: Mapping[str, str],
    limits: Limits = NO_OTHER_LIMITS,
    *,
    keep_prompts: bool = False,
) -> Iterator[str]:
    """The key of each of a source's planned shards; `sha256` is by URL."""
    keys: dict[tuple[Format, Compression | None, bool, bool, bool], StageKeys] = {}
    for plan in plans:
        first = plan.files[0]
        is_part_of_rows = first.format == "parquet" and not plan.is_whole
        kind = (first.format, first.compression, plan.is_group, plan.piece is not None, is_part_of_rows)
        if kind not in keys:
            config = _config(first.format, first.compression, source, limits, keep_prompts)
            if plan.is_group:
                config["group"] = GROUP_VERSION
            if plan.piece is not None:
                config["piece"] = PIECE_VERSION
            if is_part_of_rows:
                config["rows"] = ROW_RANGE_VERSION
            keys[kind] = StageKeys(STAGE, VERSION, config)
        if plan.is_group:
            yield keys[kind].key([[file.name, sha256[file.url], *_attributes(file, sha256)] for file in plan.files])
        else:
            yield keys[kind].key([sha256[first.url], plan.start, plan.end, *_attributes(first, sha256)])


def _attributes(file: InputFile, sha256: Mapping[str, str]) -> list[str]:
    """Contents of a file's attributes; empty where a task is made without contents, to read and not to store."""
    return [sha256.get(each.url, "") for each in file.attributes]


def _config(
    form: Format, compression: Compression | None, source: Source, limits: Limits, keep_prompts: bool
) -> dict[str, object]:
    config: dict[str, object] = {
        "format": form,
        "compression": compression,
        "text": source.text,
        "id": source.id,
        "steps": steps_identity(source.steps),
        **_reader_identity(form, source.extractor),
    }
    if "." in source.id and form in ("jsonl", "parquet", "arrow"):
        config["id_in_nested_fields"] = True
    if source.steps:
        config["drops_listed"] = True
    rule = rule_of(source, keep_prompts=keep_prompts)
    if rule is not None:
        config["conversation"] = rule.identity()
    if source.attributes:
        config["attributes"] = ATTRIBUTES_VERSION
    if source.keep_dropped:
        config["keep_dropped"] = True
    if limits != NO_OTHER_LIMITS:
        config["limits"] = limits.identity()
    value = _value_in_column(source)
    if value is not None:
        config["part"] = [source.split_column, value]
    return config


def _value_in_column(source: Source) -> str | None:
    """The value of a part in the column by which its source is split; None if every record is read."""
    if source.split_column is None or not isinstance(source, SplitSource):
        return None
    assert isinstance(source.value, str), "only cells have several values"
    return source.value


def _reader_identity(kind: Format, extractor: Extractor | None) -> dict[str, object]:
    """What changes the documents that a reader finds in the same bytes: its version, and those of its packages.

    Raises:
        RequestError: when the extractor is not installed.
    """
    used = extractor if extractor is not None or kind != "warc" else DEFAULT
    if used is None:
        return {}
    check_extractor(used, "reading HTML")
    packages = {name: importlib.metadata.version(name) for name in packages_of(used)}
    stated: dict[str, object] = {"html": HTML_VERSION, "packages": packages}
    return stated if kind == "warc" else {**stated, "extractor": used}
