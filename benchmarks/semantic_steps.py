"""CPU time of the two costly steps of semantic deduplication at full size, per document, on random vectors.

    python benchmarks/semantic_steps.py [--fine 12 119] [--cell 6144]

A document is compared with 4,096 coarse centroids, then with the fine ones of the nearest 16, of which `--fine` are in
each coarse cell: 12 with a hundred million documents, 119 with a billion. It is compared with the other documents of
three cells, which have 6,144 each on average. Cells differ in size, so documents are compared with about twice as many.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.clusters.embed import UNIT, directions
from mixproof.pipeline.semantic.assignment import PROBES
from mixproof.pipeline.semantic.centroids import MOST_CELLS
from mixproof.pipeline.semantic.documents import held_rows
from mixproof.pipeline.semantic.nearest import BEAM, FineCells, nearest, nearest_fine
from mixproof.pipeline.semantic.neighbours import neighbours
from mixproof.pipeline.semantic.vectors import LENGTH

DOCUMENTS = 1 << 15
DIMENSIONS = 256
DIFFERENT = 1 << 15
"""Fine centroids that differ; the others repeat them."""


def vectors_of(number: int, length: int) -> NDArray[np.int16]:
    """Random directions."""
    random = np.random.default_rng(number)
    return directions(np.rint(1000 * random.standard_normal((number, DIMENSIONS))), length).astype(np.int16)


def microseconds(step: Callable[[], object], documents: int) -> float:
    """CPU time of a step for each of its documents."""
    start = time.process_time()
    step()
    return (time.process_time() - start) / documents * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fine", type=int, nargs="+", default=[12, 119])
    parser.add_argument("--cell", type=int, default=6144)
    asked = parser.parse_args()
    documents, coarse = vectors_of(DOCUMENTS, LENGTH), vectors_of(MOST_CELLS, UNIT)
    beam = nearest(documents, coarse, BEAM)
    taken = microseconds(partial(nearest, documents, coarse, BEAM), DOCUMENTS)
    print(f"{MOST_CELLS:,} coarse centroids: {taken:.0f} us a document")
    different = vectors_of(DIFFERENT, UNIT)
    for each in asked.fine:
        fine = FineCells(np.resize(different, (MOST_CELLS * each, DIMENSIONS)), each * np.arange(MOST_CELLS + 1))
        taken = microseconds(partial(nearest_fine, documents, beam, fine, PROBES), DOCUMENTS)
        print(f"fine centroids of {BEAM} cells with {each}: {taken:.0f} us a document", flush=True)
    cell = vectors_of(asked.cell, LENGTH)
    members = np.arange(asked.cell)
    taken = PROBES * microseconds(partial(neighbours, members, held_rows(members, cell), 0.95), asked.cell)
    print(f"the documents of {PROBES} cells with {asked.cell:,}: {taken:.0f} us a document")


if __name__ == "__main__":
    main()
