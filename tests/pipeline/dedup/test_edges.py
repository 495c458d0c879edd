"""Buckets and edges: by hand, and against all pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline.dedup import buckets, edges
from mixproof.pipeline.dedup.buckets import BAND_DTYPE, range_count
from mixproof.pipeline.dedup.edges import bucket_edges, forest
from mixproof.pipeline.group import Documents


def places(*values: int) -> Documents:
    return np.array(values, dtype=np.int64)


def test_an_edge_needs_enough_equal_minima() -> None:
    signatures = np.array([[1, 2, 3, 4], [1, 2, 3, 9], [1, 2, 8, 9]], dtype=np.uint16)
    found, compared = bucket_edges(places(0, 1, 2), places(3), signatures, agree=3)
    assert (found.tolist(), compared) == ([[0, 1], [1, 2]], 3)
    assert bucket_edges(places(0, 1, 2), places(3), signatures, agree=4)[0].tolist() == []
    assert bucket_edges(places(0, 1, 2), places(3), signatures, agree=2)[0].tolist() == [[0, 1], [0, 2], [1, 2]]


def test_a_pair_of_two_buckets_is_compared_once() -> None:
    signatures = np.array([[1, 2], [1, 2], [5, 6]], dtype=np.uint16)
    found, compared = bucket_edges(places(0, 1, 0, 1, 1, 2), places(2, 2, 2), signatures, agree=2)
    assert (found.tolist(), compared) == ([[0, 1]], 2)


def test_a_forest_hangs_every_document_on_the_smallest_it_is_connected_with() -> None:
    found = forest(np.array([[7, 9], [9, 3], [20, 10], [7, 3]], dtype=np.int64))
    assert sorted(found.tolist()) == [[3, 7], [3, 9], [10, 20]]
    assert forest(np.zeros((0, 2), dtype=np.int64)).shape == (0, 2)


def test_the_records_of_shards_are_sorted_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "PART_RECORDS", 3)
    one, two = [(2, 0), (5, 1), (5, 2), (900, 0)], [(5, 10), (7, 11), (2**64 - 1, 10)]
    parts = [
        (hashes.tolist(), documents.tolist())
        for hashes, documents in buckets.parts(np.array([*one, *two], dtype=BAND_DTYPE))
    ]
    assert parts == [([2, 5, 5, 5, 7, 900], [0, 1, 2, 10, 11, 0]), ([2**64 - 1], [10])]
    assert list(buckets.parts(np.array([], dtype=BAND_DTYPE))) == []


def test_ranges_double_until_a_task_holds_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [range_count(n) for n in (0, 4_000_000, 4_000_001, 17_000_000)] == [1, 1, 2, 8]


def test_very_large_buckets_are_taken_in_pieces_that_share_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "MAX_BUCKET", 4)
    hashes = np.array([1] * 3 + [2] + [5] * 8 + [9] * 4, dtype=np.uint64)
    starts, sizes = buckets.bucket_sizes(hashes)
    assert list(zip(starts.tolist(), sizes.tolist(), strict=True)) == [(0, 3), (4, 4), (7, 4), (10, 2), (12, 4)]


@given(
    st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=2, max_size=20),
    st.integers(1, 4),
    st.integers(1, 5),
    st.data(),
)
def test_buckets_of_any_size_connect_what_all_pairs_connect(
    signatures: list[tuple[int, ...]], agree: int, all_pairs: int, data: st.DataObject
) -> None:
    everyone = range(len(signatures))
    buckets = data.draw(st.lists(st.sets(st.sampled_from(everyone), min_size=2), min_size=1, max_size=3))
    expected = [
        pair
        for bucket in buckets
        for pair in combinations(sorted(bucket), 2)
        if sum(a == b for a, b in zip(signatures[pair[0]], signatures[pair[1]], strict=True)) >= agree
    ]
    members = places(*[one for bucket in buckets for one in sorted(bucket)])
    sizes = places(*map(len, buckets))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edges, "ALL_PAIRS", all_pairs)
        found, _ = bucket_edges(members, sizes, np.array(signatures, dtype=np.uint16), agree)
    wanted = np.array(expected, dtype=np.int64).reshape(-1, 2)
    assert sorted(forest(found).tolist()) == sorted(forest(wanted).tolist())
    assert {tuple(pair) for pair in found.tolist()} <= set(expected)
