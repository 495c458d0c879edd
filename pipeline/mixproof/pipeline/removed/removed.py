"""The list of removed documents of each source: every rejected record and dropped document, with the reason.

For a duplicate it names the document that was kept instead. The list joins what the stages wrote, so it is made after
them and no other stage reads it. A source has one file, or several of about PART_ROWS rows; one task writes one file.
Not listed are records of other parts of a split source, because these parts have them; only the ledger counts them.
`megatron:` sources have no list.
Memory: about 200 bytes for each row of a file, plus the names of the group's shards.

Where a group has many shards and lists, the ids of kept documents are brought to the lists (`../dedup/kept_ids.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.ledger.store.batch import Outputs, open_batch
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.dedup.duplicates import GroupDuplicates, read_keepers
from mixproof.pipeline.dedup.kept_ids import KeptIds, fetch_ids, save_shards
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, share_tasks
from mixproof.pipeline.read.documents import RemovalList
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.shuffle.plan import is_direct
from mixproof.pipeline.shuffle.shuffle import Shuffle

from .pieces import (
    BATCH_ROWS,
    REMOVED_SCHEMA,
    STAGE,
    Difference,
    Duplicates,
    Piece,
    difference_rows,
    duplicate_rows,
    listed_rows,
    twins_in,
)

VERSION = 2
LIST = "removed.parquet"
LABEL = "removed documents"
PART_ROWS = 1_000_000
"""A file ends with the piece that reaches this number of rows; a piece is what one shard lost to one stage."""
TASK_ROWS = 100_000
"""Small files share a task up to this number of rows."""


def list_removed(
    lists: Mapping[str, Sequence[RemovalList | Difference]],
    groups: Sequence[GroupDuplicates],
    store: Store,
    cluster: Cluster,
) -> dict[str, tuple[RemovalList, ...]]:
    """Write the lists of removed documents.

    Args:
        lists: by source, the lists that `read`, the steps and `decontaminate` wrote, and what encoding did not keep.
        groups: where duplicates are named.
        store: where the lists go.
        cluster: runs the tasks.

    Returns:
        The files of each source, kind `removed`; none for a source that lost nothing.
    """
    saved = _saved(groups, store)
    pieces = _pieces(lists, saved)
    parts: dict[str, list[Piece]] = {}
    keys: dict[str, list[str]] = {name: [] for name in pieces}
    for name, own in pieces.items():
        for part in in_parts(own):
            key = stage_key(STAGE, VERSION, {"list": True}, [astuple(piece) for piece in part])
            keys[name].append(key)
            parts[key] = part

    def calls(missing: Mapping[str, list[Piece]]) -> list[tuple[object, ...]]:
        shards = {key: group.shards for key, group in saved}
        kept = _kept_ids(parts, shards, Shuffle(STAGE, LABEL, store, cluster))
        shared = share_tasks(
            missing.items(),
            lambda item: sum(piece.rows for piece in item[1]),
            most_bytes=TASK_ROWS,
            most_items=SHARDS_PER_TASK,
        )
        return [(store, [(key, part, kept.get(key, {})) for key, part in batch]) for batch in shared]

    run_missing(store, STAGE, parts, calls, write_lists, cluster, LABEL)
    return {
        name: tuple(
            RemovalList("removed", f"{STAGE}/{key}/{LIST}", None, 0, sum(piece.rows for piece in parts[key]))
            for key in own
        )
        for name, own in keys.items()
    }


def _kept_ids(
    parts: Mapping[str, Sequence[Piece]], shards: Mapping[str, Sequence[Shard]], shuffle: Shuffle
) -> dict[str, dict[str, KeptIds]]:
    """Where lists find the ids of kept documents, by list and group, unless the lists of the group open few shards."""
    lists: dict[str, dict[str, list[Duplicates]]] = {}
    for part, pieces in parts.items():
        for piece in pieces:
            if isinstance(piece, Duplicates):
                lists.setdefault(piece.group, {}).setdefault(part, []).append(piece)
    found: dict[str, dict[str, KeptIds]] = {}
    for group, own in lists.items():
        openings = sum(min(len(shards[group]), sum(piece.rows for piece in some)) for some in own.values())
        if not is_direct(openings, 1):
            for part, ids in fetch_ids(group, shards[group], own, twins_in, shuffle).items():
                found.setdefault(part, {})[group] = ids
    return found


def in_parts(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Divide the pieces of a source, in order, into files."""
    parts: list[list[Piece]] = []
    rows = PART_ROWS
    for piece in pieces:
        if rows >= PART_ROWS:
            parts.append([])
            rows = 0
        parts[-1].append(piece)
        rows += piece.rows
    return parts


def write_lists(store: Store, lists: Sequence[tuple[str, Sequence[Piece], Mapping[str, KeptIds]]]) -> None:
    """Write some files, each under its key (Ray task); arguments of each as for `write_list`."""
    with open_batch(store, STAGE, [key for key, *_ in lists]) as outputs:
        for key, pieces, kept in lists:
            write_list(store, key, pieces, kept, outputs)


def write_list(store: Store, key: str, pieces: Sequence[Piece], kept: Mapping[str, KeptIds], outputs: Outputs) -> None:
    """Write one file; `kept`: by group, ids of kept documents that are not read from the shards."""
    with outputs.attempt(STAGE, key) as attempt:
        with pq.ParquetWriter(attempt.path(LIST), REMOVED_SCHEMA, compression="zstd") as writer:
            for table in _tables(store, pieces, kept):
                writer.write_table(table, row_group_size=BATCH_ROWS)
        attempt.commit()


def _tables(store: Store, pieces: Sequence[Piece], kept: Mapping[str, KeptIds]) -> Iterator[pa.Table]:
    for group, some in groupby(pieces, lambda piece: piece.group if isinstance(piece, Duplicates) else None):
        if group is not None:
            read_kept = kept[group].read if group in kept else read_keepers
            duplicates = [piece for piece in some if isinstance(piece, Duplicates)]
            yield from duplicate_rows(store, group, duplicates, read_kept)
            continue
        for piece in some:
            if isinstance(piece, RemovalList):
                yield from listed_rows(store, piece)
            elif isinstance(piece, Difference):
                yield difference_rows(store, piece)


def _pieces(
    lists: Mapping[str, Sequence[RemovalList | Difference]], groups: Sequence[tuple[str, GroupDuplicates]]
) -> dict[str, list[Piece]]:
    """Return the pieces of each source by stage: read, steps, dedup, paragraphs, keep, cells, decontaminate, encode."""
    pieces: dict[str, list[Piece]] = {
        name: [each for kind in ("rejected", "dropped") for each in own if _kind(each) == kind]
        for name, own in lists.items()
    }
    for key, group in groups:
        for found in group.lists:
            pieces[group.shards[found.shard].source].append(Duplicates(key, found))
    after = ("keep", "pruned", "decontaminated", None)
    for name, own in lists.items():
        pieces[name] += [each for kind in after for each in own if _kind(each) == kind]
    return pieces


def _saved(groups: Sequence[GroupDuplicates], store: Store) -> list[tuple[str, GroupDuplicates]]:
    """Save the shards of the groups that lost documents; returns the keys of the lists of shards, too."""
    found = []
    for group in groups:
        if group.lists:
            found.append((save_shards(store, STAGE, VERSION, group.shards), group))
    return found


def _kind(each: RemovalList | Difference) -> str | None:
    return each.kind if isinstance(each, RemovalList) else None
