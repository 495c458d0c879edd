"""Who stays: of each component the first document, and every later one that is unlike all that stay before it.

A component is a chain: its ends can be far apart. So a document goes only if its signature agrees with that of a
document that stays, the first such one being its keeper. Of two documents that agree one always goes; no document goes
for one that it is not like.

A component of more than CHUNK documents is settled piece by piece, each after those that stay so far. After MAX_KEEPERS
the rest of a component stays undecided and is kept. Memory is that of the signatures of CHUNK documents and of
one file of trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import load_group

from .components import trees_file
from .edges import CHUNK, STAGE, Places, agreeing, signatures_of

LOSERS = "losers.npy"
"""int64 [losers, 2], (document that goes, its keeper), rising; documents counted over all shards."""
MAX_KEEPERS = 4096

Signatures = Callable[[Places], NDArray[np.uint16]]
"""The signatures of documents, which rise: uint16 [documents, minima]."""


def find_losers(store_url: str, key: str, trees: str, part: int, group: str, agree: int) -> list[int]:
    """Write the documents that go of one file of trees; returns the places of the shards that lose some.

    Args:
        store_url: the store.
        key: of this output.
        trees: key of the trees.
        part: number of the file.
        group: key of the list of shards.
        agree: equal minima that make two documents alike.
    """
    store = Store(store_url)
    shards = load_group(store_url, STAGE, group)
    rows = np.load(store.path(f"{STAGE}/{trees}/{trees_file(part)}"), mmap_mode="r")
    losers = losers_of(rows, lambda documents: signatures_of(store, shards, documents), agree)
    firsts = np.array([shard.first for shard in shards], dtype=np.int64)  # an empty shard's is also the next one's
    losing = np.unique(np.searchsorted(firsts, losers[:, 0], side="right") - 1).tolist()
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(LOSERS).open("wb") as file:
            np.save(file, losers, allow_pickle=False)
        attempt.commit(facts={"shards": losing})
    return [int(place) for place in losing]


def losers_of(trees: Places, signatures: Signatures, agree: int) -> Places:
    """The documents of `trees` that go, each with its keeper: int64 [losers, 2], rising.

    Args:
        trees: int64 [rows, 2], (smallest of the component, another one of it), rising.
        signatures: gives documents' signatures.
        agree: equal minima that make two documents alike.
    """
    losers = [np.zeros((0, 2), dtype=np.int64)]
    for members, sizes in _chunks(trees):
        if len(sizes) == 1 and sizes[0] > CHUNK:
            losers += _settle_large(members, signatures, agree)
        else:
            losers.append(_settle(members, sizes, signatures, agree))
    found = np.concatenate(losers)
    return found[np.argsort(found[:, 0])]


def _settle(members: Places, sizes: Places, signatures: Signatures, agree: int) -> Places:
    """Settle whole components: their documents, one component after another, rising in each."""
    known = np.unique(members)
    table, rows = signatures(known), np.searchsorted(known, members)
    components = np.repeat(np.arange(len(sizes)), sizes)
    losers = [np.zeros((0, 2), dtype=np.int64)]
    for _ in range(MAX_KEEPERS):
        if not len(members):
            break
        firsts = np.append(True, components[1:] != components[:-1])  # each of them stays
        keeper = np.flatnonzero(firsts)[np.cumsum(firsts) - 1]
        others = np.flatnonzero(~firsts)
        alike = agreeing(table, rows[others], rows[keeper[others]], agree)
        gone = others[alike]
        losers.append(np.column_stack([members[gone], members[keeper[gone]]]))
        left = others[~alike]
        members, rows, components = members[left], rows[left], components[left]
    return np.concatenate(losers)


def _settle_large(members: Places, signatures: Signatures, agree: int) -> Iterator[Places]:
    """Settle one component in pieces, with those that stay so far before each."""
    stay = np.zeros(0, dtype=np.int64)
    for first in range(0, len(members), CHUNK):
        if len(stay) >= MAX_KEEPERS:
            return
        piece = np.append(stay, members[first : first + CHUNK])
        losers = _settle(piece, np.array([len(piece)]), signatures, agree)
        stay = np.setdiff1d(piece, losers[:, 0], assume_unique=True)
        yield losers


def _chunks(trees: Places) -> Iterator[tuple[Places, Places]]:
    """Documents and sizes of components in a row, CHUNK documents together at most; a larger one alone."""
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
        others = np.ones(len(members), dtype=np.bool_)
        others[roots] = False
        members[roots], members[others] = rows[starts[first:last] - starts[first], 0], rows[:, 1]
        yield members, sizes[first:last]
        first = last
