"""Which vectors are similar, connected and kept: against every pair, spelled out in Python's whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mixproof.pipeline.clusters.embed import directions
from mixproof.pipeline.dedup.edges import Pairs, forest
from mixproof.pipeline.group import Documents
from mixproof.pipeline.semantic import fine_cells, keepers, large_cells, neighbours
from mixproof.pipeline.semantic.assignment import records_of
from mixproof.pipeline.semantic.cell_ranges import CellRanges
from mixproof.pipeline.semantic.centroids import MOST_CELLS, ONE_CELL, cell_count
from mixproof.pipeline.semantic.documents import Block, cosines
from mixproof.pipeline.semantic.nearest import FineCells, largest, nearest, nearest_fine
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
@given(FEW, THRESHOLDS, st.integers(1, 9), st.integers(1, 3))
def test_a_cell_that_is_divided_among_tasks_is_connected_as_if_it_were_whole(
    rows: list[tuple[int, ...]], threshold: Fraction, size: int, block: int
) -> None:
    vectors, load = vectors_of(rows), load_from(vectors_of(rows))
    parts = np.array_split(np.arange(len(vectors)), range(size, len(vectors), size))
    found = [neighbours.neighbours(part, load, float(threshold), block) for part in parts]
    found += [
        neighbours.neighbours_between(one, other, load, float(threshold), block)
        for one, other in combinations(parts, 2)
    ]
    assert trees_of(np.concatenate(found)).tolist() == trees_of(pairs_of(vectors, threshold)).tolist()


def test_the_largest_cells_of_a_range_are_taken_out_until_one_task_can_compare_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = [np.arange(size) for size in (3, 9, 4, 6, 2)]  # 3, 36, 6, 15 and 1 pairs
    for pairs, taken in ((61, []), (60, [9]), (25, [9]), (24, [9, 6]), (9, [9, 4, 6]), (0, [3, 9, 4, 6, 2])):
        monkeypatch.setattr(large_cells, "TASK_PAIRS", pairs)
        ordinary, large = large_cells.divided(cells)
        assert [len(each) for each in large] == taken
        assert sorted([*map(len, ordinary), *map(len, large)]) == [2, 3, 4, 6, 9]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Block]:
    """The blocks that are compared with one, in order."""
    blocks: list[Block] = []
    similar = Block.similar

    def counted(block: Block, other: Block, threshold: float) -> NDArray[np.bool_]:
        blocks.append(other)
        return similar(block, other, threshold)

    monkeypatch.setattr(Block, "similar", counted)
    return blocks


def test_documents_that_are_all_alike_are_multiplied_once_for_each_block(
    compared: list[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "PENDING", 0)
    vectors = vectors_of([(100, number, 1) for number in range(20)])
    found = neighbours.neighbours(np.arange(20), load_from(vectors), 0.5, 2)
    assert len(compared) == 10  # of 55 pairs of blocks: the first with each
    assert found.tolist() == [[0, number] for number in range(1, 20)]


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


def test_fifty_thousand_equal_vectors_take_one_comparison(compared: list[Block]) -> None:
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
    assert [each.tolist() for each in largest(np.array([[1, 5, 5]], np.float32), 2)] == [[[1], [2]], [[5], [5]]]


@settings(max_examples=25)
@given(FEW, FEW, st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 4))
def test_fine_cells_of_all_coarse_cells_are_searched_as_if_there_were_no_coarse_ones(
    rows: list[tuple[int, ...]], centroids: list[tuple[int, ...]], sizes: list[int], number: int
) -> None:
    vectors, fine = vectors_of(rows), vectors_of((centroids * sum(sizes))[: sum(sizes)])  # with ties
    cells = FineCells(fine, np.append(0, np.cumsum(sizes)))
    every = np.repeat(np.arange(len(sizes))[:, None], len(vectors), axis=1)
    found = nearest_fine(vectors, every, cells, number)
    expected = nearest(vectors, fine, number)
    assert found[: len(expected)].tolist() == expected.tolist()
    assert (found[len(expected) :] == -1).all()
    one = nearest_fine(vectors, every[-1:], cells, number)[0]
    last = nearest(vectors, fine[-sizes[-1] :], 1)[0] + sum(sizes[:-1])
    assert one.tolist() == last.tolist()


def test_a_coarse_cell_is_divided_into_one_fine_cell_for_so_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points = directions(np.rint(np.random.default_rng(0).standard_normal((900, 8)) * 1000), LENGTH).astype(np.int16)
    found = [fine_cells.fine_centroids(points[:size]) for size in (1, 16, 17, 160)]
    assert [len(each) for each in found] == [1, 1, 2, 10]
    whole = fine_cells.fine_centroids(points)
    monkeypatch.setattr(fine_cells, "MOST_AT_ONCE", 10)
    steps = fine_cells.fine_centroids(points)
    assert len(whole) == 57 and 57 <= len(steps) < 57 + 7  # in 7 groups, each of which rounds up
    near = [(points.astype(np.int64) @ each.T).max(axis=1).mean() for each in (whole, steps)]
    assert near[1] > 0.97 * near[0]
    assert len(fine_cells.fine_centroids(np.repeat(points[:1], 500, axis=0))) == 1


def test_the_sample_of_fine_cells_grows_with_the_documents_and_so_do_its_tasks() -> None:
    assert fine_cells.sample_bound() == 2**64 // 128
    assert fine_cells.FEW == 8_388_608 == fine_cells.FINE_CELL * MOST_CELLS
    counts = [(fine_cells.fine_cell_count(size), fine_cells.partition_count(size)) for size in (10**6, 10**7, 10**9)]
    assert counts == [(1414, 1), (4882, 2), (488_281, 128)]


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
