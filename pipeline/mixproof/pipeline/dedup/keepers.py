"""Which documents stay: the first of each component, and each later one unlike all that stay before it.

A component is a chain whose ends may be very different. So a document is dropped only if its signature agrees with
that of a document that stays; the first such document is its keeper. Of two documents that agree at least one is
dropped, and none is dropped for a document that it is not similar to.

A component of more than CHUNK documents is settled piece by piece, each piece together with the keepers found before.
After MAX_KEEPERS keepers the remaining documents of a component are kept without comparison. Memory: the signatures of
CHUNK documents, and one file of trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import load_group
from mixproof.pipeline.shuffle.shuffle import Shuffle

from .buckets import CHUNK, Documents
from .components import trees_file
from .edges import STAGE, Pairs, Signatures, agreeing, shards_of, signatures_of
from .fetch import Fetched, Group, fetch, write_needed
from .signatures import SIGNATURES

LOSERS = "losers.npy"
"""int64 [losers, 2]: (dropped document, its keeper), ascending; documents are numbered over all shards of the group."""
MAX_KEEPERS = 4096
NEEDED_VERSION = 1
"""Of the lists of documents whose signatures are needed."""

Similar = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""Tells which pairs of known documents, given by their indices, are similar: bool [pairs]."""
Known = Callable[[Documents], Similar]
"""Makes ascending documents known."""


def fetch_for_trees(trees: Receipt, group: Group, shuffle: Shuffle) -> Fetched:
    """Fetch the signatures of the documents in each file of trees, for `find_losers`."""
    files = range(int(trees.facts["files"]))
    lists = {stage_key(STAGE, NEEDED_VERSION, {"needed": part}, [group.key, trees.key]): part for part in files}

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(shuffle.store, key, trees.key, part, group.blocks) for key, part in missing.items()]

    found = run_missing(shuffle.store, STAGE, lists, calls, list_documents, shuffle.cluster, "fuzzy keepers")
    return fetch(list(lists), found, group, shuffle)


def list_documents(store: Store, key: str, trees: str, part: int, blocks: int) -> None:
    """Write the list of the documents in one file of trees."""
    with store.attempt(STAGE, key) as attempt:
        write_needed(attempt, part, np.unique(_trees(store, trees, part)), blocks)
        attempt.commit()


def _trees(store: Store, trees: str, part: int) -> Pairs:
    rows: Pairs = np.load(store.path(f"{STAGE}/{trees}/{trees_file(part)}"), mmap_mode="r")
    return rows


def find_losers(
    store: Store, key: str, trees: str, part: int, group: str, agree: int, fetched: Fetched | None = None
) -> None:
    """Write the losers of one file of trees.

    Args:
        store: the store.
        key: of this output.
        trees: key of the trees.
        part: number of the file.
        group: key of the list of shards.
        agree: number of equal minima that makes two documents similar.
        fetched: the signatures. None: they are read from the shards.
    """
    shards, rows = load_group(store, STAGE, group), _trees(store, trees, part)
    with store.attempt(STAGE, f"{key}-rows") as scratch:
        signatures: Signatures = partial(signatures_of, store, shards)
        if fetched is not None:
            signatures = fetched.read(store, part, np.unique(rows), scratch.path(SIGNATURES))
        losers = losers_of(rows, signatures, agree)
    losing = np.unique(shards_of(losers[:, 0], [shard.first for shard in shards])).tolist()
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(LOSERS).open("wb") as file:
            np.save(file, losers, allow_pickle=False)
        attempt.commit(facts={"shards": losing})


def losers_of(trees: Pairs, signatures: Signatures, agree: int) -> Pairs:
    """Return the dropped documents of `trees`, each with its keeper: int64 [losers, 2], ascending.

    Args:
        trees: int64 [rows, 2], (smallest document of the component, another one of it), ascending.
        signatures: gives the signatures of documents.
        agree: number of equal minima that makes two documents similar.
    """

    def known(documents: Documents) -> Similar:
        table = signatures(documents)
        return lambda one, two: agreeing(table, one, two, agree)

    losers = [np.zeros((0, 2), dtype=np.int64)]
    for members, sizes in chunks(trees):
        if len(sizes) == 1 and sizes[0] > CHUNK:
            losers += _settle_large(members, known)
        else:
            losers.append(settle(members, sizes, known))
    found = np.concatenate(losers)
    return found[np.argsort(found[:, 0])]


def settle(members: Documents, sizes: NDArray[np.int64], known: Known) -> Pairs:
    """Settle whole components, up to MAX_KEEPERS keepers of each: int64 [losers, 2].

    Args:
        members: int64, the documents of one component after another, ascending in each.
        sizes: int64 [components], documents in each.
        known: compares them.
    """
    documents = np.unique(members)
    is_similar, rows = known(documents), np.searchsorted(documents, members)
    components = np.repeat(np.arange(len(sizes)), sizes)
    losers = [np.zeros((0, 2), dtype=np.int64)]
    for _ in range(MAX_KEEPERS):
        if not len(members):
            break
        is_first = np.append(True, components[1:] != components[:-1])  # the first document of each component stays
        keeper = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
        others = np.flatnonzero(~is_first)
        similar = is_similar(rows[others], rows[keeper[others]])
        dropped, undecided = others[similar], others[~similar]
        losers.append(np.column_stack([members[dropped], members[keeper[dropped]]]))
        members, rows, components = members[undecided], rows[undecided], components[undecided]
    return np.concatenate(losers)


def _settle_large(members: Documents, known: Known) -> Iterator[Pairs]:
    """Settle one component in pieces, each together with the keepers of the pieces before it."""
    keepers = np.zeros(0, dtype=np.int64)
    for first in range(0, len(members), CHUNK):
        if len(keepers) >= MAX_KEEPERS:
            return
        piece = np.append(keepers, members[first : first + CHUNK])
        losers = settle(piece, np.array([len(piece)]), known)
        keepers = np.setdiff1d(piece, losers[:, 0], assume_unique=True)
        yield losers


def chunks(trees: Pairs) -> Iterator[tuple[Documents, NDArray[np.int64]]]:
    """Yield documents and sizes of consecutive components, at most CHUNK documents at a time; larger ones alone."""
    starts = np.flatnonzero(np.append(True, trees[1:, 0] != trees[:-1, 0])) if len(trees) else np.zeros(0, np.int64)
    ends = np.append(starts[1:], len(trees))
    sizes = ends - starts + 1
    sums = np.cumsum(sizes)
    first = 0
    while first < len(starts):
        done = int(sums[first] - sizes[first])
        last = max(first + 1, int(np.searchsorted(sums, done + CHUNK, side="right")))
        rows = np.array(trees[starts[first] : ends[last - 1]])
        roots = np.cumsum(sizes[first:last]) - sizes[first:last]
        members = np.empty(int(sums[last - 1]) - done, dtype=np.int64)
        is_other = np.ones(len(members), dtype=np.bool_)
        is_other[roots] = False
        members[roots], members[is_other] = rows[starts[first:last] - starts[first], 0], rows[:, 1]
        yield members, sizes[first:last]
        first = last
