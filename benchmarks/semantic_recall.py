"""Recall of the cells of semantic deduplication: how many pairs of near documents share a cell as cells grow in number.

    python benchmarks/semantic_recall.py [FOLDER] [--vectors 500000] [--coarse 1024] [--pairs 12000] [--threshold 0.95]

Vectors are those of `semantic.py`, or, with FOLDER, of pieces of 600 characters of its texts. They stand for the sample
by which a corpus 128 times as large is divided: fine cells have 16 of them. A twin of a made-up vector is planted as in
`semantic.py`; one of a piece of text is the piece without 1% to 30% of its words. Counted are pairs with a cosine of at
least `--threshold` whose documents share one of their cells: coarse ones alone, then fine ones among those of the 2 to
16 nearest coarse cells, and of all.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from growth import documents_of
from mixproof.pipeline.clusters.find_embedding import find_static
from mixproof.pipeline.clusters.kmeans import spherical_kmeans
from mixproof.pipeline.semantic.assignment import PROBES
from mixproof.pipeline.semantic.centroids import SAMPLE_PER_CELL
from mixproof.pipeline.semantic.documents import cosines
from mixproof.pipeline.semantic.fine_cells import fine_centroids
from mixproof.pipeline.semantic.nearest import FineCells, nearest, nearest_fine
from mixproof.pipeline.semantic.vectors import Embedding
from semantic import made_up

Vectors = NDArray[np.int16]
PIECE_CHARS = 600
BATCH = 5000


def made_up_pairs(asked: argparse.Namespace) -> tuple[Vectors, Vectors, Vectors]:
    """Made-up vectors, and both sides of planted pairs."""
    vectors, planted = made_up(asked.vectors, 256)
    some = planted[np.random.default_rng(0).permutation(len(planted))[: asked.pairs]]
    return vectors, vectors[some[:, 0]], vectors[some[:, 1]]


def pairs_of_text(asked: argparse.Namespace) -> tuple[Vectors, Vectors, Vectors]:
    """Vectors of pieces of text, and both sides of pairs of which one lacks words."""
    random = np.random.default_rng(0)
    embedding = Embedding(find_static(None), 2000, 200, (3, 1))
    texts = documents_of(asked.folder, asked.vectors * PIECE_CHARS / 1e6, PIECE_CHARS)
    vectors = embedded(embedding, texts)
    chosen = np.flatnonzero(vectors.any(axis=1))[: asked.pairs]
    edited = []
    for text in (texts[each] for each in chosen.tolist()):
        share = random.uniform(0.01, 0.3)
        edited.append(" ".join(word for word in text.split(" ") if random.random() > share))
    twins = embedded(embedding, edited)
    compared = twins.any(axis=1)
    return vectors[vectors.any(axis=1)], vectors[chosen[compared]], twins[compared]


def embedded(embedding: Embedding, texts: list[str]) -> Vectors:
    """The vectors of texts, some at a time."""
    parts = [embedding.vectors(texts[first : first + BATCH]) for first in range(0, len(texts), BATCH)]
    return np.concatenate(parts)


def divided(vectors: Vectors, coarse: NDArray[np.int16]) -> FineCells:
    """The fine cells of coarse ones."""
    owner = nearest(vectors, coarse, 1)[0]
    order = np.argsort(owner, kind="stable")
    ends = np.searchsorted(owner[order], np.arange(len(coarse) + 1)).tolist()
    found = [
        fine_centroids(vectors[order[start:end]]) if end > start else coarse[cell : cell + 1]
        for cell, (start, end) in enumerate(pairwise(ends))
    ]
    return FineCells(np.concatenate(found), np.append(0, np.cumsum([*map(len, found)])))


def share(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """The share of pairs that have a cell in common; cells are int64 [cells, documents]."""
    return float((one[:, None] == other[None]).any(axis=(0, 1)).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--vectors", type=int, default=500_000)
    parser.add_argument("--coarse", type=int, default=1024)
    parser.add_argument("--pairs", type=int, default=12_000)
    parser.add_argument("--threshold", type=float, default=0.95)
    asked = parser.parse_args()
    vectors, one, other = made_up_pairs(asked) if asked.folder is None else pairs_of_text(asked)
    is_near = cosines(one, other) >= asked.threshold
    one, other = one[is_near], other[is_near]
    start = time.process_time()
    some = vectors[: SAMPLE_PER_CELL * asked.coarse]
    coarse = spherical_kmeans(some, np.ones(len(some), np.int64), asked.coarse)
    fine = divided(vectors, coarse)
    seconds = time.process_time() - start
    print(f"{len(vectors):,} vectors, {len(one):,} pairs; cells found in {seconds:.0f} CPU s", flush=True)
    print(f"{len(coarse):,} coarse cells: {share(nearest(one, coarse, PROBES), nearest(other, coarse, PROBES)):.4f}")
    for beam in (2, 4, 8, 16, len(coarse)):
        cells = [nearest_fine(each, nearest(each, coarse, beam), fine, PROBES) for each in (one, other)]
        print(f"{len(fine.centroids):,} fine cells, of {beam:,} coarse ones: {share(*cells):.4f}", flush=True)


if __name__ == "__main__":
    main()
