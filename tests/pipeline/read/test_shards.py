"""The plan covers every byte of every file once and depends on nothing but files and the constant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.read.shards import ShardPlan, plan_shards


def jsonl(size: int, name: str = "a.jsonl") -> InputFile:
    return InputFile("s", name, f"/d/{name}", size, 0, "jsonl", None)


def test_a_plain_file_is_cut_into_ranges_and_a_compressed_one_is_not() -> None:
    packed = InputFile("s", "b.jsonl.gz", "/d/b.jsonl.gz", 25, 0, "jsonl", "gz")
    plan = plan_shards({"s": (jsonl(25), packed)}, 10)
    assert [(shard.files[0].name, shard.start, shard.end) for shard in plan] == [
        ("a.jsonl", 0, 10), ("a.jsonl", 10, 20), ("a.jsonl", 20, 25), ("b.jsonl.gz", 0, 25),
    ]  # fmt: skip
    assert [shard.input_bytes for shard in plan] == [10, 10, 5, 25]


def test_an_empty_file_is_a_shard_as_well() -> None:
    assert plan_shards({"s": (jsonl(0),)}, 10) == [ShardPlan("s", (jsonl(0),), 0, 0)]


def test_files_of_a_tree_share_shards_in_order() -> None:
    tree = tuple(InputFile("s", f"{n}.py", f"/d/{n}.py", 4, 0, "code", None) for n in range(5))
    plan = plan_shards({"s": tree}, 10)
    assert [[file.name for file in shard.files] for shard in plan] == [["0.py", "1.py"], ["2.py", "3.py"], ["4.py"]]
    assert [shard.input_bytes for shard in plan] == [8, 8, 4]


@given(size=st.integers(0, 1000), shard_bytes=st.integers(1, 300))
def test_ranges_touch_without_gap_or_overlap(size: int, shard_bytes: int) -> None:
    plan = plan_shards({"s": (jsonl(size),)}, shard_bytes)
    assert [place for shard in plan for place in range(shard.start, shard.end)] == list(range(size))


def test_a_shard_of_no_bytes_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        plan_shards({"s": (jsonl(5),)}, 0)
