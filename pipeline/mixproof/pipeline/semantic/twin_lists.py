"""The semantic duplicates of a source as a file that the manifest names: who was dropped, for which document, how near.

The list does not depend on the split into shards, so its key is made from its own rows. The list of removed documents
(`removed/`) is made from the same losers. Of a source with many shards, tasks write parts of the list first, and one
joins them; where they would open too many shards, ids of kept documents are brought to them (`../dedup/kept_ids.py`).
Memory: about 200 bytes for each row of a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.content import rows_sha256
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.dropped import TwinsRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.columns import column_of, numbers
from mixproof.pipeline.dedup.duplicates import SEMANTIC, DuplicateList, Twins, read_keepers, twins_of
from mixproof.pipeline.dedup.group_bitmaps import text_bytes
from mixproof.pipeline.dedup.kept_ids import KeptIds, fetch_ids, load_shards, save_shards, shards_key
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.batches import SHARDS_PER_TASK
from mixproof.pipeline.read.by_hash import IDS_SCHEMA, read_rows
from mixproof.pipeline.read.shard_output import ROW_GROUP_ROWS
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.shuffle.plan import is_direct
from mixproof.pipeline.shuffle.shuffle import Shuffle
from mixproof.pipeline.sorted_rows import rows_between

from .documents import STAGE, VERSION
from .keepers import COSINES
from .vectors import COMPARED

LABEL = "lists of semantic duplicates"
PARTS_VERSION = 1
PART = "part.parquet"
"""A part of a list, of LIST_SCHEMA."""
PART_ROWS = 250_000
"""A part ends with the shard that reaches this number of rows, or with SHARDS_PER_TASK shards."""
LIST = "twins.parquet"
LIST_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("kept_source", pa.string()),
        pa.field("kept_file", pa.string()),
        pa.field("kept_record", pa.int64()),
        pa.field("cosine", pa.float64()),
    ]
)
"""A dropped document in the order of the source: its file, record, id and UTF-8 bytes; the document kept instead; the
cosine of both."""


@dataclass(frozen=True)
class OwnShard:
    """A shard of a source whose duplicates are listed."""

    index: int
    """In its group."""
    vectors: str
    """Folder of its vectors."""
    bitmap: str | None
    """Path of its bitmap before the search; None: all rows."""
    lost: DuplicateList | None
    """Where the documents that it lost are named; None if it lost none."""


@dataclass(frozen=True)
class GroupTwins:
    """What the sources of a group lost."""

    shards: tuple[Shard, ...]
    """In order of priority."""
    own: Mapping[str, Sequence[OwnShard]]
    """By source."""
    identity: str
    """What the search depends on."""


@dataclass(frozen=True)
class Part:
    """Consecutive shards of a source."""

    group: str
    """Key of the saved list of the group's shards."""
    shards: tuple[OwnShard, ...]
    kept: KeptIds | None = None
    """Where the ids of kept documents are; None: they are read from their shards."""

    @property
    def lost(self) -> list[DuplicateList]:
        """Where the duplicates of its shards are named."""
        return [shard.lost for shard in self.shards if shard.lost is not None]


def semantic_twins(store: Store, each: DuplicateList, shards: Sequence[Shard]) -> Twins:
    """Read the semantic duplicates of a shard; `shards` are those of the group."""
    firsts = list(accumulate((shard.documents for shard in shards), initial=0))
    parts, cosines = [], []
    for path in each.paths:
        losers = load_array(store.path(path), mmap_mode="r")
        part = rows_between(losers[:, 0], *firsts[each.shard : each.shard + 2])
        parts.append(twins_of(losers[part], each.shard, firsts))
        cosines.append(load_array(store.path(str(PurePosixPath(path).with_name(COSINES))), mmap_mode="r")[part])
    rows = np.concatenate(parts)
    order = np.argsort(rows["row"])
    return Twins(rows[order], [SEMANTIC] * len(rows), np.concatenate(cosines)[order])


def semantic_twins_in(store: Store, lists: Sequence[DuplicateList], shards: Sequence[Shard]) -> list[Twins]:
    """Read the semantic duplicates of several shards."""
    return [semantic_twins(store, each, shards) for each in lists]


def list_twins(groups: Sequence[GroupTwins], store: Store, cluster: Cluster) -> dict[str, TwinsRecord]:
    """Write the list of each source, by name; no source is in two groups."""
    parts: dict[str, dict[str, Part]] = {}
    names: dict[str, str] = {}
    shards: dict[str, tuple[Shard, ...]] = {}
    for group in groups:
        saved = shards_key(STAGE, VERSION, group.shards)
        shards[saved] = group.shards
        for name, own in group.own.items():
            key = stage_key(STAGE, VERSION, {"twins": True}, [group.identity, saved, name])
            names[key], parts[key] = name, _parts(key, saved, own)

    def calls(missing: Mapping[str, dict[str, Part]]) -> list[tuple[object, ...]]:
        for group in {part.group for some in missing.values() for part in some.values() if part.lost}:
            save_shards(store, STAGE, VERSION, shards[group])
        listed = _with_ids([*missing.values()], shards, Shuffle(STAGE, LABEL, store, cluster))
        written = {key: part for some in listed if len(some) > 1 for key, part in some.items()}
        run_missing(store, STAGE, written, part_calls, write_part, cluster, LABEL)
        return [
            (store, key, [*some], next(iter(some.values())) if len(some) == 1 else None)
            for key, some in zip(missing, listed, strict=True)
        ]

    def part_calls(missing: Mapping[str, Part]) -> list[tuple[object, ...]]:
        return [(store, key, part) for key, part in missing.items()]

    receipts = run_missing(store, STAGE, parts, calls, write_list, cluster, LABEL)
    return {name: TwinsRecord(**receipts[key].facts["twins"]) for key, name in names.items()}


def _parts(key: str, group: str, own: Sequence[OwnShard]) -> dict[str, Part]:
    """Divide the shards of a source into parts, by the key of each; `key`: of the list."""
    parts: list[list[OwnShard]] = []
    rows = PART_ROWS
    for shard in own:
        if rows >= PART_ROWS or len(parts[-1]) == SHARDS_PER_TASK:
            parts.append([])
            rows = 0
        parts[-1].append(shard)
        rows += 0 if shard.lost is None else shard.lost.documents
    bounds = [[part[0].index, part[-1].index + 1] for part in parts]
    keys = [stage_key(STAGE, PARTS_VERSION, {"part": each}, [key]) for each in bounds]
    return {each: Part(group, tuple(part)) for each, part in zip(keys, parts, strict=True)}


def _with_ids(
    sources: Sequence[Mapping[str, Part]], shards: Mapping[str, Sequence[Shard]], shuffle: Shuffle
) -> list[dict[str, Part]]:
    """Say where the parts of sources find the ids of kept documents; `shards`: by key of their group."""
    lists: dict[str, dict[str, list[DuplicateList]]] = {}
    for some in sources:
        for key, part in some.items():
            if part.lost:
                lists.setdefault(part.group, {})[key] = part.lost
    kept: dict[str, KeptIds] = {}
    for group, own in lists.items():
        openings = sum(min(len(shards[group]), sum(each.documents for each in lost)) for lost in own.values())
        if not is_direct(openings, 1):
            kept |= fetch_ids(group, shards[group], own, semantic_twins_in, shuffle)
    return [{key: replace(part, kept=kept.get(key)) for key, part in some.items()} for some in sources]


def write_part(store: Store, key: str, part: Part) -> None:
    """Write a part of a list; the fact `compared` is the number of documents of its shards that took part."""
    with store.attempt(STAGE, key) as attempt:
        with pq.ParquetWriter(attempt.path(PART), LIST_SCHEMA, compression="zstd") as writer:
            for table in _tables(store, part):
                writer.write_table(table)
        attempt.commit(facts={"compared": _compared(store, part)})


def write_list(store: Store, key: str, parts: Sequence[str], only: Part | None) -> None:
    """Write one list under a key of its content, and under `key` its record.

    Args:
        store: the store.
        key: of the record.
        parts: the keys of the list's parts, in order.
        only: the only part, if there is one, which is not written; None: they are written.
    """
    documents = 0
    tables = _read(store, parts) if only is None else _tables(store, only)
    with store.attempt(STAGE, key) as attempt:
        scratch = attempt.path("joined.parquet")
        with pq.ParquetWriter(scratch, LIST_SCHEMA, compression="zstd", write_statistics=False) as writer:
            for group in _groups(tables):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                documents += len(group)
        sha256 = rows_sha256(scratch)
        own = stage_key(STAGE, VERSION, {"list": True}, [sha256])
        with store.attempt(STAGE, own) as named:
            scratch.rename(named.path(LIST))
            named.commit()
        compared = sum(_facts(store, part) for part in parts) if only is None else _compared(store, only)
        record = TwinsRecord(path=f"{STAGE}/{own}/{LIST}", sha256=sha256, documents=documents, compared=compared)
        attempt.commit(facts={"twins": record.model_dump()})


def _read(store: Store, parts: Sequence[str]) -> Iterator[pa.Table]:
    for part in parts:
        with pq.ParquetFile(store.path(f"{STAGE}/{part}/{PART}")) as file:
            for batch in file.iter_batches(ROW_GROUP_ROWS):
                yield pa.Table.from_batches([batch], LIST_SCHEMA)


def _facts(store: Store, part: str) -> int:
    receipt = store.receipt(STAGE, part)
    assert receipt is not None, "it was written"
    return int(receipt.facts["compared"])


def _tables(store: Store, part: Part) -> Iterator[pa.Table]:
    """Yield the rows of each shard; the kept documents of all are looked up together."""
    lost = part.lost
    if not lost:
        return
    shards = load_shards(store, STAGE, part.group)
    found = semantic_twins_in(store, lost, shards)
    kept = (read_keepers if part.kept is None else part.kept.read)(
        store, shards, np.concatenate([twins.rows for twins in found])
    )
    first = 0
    for each, twins in zip(lost, found, strict=True):
        shard, rows = shards[each.shard], twins.rows["row"].astype(np.int64)
        own, keeper = read_rows(store, shard, rows, IDS_SCHEMA), kept.slice(first, len(rows))
        names = [shards[index].source for index in twins.rows["keeper"].tolist()]
        assert twins.cosines is not None, "semantic duplicates have cosines"
        yield pa.table(
            [
                own["file"],
                own["record"],
                own["id"],
                numbers(text_bytes(store, shard.folder)[rows]),
                column_of(names, pa.string()),
                keeper["file"],
                keeper["record"],
                numbers(twins.cosines),
            ],
            schema=LIST_SCHEMA,
        )
        first += len(rows)


def _groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of all tables in tables of ROW_GROUP_ROWS, so that a file's bytes depend only on its rows."""
    pending = LIST_SCHEMA.empty_table()
    for table in tables:
        pending = pa.concat_tables([pending, table])
        while len(pending) >= ROW_GROUP_ROWS:
            yield pending.slice(0, ROW_GROUP_ROWS).combine_chunks()
            pending = pending.slice(ROW_GROUP_ROWS)
    if len(pending):
        yield pending.combine_chunks()


def _compared(store: Store, part: Part) -> int:
    """Documents of the part's shards that took part."""
    found = 0
    for shard in part.shards:
        compared = load_array(store.path(f"{shard.vectors}/{COMPARED}"))
        found += int((compared if shard.bitmap is None else compared & load_array(store.path(shard.bitmap))).sum())
    return found
