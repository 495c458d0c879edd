"""The ids of the documents kept instead of duplicates, brought to the lists that name them.

A list names documents of nearly every shard of its group. With few shards and lists each list reads them there. With
many, a task for each list writes which documents it names, a run by block of consecutive documents. Then a task over
each block reads its shards once and writes the ids, a run by list. `../shuffle/fetch.py` does so with rows of one size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.columns import array_of, numbers
from mixproof.pipeline.group import Documents, shards_of
from mixproof.pipeline.read.by_hash import IDS_SCHEMA, read_rows
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.shuffle.document_rows import DocumentRows
from mixproof.pipeline.shuffle.fetch import needed_of, write_needed
from mixproof.pipeline.shuffle.plan import power_of_two
from mixproof.pipeline.shuffle.runs import write_run
from mixproof.pipeline.shuffle.shuffle import Shuffle, partition_of

from .duplicates import NO_KEEPER, Twins

VERSION = 1
SHARDS = "shards.json"
ROW_BYTES = 512
"""More than the id of a document takes, with its file: decides the number of documents in a block."""
DOCUMENT = "document"
"""Column of the document's number over all shards of the group."""


ReadKeepers = Callable[[Store, Sequence[Shard], NDArray[Any]], pa.Table]
"""Gives file, record and id of the document kept instead of each duplicate (TWIN_DTYPE): IDS_SCHEMA."""
TwinsIn = Callable[[Store, Sequence[Any], Sequence[Shard]], Sequence[Twins]]
"""Reads the duplicates of each piece of a list; the shards are those of the group. A function of a module, because
tasks receive it."""


@dataclass(frozen=True)
class KeptIds:
    """Ids that a shuffle brought to the lists of one group."""

    stage: str
    key: str
    """Of the shuffle."""
    number: int
    """Of the list."""

    def read(self, store: Store, shards: Sequence[Shard], twins: NDArray[np.void]) -> pa.Table:
        """As `read_keepers`: file, record and id of the document kept instead of each of `twins`."""
        tables = []
        for piece in partition_of(store, self.stage, self.key, self.number):
            buffer = pa.BufferReader(piece)
            while buffer.tell() < buffer.size():
                with pa.ipc.open_stream(buffer) as reader:
                    tables.append(reader.read_all())
        found = pa.concat_tables(tables) if tables else _with_documents(IDS_SCHEMA.empty_table(), np.zeros(0, np.int64))
        has_keeper = twins["keeper"] != NO_KEEPER
        rows = np.searchsorted(array_of(found[DOCUMENT]), _keepers(shards, twins[has_keeper]))
        indices = np.zeros(len(twins), np.int64)
        indices[has_keeper] = rows
        return found.select(IDS_SCHEMA.names).take(pa.array(indices, mask=~has_keeper))


def shards_key(stage: str, version: int, shards: Sequence[Shard]) -> str:
    """The key of the list of a group's shards."""
    return stage_key(stage, version, {"group": True}, [list(astuple(shard)) for shard in shards])


def save_shards(store: Store, stage: str, version: int, shards: Sequence[Shard]) -> str:
    """Write the list of a group's shards, unless it is in the store; returns its key."""
    key = shards_key(stage, version, shards)
    if store.receipt(stage, key) is None:
        with store.attempt(stage, key) as attempt:
            attempt.path(SHARDS).write_bytes(orjson.dumps([asdict(shard) for shard in shards]))
            attempt.commit()
    return key


def load_shards(store: Store, stage: str, key: str) -> list[Shard]:
    """Read the list of a group's shards; a process caches the last one that it read."""
    return _load(str(store), stage, key)


@lru_cache(maxsize=1)
def _load(store: str, stage: str, key: str) -> list[Shard]:
    return [Shard(**each) for each in orjson.loads(Store(store).path(f"{stage}/{key}/{SHARDS}").read_bytes())]


def fetch_ids(
    group: str, shards: Sequence[Shard], lists: Mapping[str, Sequence[Any]], twins_in: TwinsIn, shuffle: Shuffle
) -> dict[str, KeptIds]:
    """Bring the ids to all lists of a group; returns by list where it finds them.

    Args:
        group: key of the saved list of the group's shards, in the stage of the shuffle.
        shards: of the group.
        lists: by key of each list, the pieces that it names of the group.
        twins_in: reads the duplicates of pieces.
        shuffle: regroups what is needed, then the ids.
    """
    store, cluster, stage = shuffle.store, shuffle.cluster, shuffle.stage
    documents = sum(shard.documents for shard in shards)
    table = DocumentRows(stage, group, documents, "", np.dtype(np.uint8), ROW_BYTES)
    named = {
        stage_key(stage, VERSION, {"kept": key, "block": table.block}, [group]): (number, pieces)
        for number, (key, pieces) in enumerate(lists.items())
    }

    def name_calls(missing: Mapping[str, tuple[int, Sequence[Any]]]) -> list[tuple[object, ...]]:
        return [(store, key, pieces, twins_in, number, table) for key, (number, pieces) in missing.items()]

    found = run_missing(store, stage, named, name_calls, list_kept, cluster, shuffle.label)
    needed, tasks = shuffle.merge(list(named), found, power_of_two(table.blocks)), power_of_two(len(lists))
    blocks = {
        stage_key(stage, VERSION, {"ids": block, "lists": tasks}, [needed]): block for block in range(table.blocks)
    }

    def block_calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(store, key, table, needed, block, tasks) for key, block in missing.items()]

    written = run_missing(store, stage, blocks, block_calls, write_ids, cluster, shuffle.label)
    ids = shuffle.merge(list(blocks), written, tasks)
    return {key: KeptIds(stage, ids, number) for number, key in enumerate(lists)}


def list_kept(
    store: Store, key: str, pieces: Sequence[Any], twins_in: TwinsIn, number: int, table: DocumentRows
) -> None:
    """Write which documents were kept instead of the duplicates of one list."""
    shards = load_shards(store, table.stage, table.group)
    twins = np.concatenate([each.rows for each in twins_in(store, pieces, shards)])
    with store.attempt(table.stage, key) as attempt:
        kept = _keepers(shards, twins[twins["keeper"] != NO_KEEPER])
        write_needed(attempt, {number: np.unique(kept)}, table)
        attempt.commit()


def _keepers(shards: Sequence[Shard], twins: NDArray[np.void]) -> Documents:
    """The number over all shards of the document kept instead of each of `twins`."""
    firsts = np.array(list(accumulate((shard.documents for shard in shards), initial=0)), np.int64)
    found: Documents = firsts[twins["keeper"]] + twins["keeper_row"]
    return found


def write_ids(store: Store, key: str, table: DocumentRows, needed: str, block: int, tasks: int) -> None:
    """Write the ids of one block's documents that lists name, as a run by list."""
    records = needed_of(store, table.stage, needed, block)
    documents = np.unique(records["document"])
    ids = _with_documents(_read(store, load_shards(store, table.stage, table.group), documents), documents)
    ends = np.searchsorted(records["task"], np.arange(tasks + 1)).tolist()
    with store.attempt(table.stage, key) as attempt:
        rows = (np.searchsorted(documents, records["document"][start:end]) for start, end in pairwise(ends))
        write_run(attempt, ([_serialized(ids.take(numbers(some)))] if len(some) else [] for some in rows))
        attempt.commit()


def _read(store: Store, shards: Sequence[Shard], documents: Documents) -> pa.Table:
    """File, record and id of ascending documents."""
    firsts = list(accumulate((shard.documents for shard in shards), initial=0))[:-1]
    owners = shards_of(documents, firsts)
    tables = [
        read_rows(store, shards[owner], documents[owners == owner] - firsts[owner], IDS_SCHEMA)
        for owner in np.unique(owners).tolist()
    ]
    return pa.concat_tables([IDS_SCHEMA.empty_table(), *tables])


def _with_documents(ids: pa.Table, documents: Documents) -> pa.Table:
    return ids.append_column(DOCUMENT, numbers(documents))


def _serialized(ids: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, ids.schema) as writer:
        writer.write_table(ids)
    return bytes(sink.getvalue())
