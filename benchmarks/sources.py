"""Clusters of a corpus whose domains are known: speed, agreement with the domains, balance. And scores of fastText.

    python benchmarks/sources.py FOLDER [FOLDER ...] [--embedding FOLDER] [--numbers 11 20] [--samples 20000]
    python benchmarks/sources.py FOLDER FOLDER [FOLDER ...] --fasttext BINARY [--megabytes 20]

Each FOLDER is one domain (JSON lines, Parquet, text; gzip and zstd). Documents are embedded as a build embeds them, in
one process; the rate is megabytes of the text that is looked at (the first 2,000 characters of each document) for each
CPU second. Clusters are found on the documents with the smallest text hashes, and every document is assigned. Reported
are the normalized mutual information of clusters and domains (arithmetic mean, over documents), and the largest cluster
as a multiple of the mean, in bytes.

With `--fasttext` a model is trained on the first FOLDER against the second, and texts are scored in turns by fastText's
command line, given as BINARY, and as a build scores them: megabytes for each CPU second, without loading the model.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from dedup import texts_of
from mixproof.mixtures.blocks.labels import Clusters
from mixproof.pipeline.classifiers.fasttext_file import sha256_of_model
from mixproof.pipeline.classifiers.fasttext_format import POSITIVE
from mixproof.pipeline.classifiers.fasttext_scoring import label_scores
from mixproof.pipeline.classifiers.fasttext_training import train_fasttext
from mixproof.pipeline.clusters.cluster_texts import BATCH, cluster_texts
from mixproof.pipeline.clusters.embed import embed
from mixproof.pipeline.clusters.kmeans import nearest
from mixproof.pipeline.clusters.token_table import TableFiles, find_table

CHARS = 2000
EXAMPLES = 2000
"""Texts of each side that the model is trained on."""
ROUNDS = 5


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


def compare_scoring(sides: Sequence[Sequence[str]], binary: Path, megabytes: int) -> None:
    """Score texts in turns by the command line of fastText and as a build does."""
    texts, size = [], 0
    for text in (text for side in sides for text in side):
        texts.append(text)
        size += len(text.encode())
        if size > megabytes * 1e6:
            break
    given = [text[:CHARS] for text in (*sides[0][:EXAMPLES], *sides[1][-EXAMPLES:])]
    first = min(EXAMPLES, len(sides[0]))
    with tempfile.TemporaryDirectory() as folder:
        model, lines, none = (Path(folder) / name for name in ("model.bin", "lines.txt", "none.txt"))
        model.write_bytes(train_fasttext(given, np.arange(len(given)) < first))
        lines.write_text("\n".join(" ".join(text.split("\n")) for text in texts) + "\n")
        none.write_text("")
        score = label_scores(str(model), sha256_of_model(str(model)), POSITIVE)
        score(texts[:1])
        ratios = []
        for _ in range(ROUNDS):
            other = _seconds_of(binary, model, lines) - _seconds_of(binary, model, none)
            start = time.process_time()
            score(texts)
            own = time.process_time() - start
            ratios.append(other / own)
            print(
                f"scoring: {size / 1e6 / own:.1f} MB/s, fastText {size / 1e6 / other:.1f} MB/s, ratio {ratios[-1]:.2f}"
            )
        print(f"scoring: median ratio {np.median(ratios):.2f} over {size / 1e6:.0f} MB")


def _seconds_of(binary: Path, model: Path, lines: Path) -> float:
    """CPU seconds of fastText's command line."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(binary), "predict-prob", str(model), str(lines), "2"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--embedding", type=Path)
    parser.add_argument("--numbers", nargs="+", type=int, default=[11, 20])
    parser.add_argument("--samples", nargs="+", type=int, default=[20_000])
    parser.add_argument("--fasttext", type=Path)
    parser.add_argument("--megabytes", type=int, default=20)
    asked = parser.parse_args()
    if asked.fasttext is not None:
        compare_scoring([list(texts_of(folder)) for folder in asked.folders], asked.fasttext, asked.megabytes)
        return
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
