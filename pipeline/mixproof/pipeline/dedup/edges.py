"""Pairs of documents that share a band and whose signatures agree, found range by range of band hashes.

A task takes one range of band hashes from every shard: a slice each. Documents with the same band hash are a
bucket; a pair of a bucket is an edge when at least `agree` of the two signatures' minima are equal. The task
hands on a forest, that is, for each document that has an edge the first one it is connected with, so its
output has no more rows than documents, whatever the size of the buckets.

Buckets up to ALL_PAIRS documents are compared pair by pair. In a larger one, a document is compared with
those behind it that it is not connected with yet, which connects the same documents as all pairs would; after
MAX_PIVOTS documents the bucket is left, and a bucket of more than MAX_BUCKET is taken in pieces, each of which begins
with the last document of the one before: two documents far down a very large bucket may so be missed there, and meet
in another band.
Memory: 16 bytes for each of about 4 million band records, 100 for those of a part of the range, and the signatures of
CHUNK documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import GroupShard, load_group
from mixproof.pipeline.words.ngrams import ranges as places_of

from .signatures import BAND_ROWS, BANDS, SIGNATURES

STAGE = "fuzzy"
FOREST = "forest.npy"
"""int64 [edges, 2]: (first document of the tree, another one), rising by the second; counted over all shards."""
RANGE_RECORDS = 4_000_000
PART_RECORDS = 500_000
"""Band records that are sorted at a time, about."""
ALL_PAIRS = 8
MAX_PIVOTS = 256
MAX_BUCKET = 1 << 15
CHUNK = 1 << 17
PAIRS_AT_A_TIME = 1 << 13

Places = NDArray[np.int64]


def range_count(records: int) -> int:
    """Ranges of band hashes, a power of two: enough that a task holds about 4 million band records."""
    number = 1
    while number * RANGE_RECORDS < records:
        number *= 2
    return number


def find_edges(store_url: str, key: str, group: str, place: int, ranges: int, agree: int) -> None:
    """Write the forest of one range of band hashes over all shards of a group."""
    store = Store(store_url)
    shards = load_group(store_url, STAGE, group)
    trees, compared = np.zeros((0, 2), dtype=np.int64), 0
    for hashes, documents in _parts(_records(store, shards, place, ranges)):
        starts, sizes = _buckets(hashes)
        for first, last in _chunks(sizes):
            members = documents[places_of(starts[first:last], sizes[first:last])]
            known = np.unique(members)
            signatures = signatures_of(store, shards, known)
            pairs, tried = bucket_edges(np.searchsorted(known, members), sizes[first:last], signatures, agree)
            trees = forest(np.concatenate([trees, known[pairs]]))
            compared += tried
    trees = trees[np.argsort(trees[:, 1])]
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(FOREST).open("wb") as file:
            np.save(file, trees, allow_pickle=False)
        attempt.commit(facts={"compared": compared, "edges": len(trees)})


def bucket_edges(members: Places, sizes: Places, signatures: NDArray[np.uint16], agree: int) -> tuple[Places, int]:
    """Edges inside buckets, int64 [edges, 2], enough to connect what all of them connect; and pairs compared.

    Args:
        members: documents of all buckets, bucket after bucket, rising in each; rows of `signatures`.
        sizes: documents of each bucket, 2 at least.
        signatures: uint16 [documents, minima].
        agree: equal minima that make an edge.
    """
    offsets = np.cumsum(sizes) - sizes
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for size in range(2, ALL_PAIRS + 1):
        these = members[places_of(offsets[sizes == size], sizes[sizes == size])].reshape(-1, size)
        pairs += [these[:, [one, two]] for one, two in combinations(range(size), 2)]
    candidates = np.concatenate(pairs)
    _, fresh = np.unique(candidates[:, 0] * len(signatures) + candidates[:, 1], return_index=True)
    candidates = candidates[fresh]
    edges = [candidates[agreeing(signatures, candidates[:, 0], candidates[:, 1], agree)]]
    compared = len(candidates)
    for bucket in np.flatnonzero(sizes > ALL_PAIRS):
        inside = members[offsets[bucket] : offsets[bucket] + sizes[bucket]]
        found, tried = _large_bucket(inside, signatures, agree)
        edges.append(found)
        compared += tried
    return np.concatenate(edges), compared


def _large_bucket(members: Places, signatures: NDArray[np.uint16], agree: int) -> tuple[Places, int]:
    """Compare each document with those after it in other components, up to MAX_PIVOTS documents."""
    component = np.arange(len(members))
    edges, compared, pivots = [np.zeros((0, 2), dtype=np.int64)], 0, 0
    for pivot in range(len(members) - 1):
        others = pivot + 1 + np.flatnonzero(component[pivot + 1 :] != component[pivot])
        if not len(others):
            continue
        if pivots == MAX_PIVOTS:
            break
        pivots += 1
        compared += len(others)
        near = others[agreeing(signatures, np.full(len(others), members[pivot]), members[others], agree)]
        joined = np.isin(component, component[near])
        component[joined] = component[pivot]
        edges.append(np.column_stack([np.full(len(near), members[pivot]), members[near]]))
    return np.concatenate(edges), compared


def forest(edges: Places) -> Places:
    """Connect every document of `edges` with the smallest of its component: int64 [documents - components, 2]."""
    nodes, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(-1, 2)
    from scipy.sparse import coo_array  # here, because they take 0.3 s, and most builds look for no edges
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(len(nodes), len(nodes)))
    _, labels = connected_components(links, directed=False)
    _, firsts = np.unique(labels, return_index=True)  # nodes rise, so the first of a label is its smallest
    roots = nodes[firsts][labels]
    branches: Places = np.column_stack([roots, nodes])[roots != nodes].astype(np.int64)
    return branches


def agreeing(signatures: NDArray[np.uint16], one: Places, two: Places, agree: int) -> NDArray[np.bool_]:
    """Which of the pairs of rows of `signatures` have at least `agree` equal minima."""
    enough = np.empty(len(one), dtype=np.bool_)
    for first in range(0, len(one), PAIRS_AT_A_TIME):
        part = slice(first, first + PAIRS_AT_A_TIME)
        enough[part] = np.count_nonzero(signatures[one[part]] == signatures[two[part]], axis=1) >= agree
    return enough


Records = tuple[NDArray[np.uint64], Places]
"""Band hashes, and the document of each."""


def _records(store: Store, shards: Sequence[GroupShard], place: int, ranges: int) -> list[Records]:
    """The records of one range, shard by shard; hashes rise in each."""
    width = 2**64 // ranges
    low, high = np.uint64(place * width), np.uint64(place * width + width - 1)
    records = []
    for shard in shards:
        bands = np.load(store.path(f"{shard.folder}/{BANDS}"), mmap_mode="r")
        part = slice(int(np.searchsorted(bands, low, side="left")), int(np.searchsorted(bands, high, side="right")))
        found = np.array(bands[part])
        rows = np.load(store.path(f"{shard.folder}/{BAND_ROWS}"), mmap_mode="r")[part].astype(np.int64)
        if shard.bitmap is not None:
            keep = np.load(store.path(shard.bitmap), mmap_mode="r")[rows]
            found, rows = found[keep], rows[keep]
        records.append((found, rows + shard.first))
    return records


def _parts(records: Sequence[Records]) -> Iterator[Records]:
    """All shards' records, sorted; cut between hashes into parts of about PART_RECORDS."""
    total = sum(len(hashes) for hashes, _ in records)
    parts = max(1, total // PART_RECORDS)
    low = min((int(hashes[0]) for hashes, _ in records if len(hashes)), default=0)
    high = max((int(hashes[-1]) for hashes, _ in records if len(hashes)), default=0)
    cuts = np.array([low + (high - low) * part // parts for part in range(1, parts)], dtype=np.uint64)
    places = [[0, *np.searchsorted(hashes, cuts).tolist(), len(hashes)] for hashes, _ in records]
    for part in range(parts if total else 0):
        pieces = [slice(where[part], where[part + 1]) for where in places]
        hashes = np.concatenate([found[piece] for (found, _), piece in zip(records, pieces, strict=True)])
        documents = np.concatenate([found[piece] for (_, found), piece in zip(records, pieces, strict=True)])
        order = np.argsort(hashes, kind="stable")  # documents rise from shard to shard, and where hashes are equal
        yield hashes[order], documents[order]


def _buckets(hashes: NDArray[np.uint64]) -> tuple[Places, Places]:
    """Start and size of every bucket of two at least, in sorted hashes; very large ones in pieces."""
    fresh = np.ones(len(hashes), dtype=np.bool_)
    fresh[1:] = hashes[1:] != hashes[:-1]
    starts = np.flatnonzero(fresh)
    sizes = np.diff(np.append(starts, len(hashes)))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    step = MAX_BUCKET - 1
    pieces = np.maximum(1, -(-(sizes - 1) // step))
    within = places_of(np.zeros_like(pieces), pieces) * step
    return np.repeat(starts, pieces) + within, np.minimum(np.repeat(sizes, pieces) - within, MAX_BUCKET)


def _chunks(sizes: Places) -> Iterator[tuple[int, int]]:
    """Consecutive buckets with about CHUNK documents together."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        done = int(ends[first] - sizes[first])
        last = max(first + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        yield first, last
        first = last


def signatures_of(store: Store, shards: Sequence[GroupShard], documents: Places) -> NDArray[np.uint16]:
    """The signatures of `documents`, which rise: uint16 [documents, minima]."""
    firsts = np.array([shard.first for shard in shards], dtype=np.int64)
    owners = np.searchsorted(firsts, documents, side="right") - 1
    parts = []
    for owner in np.unique(owners):
        rows = documents[owners == owner] - firsts[owner]
        parts.append(np.load(store.path(f"{shards[owner].folder}/{SIGNATURES}"), mmap_mode="r")[rows])
    return np.concatenate(parts)
