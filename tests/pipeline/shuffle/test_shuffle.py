"""Shuffles: the records of a range are those of all shards in their order, however they were regrouped."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from in_process import InProcess
from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Store
from mixproof.pipeline.shuffle import gather, merge, plan
from mixproof.pipeline.shuffle.gather import Between, records_between
from mixproof.pipeline.shuffle.plan import Level, gathered, levels
from mixproof.pipeline.shuffle.shuffle import Ranges, Shuffle, Table

DTYPE = np.dtype([("hash", "<u8"), ("shard", "<i4"), ("row", "<i4")])


def open_shard(_: Store, shard: tuple[int, tuple[int, ...]]) -> Between:
    index, hashes = shard
    table = np.array([(value, index, row) for row, value in enumerate(sorted(hashes))], dtype=DTYPE)
    return partial(_between, table)


def _between(table: NDArray[Any], low: int, high: int) -> NDArray[Any]:
    return table[[low <= int(value) < high for value in table["hash"]]]


def shuffled(store: Store, shards: list[tuple[int, ...]], ranges: int) -> Ranges:
    with InProcess() as cluster:
        members = list(enumerate(shards))
        records = [len(shard) for shard in shards]
        return Shuffle("made", "made", store, cluster).by_range(
            "shards", Table(open_shard, DTYPE), members, records, ranges
        )


def test_shards_are_gathered_up_to_a_number_of_records_and_of_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "RUN_RECORDS", 10)
    monkeypatch.setattr(plan, "RUN_SHARDS", 3)
    assert gathered([4, 6, 1, 1, 1, 1, 12, 2]) == [(0, 2), (2, 5), (5, 6), (6, 7), (7, 8)]


def test_runs_keep_their_size_and_levels_grow_by_the_logarithm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "FAN_IN", 4)
    monkeypatch.setattr(plan, "RUN_BYTES", 100)
    assert levels(4, 64, 400) == []
    assert levels(5, 64, 500) == [Level(2, 4)]
    assert levels(64, 64, 6400) == [Level(16, 4), Level(4, 16)]
    assert levels(64, 8, 6400) == [Level(16, 4), Level(4, 8)]  # no more segments than partitions
    assert levels(64, 64, 640) == [Level(16, 1), Level(4, 2)]  # small runs grow first
    assert Level(4, 16).bounds(3, 64) == (12, 16)


def test_few_shards_are_not_regrouped(tmp_path: Any) -> None:  # noqa: ANN401
    store = Store(tmp_path)
    assert not shuffled(store, [(1, 2), (2,)], 4).is_shuffled
    assert store.keys("made") == []


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=9).map(tuple), min_size=1, max_size=9),
    st.sampled_from([1, 2, 4, 16]),
    st.sampled_from([1, 3, 128]),
    st.sampled_from([2, 4, 1024]),
)
def test_a_range_has_the_records_of_all_shards_in_their_order(
    shards: list[tuple[int, ...]], ranges: int, run_shards: int, fan_in: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        for module, name, value in (
            (plan, "MOST_OPENINGS", 0),
            (plan, "RUN_SHARDS", run_shards),
            (plan, "FAN_IN", fan_in),
            (plan, "RUN_BYTES", 100),
            (gather, "BLOCK_RECORDS", 4),
            (merge, "MERGE_BYTES", 64),
        ):
            patch.setattr(module, name, value)
        store = Store(folder)
        found = shuffled(store, shards, ranges)
        assert found.is_shuffled
        for number in range(ranges):
            direct = records_between(store, open_shard, list(enumerate(shards)), number, ranges)
            assert found.read(store, number).tolist() == direct.tolist()


def test_a_flipped_bit_in_a_run_is_found_when_its_partition_is_read(
    tmp_path: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "MOST_OPENINGS", 0)
    store = Store(tmp_path)
    found = shuffled(store, [(1, 2**63)], 2)
    (path,) = tmp_path.glob("made/*/records.bin")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert found.read(store, 0).tolist() == [(1, 0, 0)]
    with pytest.raises(DamagedFileError, match="do not match the checksum in index.bin"):
        found.read(store, 1)
