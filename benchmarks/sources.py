"""Clusters of a corpus whose domains are known: speed, agreement with the domains, and balance.

    python benchmarks/sources.py FOLDER [FOLDER ...] [--embedding FOLDER] [--numbers 11 20] [--samples 20000]

Each FOLDER is one domain (JSON lines, Parquet, text; gzip and zstd). Documents are embedded as a build embeds them, in
one process; the rate is megabytes of the text that is looked at (the first 2,000 characters of each document) for each
CPU second. Clusters are found on the documents with the smallest text hashes, and every document is assigned. Reported
are the normalized mutual information of clusters and domains (arithmetic mean, over documents), and the largest cluster
as a multiple of the mean, in bytes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from dedup import texts_of
from mixproof.mixtures.blocks.labels import Clusters
from mixproof.pipeline.clusters.cluster_texts import BATCH, cluster_texts
from mixproof.pipeline.clusters.embed import embed
from mixproof.pipeline.clusters.kmeans import nearest
from mixproof.pipeline.clusters.token_table import TableFiles, find_table

CHARS = 2000


def mutual_information(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Normalized mutual information of two groupings, by the arithmetic mean of their entropies."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    joint = table / table.sum()
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    used = joint > 0
    shared = (joint[used] * np.log(joint[used] / np.outer(rows, columns)[used])).sum()
    entropies = [-(share[share > 0] * np.log(share[share > 0])).sum() for share in (rows, columns)]
    return float(2 * shared / sum(entropies))


def embed_all(texts: list[str], table: TableFiles) -> tuple[NDArray[np.float64], float]:
    """The embeddings of all texts, and megabytes of looked-at text for each CPU second."""
    embed(texts[:1], table, CHARS)
    size = sum(len(text[:CHARS].encode()) for text in texts)
    start = time.process_time()
    batches = [embed(texts[first : first + BATCH], table, CHARS) for first in range(0, len(texts), BATCH)]
    return np.concatenate(batches).astype(np.float64), size / 1e6 / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--embedding", type=Path)
    parser.add_argument("--numbers", nargs="+", type=int, default=[11, 20])
    parser.add_argument("--samples", nargs="+", type=int, default=[20_000])
    asked = parser.parse_args()
    table = find_table(asked.embedding)
    named = [(number, text) for number, folder in enumerate(asked.folders) for text in texts_of(folder)]
    domains, texts = np.array([number for number, _ in named]), [text for _, text in named]
    sizes = np.array([len(text.encode()) for text in texts], np.int64)
    print(f"{len(texts):,} documents of {sizes.sum() / 1e6:.1f} MB in {len(asked.folders)} domains")
    vectors, rate = embed_all(texts, table)
    print(f"embedding: {rate:.1f} MB/s of looked-at text")
    order = np.argsort(np.array([xxhash.xxh3_128_intdigest(text.encode()) >> 64 for text in texts], np.uint64))
    for sample in asked.samples:
        chosen = order[:sample].tolist()
        for number in asked.numbers:
            start = time.process_time()
            ids = [str(index) for index in chosen]
            found = cluster_texts([texts[i] for i in chosen], ids, sizes[chosen], Clusters(number=number), table)
            seconds = time.process_time() - start
            own = np.array(found["cluster_of"])[nearest(vectors, np.array(found["centroids"], np.float64))]
            shares = np.bincount(own, sizes)
            print(
                f"sample {sample:,}, {number} clusters: NMI {mutual_information(domains, own):.3f}, largest "
                f"{shares.max() / shares.mean():.2f} times the mean, found in {seconds:.1f} s"
            )


if __name__ == "__main__":
    main()
