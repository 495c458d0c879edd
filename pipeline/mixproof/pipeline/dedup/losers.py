"""From the forests of all ranges to lists of losers: connected components, then who stays of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import load_group, shards_of
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.shuffle.document_rows import DocumentRows, Load
from mixproof.pipeline.shuffle.fetch import fetch, opened_rows, write_needed
from mixproof.pipeline.shuffle.plan import is_direct, power_of_two
from mixproof.pipeline.shuffle.shuffle import Shuffle

from .components import connect, trees_file
from .edges import FOREST, Pairs
from .keepers import LOSERS

NEEDED_VERSION = 1
"""Of the lists of documents whose rows are needed."""

Settle = Callable[[Pairs, Load], Mapping[str, NDArray[Any]]]
"""Decides who stays of the documents in some trees, from their rows: the arrays to write by file, LOSERS among them."""


@dataclass(frozen=True)
class Settling:
    """How a search decides who stays."""

    table: DocumentRows
    """What documents are compared by."""
    settle: Settle
    version: int
    """Of the search."""
    config: Mapping[str, object]
    """What the decision depends on beside the table."""


def list_losers(forests: Sequence[Receipt], how: Settling, shuffle: Shuffle, shards: int) -> list[Receipt]:
    """Connect forests, then list the losers of each file of trees; returns the lists' receipts.

    Args:
        forests: of all ranges.
        how: decides who stays.
        shuffle: of the search.
        shards: number of shards in the group.
    """
    store, cluster, table = shuffle.store, shuffle.cluster, how.table
    key = stage_key(table.stage, how.version, {"trees": True}, [each.files[FOREST].sha256 for each in forests])

    def connect_calls(missing: Mapping[str, Sequence[str]]) -> list[tuple[object, ...]]:
        return [(store, table.stage, each, keys) for each, keys in missing.items()]

    work, label = {key: [each.key for each in forests]}, f"{table.stage} components"
    trees = run_missing(store, table.stage, work, connect_calls, connect, cluster, label)[key]
    files, parts = int(trees.facts["files"]), {}
    for part in range(files):
        identity = [table.group, trees.files[trees_file(part)].sha256]
        parts[stage_key(table.stage, how.version, {"losers": part, **how.config}, identity)] = part

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        fetched = None if is_direct(shards, power_of_two(len(forests))) else _fetch(trees, table, shuffle)
        named = is_direct(shards, files)
        return [(store, each, trees.key, part, table, fetched, how.settle, named) for each, part in missing.items()]

    receipts = run_missing(store, table.stage, parts, calls, find_losers, cluster, f"{table.stage} keepers")
    return [receipts[each] for each in parts]


def _fetch(trees: Receipt, table: DocumentRows, shuffle: Shuffle) -> str:
    """Fetch the rows of the documents in each file of trees; returns the key of the shuffle."""
    files = range(int(trees.facts["files"]))
    lists = {stage_key(table.stage, NEEDED_VERSION, {"needed": part}, [table.group, trees.key]): part for part in files}

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(shuffle.store, key, trees.key, part, table) for key, part in missing.items()]

    label = f"{table.stage} keepers"
    found = run_missing(shuffle.store, table.stage, lists, calls, list_documents, shuffle.cluster, label)
    return fetch(list(lists), found, len(lists), table, shuffle)


def list_documents(store: Store, key: str, trees: str, part: int, table: DocumentRows) -> None:
    """Write the list of the documents in one file of trees."""
    with store.attempt(table.stage, key) as attempt:
        write_needed(attempt, {part: np.unique(_trees(store, table.stage, trees, part))}, table)
        attempt.commit()


def _trees(store: Store, stage: str, trees: str, part: int) -> Pairs:
    rows: Pairs = load_array(store.path(f"{stage}/{trees}/{trees_file(part)}"), mmap_mode="r")
    return rows


def find_losers(
    store: Store,
    key: str,
    trees: str,
    part: int,
    table: DocumentRows,
    fetched: str | None,
    settle: Settle,
    names_shards: bool,
) -> None:
    """Write the losers of one file of trees.

    Args:
        store: the store.
        key: of this output.
        trees: key of the trees.
        part: number of the file.
        table: what documents are compared by.
        fetched: key of the shuffle that brought the rows. None: they are read from the shards.
        settle: decides who stays.
        names_shards: whether the fact `shards` states which shards have losers.
    """
    rows = _trees(store, table.stage, trees, part)
    with opened_rows(store, key, table, fetched, part, lambda: np.unique(rows)) as load:
        found = settle(rows, load)
    facts = {}
    if names_shards:
        firsts = [shard.first for shard in load_group(store, table.stage, table.group)]
        facts["shards"] = np.unique(shards_of(found[LOSERS][:, 0], firsts)).tolist()
    with store.attempt(table.stage, key) as attempt:
        for name, values in found.items():
            with attempt.path(name).open("wb") as file:
                np.save(file, values, allow_pickle=False)
        attempt.commit(facts=facts)
