"""Pairs of documents that share a band and whose signatures agree, found by ranges of band hashes.

A task takes one range of band hashes from every shard: a slice each. Documents with the same band hash form a bucket; a
pair from a bucket is an edge when at least `agree` of the minima in the two signatures are equal. The task writes a
forest: for each document with an edge, the first document that it is connected with. So its output has at most one row
per document, however large the buckets are.

In buckets of up to ALL_PAIRS documents all pairs are compared. In a larger bucket each document is compared with the
later ones that it is not connected with yet, which connects the same documents as all pairs would. After MAX_PIVOTS
documents the comparison of a bucket ends, and a bucket of more than MAX_BUCKET documents is split into pieces, each
starting with the last document of the previous one. So two documents far down a very large bucket may be missed there,
but can still meet in another band.
Memory: 16 bytes for each of about 4 million band records, 100 bytes for those of one part of the range, and the
signatures of CHUNK documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.group import GroupShard, load_group
from mixproof.pipeline.words.ngrams import ranges as index_ranges

from .signatures import BAND_ROWS, BANDS, SIGNATURES

STAGE = "fuzzy"
FOREST = "forest.npy"
"""int64 [edges, 2]: (first document of the tree, another one), ascending by the second."""
RANGE_RECORDS = 4_000_000
PART_RECORDS = 500_000
"""About how many band records are sorted at a time."""
ALL_PAIRS = 8
MAX_PIVOTS = 256
MAX_BUCKET = 1 << 15
CHUNK = 1 << 17
PAIRS_AT_A_TIME = 1 << 13

Documents = NDArray[np.int64]
"""Documents by their number over all shards of a group, int64 [documents]; or rows of a table of signatures."""
Pairs = NDArray[np.int64]
"""Pairs of documents, int64 [pairs, 2]."""


def range_count(records: int) -> int:
    """Return the number of ranges of band hashes, a power of two, such that a task holds about 4 million records."""
    number = 1
    while number * RANGE_RECORDS < records:
        number *= 2
    return number


def find_edges(store: Store, key: str, group: str, number: int, ranges: int, agree: int) -> None:
    """Write the forest of range `number` of band hashes over all shards of a group."""
    shards = load_group(store, STAGE, group)
    trees, compared = np.zeros((0, 2), dtype=np.int64), 0
    for hashes, documents in _parts(_records(store, shards, number, ranges)):
        starts, sizes = _buckets(hashes)
        for first, last in _chunks(sizes):
            members = documents[index_ranges(starts[first:last], sizes[first:last])]
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


def bucket_edges(
    members: Documents, sizes: NDArray[np.int64], signatures: NDArray[np.uint16], agree: int
) -> tuple[Pairs, int]:
    """Find enough edges inside buckets to connect everything that all edges would connect.

    Args:
        members: int64, the documents of one bucket after another as rows of `signatures`, ascending in each bucket.
        sizes: int64 [buckets], documents in each bucket, at least 2.
        signatures: uint16 [documents, minima].
        agree: number of equal minima that makes an edge.

    Returns:
        int64 [edges, 2], and how many pairs were compared.
    """
    offsets = np.cumsum(sizes) - sizes
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for size in range(2, ALL_PAIRS + 1):
        these = members[index_ranges(offsets[sizes == size], sizes[sizes == size])].reshape(-1, size)
        pairs += [these[:, [one, two]] for one, two in combinations(range(size), 2)]
    candidates = np.concatenate(pairs)
    _, unique = np.unique(candidates[:, 0] * len(signatures) + candidates[:, 1], return_index=True)
    candidates = candidates[unique]
    edges = [candidates[agreeing(signatures, candidates[:, 0], candidates[:, 1], agree)]]
    compared = len(candidates)
    for bucket in np.flatnonzero(sizes > ALL_PAIRS):
        in_bucket = members[offsets[bucket] : offsets[bucket] + sizes[bucket]]
        found, tried = _large_bucket(in_bucket, signatures, agree)
        edges.append(found)
        compared += tried
    return np.concatenate(edges), compared


def _large_bucket(members: Documents, signatures: NDArray[np.uint16], agree: int) -> tuple[Pairs, int]:
    """Compare each of the first MAX_PIVOTS documents with the later ones in other components."""
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


def forest(edges: Pairs) -> Pairs:
    """Connect every document of `edges` to the smallest of its component: int64 [documents - components, 2]."""
    nodes, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(-1, 2)
    from scipy.sparse import coo_array  # here, because the import takes 0.3 s and most builds need no edges
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(len(nodes), len(nodes)))
    _, labels = connected_components(links, directed=False)
    _, firsts = np.unique(labels, return_index=True)  # nodes ascend, so the first of a label is the smallest
    roots = nodes[firsts][labels]
    branches: Pairs = np.column_stack([roots, nodes])[roots != nodes].astype(np.int64)
    return branches


def agreeing(signatures: NDArray[np.uint16], one: Documents, two: Documents, agree: int) -> NDArray[np.bool_]:
    """Tell which pairs of rows of `signatures` have at least `agree` equal minima: bool [pairs]."""
    enough = np.empty(len(one), dtype=np.bool_)
    for first in range(0, len(one), PAIRS_AT_A_TIME):
        part = slice(first, first + PAIRS_AT_A_TIME)
        enough[part] = np.count_nonzero(signatures[one[part]] == signatures[two[part]], axis=1) >= agree
    return enough


Records = tuple[NDArray[np.uint64], Documents]
"""Band hashes, and the document of each."""


def _records(store: Store, shards: Sequence[GroupShard], number: int, ranges: int) -> list[Records]:
    """Read the records of one range, shard by shard; hashes ascend in each."""
    width = 2**64 // ranges
    low, high = np.uint64(number * width), np.uint64(number * width + width - 1)
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
    """Yield the records of all shards, sorted, in parts of about PART_RECORDS that do not split equal hashes."""
    total = sum(len(hashes) for hashes, _ in records)
    parts = max(1, total // PART_RECORDS)
    low = min((int(hashes[0]) for hashes, _ in records if len(hashes)), default=0)
    high = max((int(hashes[-1]) for hashes, _ in records if len(hashes)), default=0)
    cuts = np.array([low + (high - low) * part // parts for part in range(1, parts)], dtype=np.uint64)
    bounds = [[0, *np.searchsorted(hashes, cuts).tolist(), len(hashes)] for hashes, _ in records]
    for part in range(parts if total else 0):
        pieces = [slice(each[part], each[part + 1]) for each in bounds]
        hashes = np.concatenate([found[piece] for (found, _), piece in zip(records, pieces, strict=True)])
        documents = np.concatenate([found[piece] for (_, found), piece in zip(records, pieces, strict=True)])
        order = np.argsort(hashes, kind="stable")  # documents ascend over shards and within equal hashes
        yield hashes[order], documents[order]


def _buckets(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return start and size of every bucket of at least two, in sorted hashes; very large buckets in pieces."""
    begins = np.ones(len(hashes), dtype=np.bool_)
    begins[1:] = hashes[1:] != hashes[:-1]
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, len(hashes)))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    step = MAX_BUCKET - 1
    pieces = np.maximum(1, -(-(sizes - 1) // step))
    within = index_ranges(np.zeros_like(pieces), pieces) * step
    return np.repeat(starts, pieces) + within, np.minimum(np.repeat(sizes, pieces) - within, MAX_BUCKET)


def _chunks(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of consecutive buckets that together have about CHUNK documents."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        done = int(ends[first] - sizes[first])
        last = max(first + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        yield first, last
        first = last


def shards_of(documents: Documents, firsts: Sequence[int]) -> NDArray[np.int64]:
    """Return the index of each document's shard; an empty shard has the same first document as the next one."""
    return np.searchsorted(np.array(firsts, dtype=np.int64), documents, side="right") - 1


def signatures_of(store: Store, shards: Sequence[GroupShard], documents: Documents) -> NDArray[np.uint16]:
    """Read the signatures of ascending `documents`: uint16 [documents, minima]."""
    owners = shards_of(documents, [shard.first for shard in shards])
    parts = []
    for owner in np.unique(owners):
        rows = documents[owners == owner] - shards[owner].first
        parts.append(np.load(store.path(f"{shards[owner].folder}/{SIGNATURES}"), mmap_mode="r")[rows])
    return np.concatenate(parts)
