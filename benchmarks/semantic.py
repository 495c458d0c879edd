"""Semantic deduplication of made-up embeddings with planted twins: CPU seconds, memory, recall of brute force.

    python benchmarks/semantic.py [--documents 1000000] [--dimensions 256] [--threshold 0.95] [--checked 4000]
        [--shards 8] [--ranges N] [--direct | --regroup] [--most-cells N [--undivided]] [--task-pairs N] [--s3]

Documents are in topics of very different sizes (Zipf) around random centres; two of a topic have a cosine of about 0.5.
One in ten is a twin: an earlier document with noise, at a cosine that is uniform between 0.9 and 1. The vectors are
written as the stage `embeddings` writes them, and every later stage of a build runs in this process. `--ranges`,
`--direct`, `--regroup`, `--s3` and the table are those of `signatures.py`.

`--most-cells N` shows the growth above 8 million documents with fewer of them: coarse cells are N instead of 4,096, and
are divided as soon as there are N * N / 2 documents. `--undivided` leaves them whole. `--task-pairs N` makes large
cells of smaller ones.

For recall, `--checked` documents are compared with all others by float64 products. A pair at or above the threshold is
caught if not both documents stay; so is a planted pair. All dropped documents are compared with their keepers as well.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import read_bitmap
from mixproof.pipeline.clusters.embed import directions
from mixproof.pipeline.clusters.token_table import TableFiles
from mixproof.pipeline.dedup.keepers import LOSERS
from mixproof.pipeline.read.shard_output import HASH_DTYPE
from mixproof.pipeline.read.shards import HASHES, Shard
from mixproof.pipeline.semantic import cell_ranges, centroids, fine_cells, large_cells
from mixproof.pipeline.semantic.assignment import PROBES
from mixproof.pipeline.semantic.search import Found, GroupSearch
from mixproof.pipeline.semantic.vectors import COMPARED, LENGTH, STAGE, VECTORS, Embedding, key_of
from mixproof.pipeline.shuffle import plan
from signatures import COLUMNS, Measured, counted_requests, digest_of

BLOCK = 125_000
TOPICS = 3000
PLANTED = 0.1


class MadeUp(TableFiles):
    """A token table that no file has."""

    dimensions = 256


def made_up(documents: int, dimensions: int) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Vectors of whole numbers, int16 [documents, dimensions], and the planted pairs, int64 [pairs, 2]."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((TOPICS, dimensions), np.float32)
    shares = 1 / np.arange(1, TOPICS + 1)
    topics = random.choice(TOPICS, documents, p=shares / shares.sum())
    twin_of = np.where(random.random(documents) < PLANTED, random.random(documents) * np.arange(documents), -1)
    twin_of = np.trunc(twin_of).astype(np.int64)
    found = np.empty((documents, dimensions), np.int16)
    for first in range(0, documents, BLOCK):
        part = slice(first, min(first + BLOCK, documents))
        noise = random.standard_normal((part.stop - first, dimensions), np.float32)
        found[part] = directions((1000 * (centres[topics[part]] + noise)).round().astype(np.float64), LENGTH)
        for twin in first + np.flatnonzero(twin_of[part] >= 0):
            cosine = random.uniform(0.9, 1)
            other = found[twin_of[twin]].astype(np.float64)
            away = random.standard_normal(dimensions)
            away -= other * (away @ other) / (other @ other)
            scale = np.sqrt(1 / cosine**2 - 1) * np.linalg.norm(other) / np.linalg.norm(away)
            found[twin] = directions(np.rint(100 * (other + scale * away))[None], LENGTH)[0]
    twins = np.flatnonzero(twin_of >= 0)
    return found, np.column_stack([twin_of[twins], twins])


def save(store: Store, vectors: NDArray[np.int16], embedding: Embedding, shards: int) -> list[Shard]:
    """Write vectors as shards that were embedded."""
    random = np.random.default_rng(2)
    found = []
    for number, part in enumerate(np.array_split(vectors, shards)):
        shard = Shard("made_up", f"{number}.jsonl", 0, len(part), f"read/{number}", len(part), 0, str(number))
        hashes = np.zeros(len(part), HASH_DTYPE)
        hashes["high"], hashes["row"] = random.integers(0, 2**63, len(part)) * 2, np.arange(len(part))
        hashes["bytes"] = 1000
        with store.attempt("read", str(number)) as attempt:
            np.save(attempt.path(HASHES), hashes[np.argsort(hashes["high"])])
            attempt.commit()
        with store.attempt(STAGE, key_of(shard, embedding)) as attempt:
            for name, values in ((VECTORS, part), (COMPARED, np.ones(len(part), np.bool_))):
                with attempt.path(name).open("wb") as file:
                    np.save(file, values)
            attempt.commit()
        found.append(shard)
    return found


def cosines_of(vectors: NDArray[np.int16], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """The cosine of each pair by floats: float64 [pairs]."""
    found = np.empty(len(pairs))
    for first in range(0, len(pairs), BLOCK):
        part = slice(first, first + BLOCK)
        one, two = (vectors[pairs[part, side]].astype(np.float64) for side in (0, 1))
        found[part] = (one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    return found


def recall(vectors: NDArray[np.int16], stays: NDArray[np.bool_], threshold: float, checked: int) -> tuple[int, int]:
    """Pairs at or above the threshold of the first `checked` twins and others, and how many are caught."""
    chosen = np.random.default_rng(3).permutation(len(vectors))[:checked]
    lengths = np.linalg.norm(vectors[chosen].astype(np.float64), axis=1)
    ours = vectors[chosen].astype(np.float64) / lengths[:, None]
    pairs = caught = 0
    for first in range(0, len(vectors), 20_000):
        block = vectors[first : first + 20_000].astype(np.float64)
        block /= np.linalg.norm(block, axis=1)[:, None]
        one, two = np.nonzero(ours @ block.T >= threshold)
        other = first + two
        one, other = chosen[one][chosen[one] != other], other[chosen[one] != other]
        pairs += len(one)
        caught += int((~stays[one] | ~stays[other]).sum())
    return pairs, caught


def set_limits(asked: argparse.Namespace) -> None:
    """Set the limits of the stages as the command line says."""
    if asked.ranges:
        cell_ranges.RANGE_RECORDS = -(-PROBES * asked.documents // asked.ranges)
    if asked.direct or asked.regroup:
        plan.MOST_OPENINGS = sys.maxsize if asked.direct else 0
    if asked.most_cells:
        centroids.MOST_CELLS = asked.most_cells
        fine_cells.FINE_CELL = asked.most_cells // 2
        fine_cells.FEW = sys.maxsize if asked.undivided else asked.most_cells**2 // 2
    if asked.task_pairs:
        large_cells.TASK_PAIRS = asked.task_pairs
        large_cells.BLOCK_DOCUMENTS = math.isqrt(asked.task_pairs // 2)
    MadeUp.dimensions = asked.dimensions


def searched(store: Store, shards: list[Shard], embedding: Embedding, threshold: Fraction, cluster: Measured) -> Found:
    """Run the search and print what it took."""
    begin, wall = time.process_time(), time.monotonic()
    search = GroupSearch(tuple(shards), (None,) * len(shards), store, cluster)
    with cluster.measured("(driver)"):
        found = search.run(embedding, threshold)
    seconds, wall = time.process_time() - begin, time.monotonic() - wall
    cluster.show_all()
    used = cluster.used.values()
    opened, requests = sum(each.opened for each in used), sum(each.requests for each in used)
    documents = sum(shard.documents for shard in shards)
    print(
        f"{seconds:.0f} CPU s, {seconds / documents * 1e6:.0f} us a document, {wall:.0f} s, peak "
        f"{max(each.peak for each in used) / 1e9:.2f} GB; {opened:,} files opened, {requests:,} requests; "
        f"load {os.getloadavg()[0]:.1f}\nbitmaps: {digest_of(found.result)}"
    )
    return found


def show_recall(
    store: Store, shards: list[Shard], found: Found, planted: NDArray[np.int64], asked: argparse.Namespace
) -> None:
    """Print how many planted and other pairs are caught, and the cosines of dropped documents."""
    vectors = np.concatenate([_vectors(store, path) for path in found.vectors])
    stays = np.concatenate(
        [read_bitmap(store, keep, shard.documents) for keep, shard in zip(found.result.keep, shards, strict=True)]
    )
    losers = _losers(store, found.result.losers)
    cosines = cosines_of(vectors, losers)
    gone = int((~stays[losers[:, 1]]).sum())
    print(f"{len(losers):,} dropped, smallest cosine with the keeper {cosines.min():.4f}; dropped keepers: {gone}")
    near = planted[cosines_of(vectors, planted) >= float(asked.threshold)]
    caught = int((~stays[near]).any(axis=1).sum())
    print(f"planted pairs: {caught:,} of {len(near):,}, {caught / max(1, len(near)):.4f}")
    pairs, caught = recall(vectors, stays, float(asked.threshold), asked.checked)
    print(f"recall of brute force: {caught:,} of {pairs:,} pairs, {caught / max(1, pairs):.4f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--threshold", type=Fraction, default=Fraction("0.95"))
    parser.add_argument("--checked", type=int, default=4000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--ranges", type=int, help="of cells")
    parser.add_argument("--most-cells", type=int)
    parser.add_argument("--undivided", action="store_true")
    parser.add_argument("--task-pairs", type=int)
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--regroup", action="store_true")
    parser.add_argument("--s3", action="store_true")
    asked = parser.parse_args()
    set_limits(asked)
    embedding = Embedding(MadeUp("", "", "made up"), 2000, 200, (3, 1))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        cluster = Measured(Path(folder))
        os.environ["MIXPROOF_CACHE"] = f"{folder}/copies"
        store = Store(stack.enter_context(counted_requests(cluster)) if asked.s3 else folder)
        vectors, planted = made_up(asked.documents, asked.dimensions)
        with cluster.measured("(written)"):
            shards = save(store, vectors, embedding, asked.shards)
        del vectors
        if asked.s3:  # another node, which has no copies
            os.environ["MIXPROOF_CACHE"] = f"{folder}/node"
            store = Store(str(store))
        cluster.used.clear()
        print(f"{asked.documents:,} vectors in {asked.shards} shards, load {os.getloadavg()[0]:.1f}\n{COLUMNS}")
        found = searched(store, shards, embedding, asked.threshold, cluster)
        if asked.checked:
            show_recall(store, shards, found, planted, asked)


def _vectors(store: Store, folder: str) -> NDArray[np.int16]:
    found: NDArray[np.int16] = np.load(store.path(f"{folder}/{VECTORS}"))
    return found


def _losers(store: Store, paths: Any) -> NDArray[np.int64]:  # noqa: ANN401
    files = sorted({path for of_shard in paths.values() for path in of_shard})
    assert all(path.endswith(LOSERS) for path in files)
    return np.concatenate([np.load(store.path(path)) for path in files])


if __name__ == "__main__":
    main()
