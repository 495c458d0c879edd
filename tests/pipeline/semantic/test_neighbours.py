"""Which vectors are similar, connected and kept: against every pair, spelled out in Python's whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mixproof.pipeline.clusters.embed import directions
from mixproof.pipeline.dedup.edges import Pairs, forest
from mixproof.pipeline.group import Documents
from mixproof.pipeline.semantic import keepers, neighbours
from mixproof.pipeline.semantic.assignment import nearest_cells, records_of
from mixproof.pipeline.semantic.cell_ranges import CellRanges
from mixproof.pipeline.semantic.centroids import MOST_CELLS, ONE_CELL, cell_count
from mixproof.pipeline.semantic.documents import Block, cosines
from mixproof.pipeline.semantic.vectors import LENGTH
from mixproof.pipeline.shuffle.gather import bounds_of

Vectors = NDArray[np.int16]
FEW = st.lists(st.tuples(*[st.integers(-2, 2)] * 3).filter(any), min_size=2, max_size=24)
"""Few directions in three dimensions, so that there are copies, neighbours and chains."""


def vectors_of(rows: list[tuple[int, ...]]) -> Vectors:
    return directions(np.array(rows, np.float64), LENGTH).astype(np.int16)


def load_from(vectors: Vectors) -> Callable[[Documents], Vectors]:
    def load(documents: Documents) -> Vectors:
        assert np.all(documents[1:] > documents[:-1])
        return vectors[documents]

    return load


def is_similar(one: Vectors, other: Vectors, threshold: Fraction) -> bool:
    """By whole numbers alone: cosine² >= threshold², for a cosine above zero."""
    left, right = list[int](one.tolist()), list[int](other.tolist())
    product = sum(a * b for a, b in zip(left, right, strict=True))
    squares = sum(a * a for a in left) * sum(b * b for b in right)
    return product > 0 and product * product >= threshold * threshold * squares


def pairs_of(vectors: Vectors, threshold: Fraction) -> Pairs:
    found = [
        (one, two)
        for two in range(len(vectors))
        for one in range(two)
        if is_similar(vectors[one], vectors[two], threshold)
    ]
    return np.array(found, np.int64).reshape(-1, 2)


def trees_of(pairs: Pairs) -> Pairs:
    trees = forest(pairs)
    return trees[np.lexsort((trees[:, 1], trees[:, 0]))]


THRESHOLDS = st.sampled_from([Fraction(1, 2), Fraction(8, 10), Fraction(95, 100), Fraction(1)])


@settings(max_examples=25, deadline=None)
@given(FEW, THRESHOLDS, st.integers(1, 9))
def test_blocks_of_any_size_connect_what_all_pairs_connect(
    rows: list[tuple[int, ...]], threshold: Fraction, block: int
) -> None:
    vectors = vectors_of(rows)
    documents = np.arange(len(vectors)) * 3 + 1
    found = neighbours.neighbours(documents, load_from(np.repeat(vectors, 3, axis=0)), float(threshold), block)
    expected = documents[trees_of(pairs_of(vectors, threshold))]
    assert trees_of(found).tolist() == expected.tolist()


@settings(max_examples=25, deadline=None)
@given(FEW, THRESHOLDS, st.integers(1, 7), st.integers(0, 3))
def test_who_stays_is_the_same_in_blocks_of_any_size_and_as_the_rule_says(
    rows: list[tuple[int, ...]], threshold: Fraction, block: int, small: int
) -> None:
    vectors = vectors_of(rows)
    trees = trees_of(pairs_of(vectors, threshold))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keepers, "BLOCK", block)
        patch.setattr(keepers, "SMALL", small)
        found = keepers.losers_of(trees, load_from(vectors), float(threshold))
    stay: list[int] = []
    expected = []
    for document in range(len(vectors)):
        similar = [other for other in stay if is_similar(vectors[document], vectors[other], threshold)]
        if similar:
            expected.append([document, similar[0]])
        else:
            stay.append(document)
    assert found.tolist() == expected


def test_products_are_exact_so_blocks_agree_with_cosines_up_to_the_last_bit() -> None:
    random = np.random.default_rng(0)
    base = random.standard_normal((40, 256))
    rows = np.concatenate([base, base + 0.3 * random.standard_normal((40, 256))])
    vectors = directions(np.rint(rows * 1000), LENGTH).astype(np.int16)
    one, two = np.triu_indices(80, 1)
    exact = cosines(vectors[one], vectors[two])
    for threshold in (*exact[np.argsort(exact)[-40:]].tolist(), 0.95):  # each is the cosine of a pair itself
        similar = Block(vectors).similar(Block(vectors), threshold)
        assert np.array_equal(similar[one, two], exact >= threshold)


def test_products_do_not_depend_on_the_number_of_blas_threads() -> None:
    vectors = directions(np.rint(np.random.default_rng(0).standard_normal((300, 256)) * 1000), LENGTH)
    exact = vectors.astype(np.int64) @ vectors.astype(np.int64).T
    for threads in (1, 2):
        with threadpool_limits(threads):
            assert np.array_equal(vectors.astype(np.float32) @ vectors.astype(np.float32).T, exact)


def test_fifty_thousand_equal_vectors_take_one_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Block] = []
    similar = Block.similar

    def counted(block: Block, other: Block, threshold: float) -> NDArray[np.bool_]:
        compared.append(block)
        return similar(block, other, threshold)

    monkeypatch.setattr(Block, "similar", counted)
    vectors = np.repeat(vectors_of([(1, 2, 3), (3, -1, 0)]), 25_000, axis=0)
    found = neighbours.neighbours(np.arange(50_000), load_from(vectors), 0.95)
    assert len(compared) == 1
    assert len(found) == 49_998 and {0, 25_000} == set(found[:, 0].tolist())


def test_a_document_is_in_its_nearest_cells_and_a_zero_vector_in_none() -> None:
    centroids = vectors_of([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)])
    vectors = np.concatenate([vectors_of([(3, 1, 0), (0, 0, 2)]), np.zeros((1, 3), np.int16)])
    cells, rows = records_of(vectors, centroids)
    assert list(zip(cells.tolist(), rows.tolist(), strict=True)) == [(0, 0), (3, 0), (1, 0), (2, 1), (0, 1), (1, 1)]
    cells, rows = records_of(vectors, np.zeros((0, 0), np.int16))
    assert (cells.tolist(), rows.tolist()) == ([0, 0], [0, 1])  # one cell holds all
    assert nearest_cells(np.array([[1, 5, 5]], np.float32), 2).tolist() == [[1], [2]]


def test_cells_are_one_up_to_a_limit_and_then_grow_with_the_root_of_the_documents() -> None:
    assert [cell_count(documents) for documents in (0, ONE_CELL, ONE_CELL + 1, 10**6, 10**10)] == [
        1,
        1,
        181,
        1414,
        MOST_CELLS,
    ]


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(1, 60))
def test_the_first_bits_of_a_cells_hash_are_the_number_of_its_range(cells: int, count: int) -> None:
    ranges = CellRanges(cells, min(cells, count))
    hashes = ranges.hashes().tolist()
    for number in range(ranges.partitions):
        low, high = bounds_of(number, ranges.partitions)
        bounds = (min(each, ranges.count) * cells // ranges.count for each in (number, number + 1))
        assert [cell for cell in range(cells) if low <= hashes[cell] < high] == list(range(*bounds))
    assert hashes == sorted(set(hashes))
