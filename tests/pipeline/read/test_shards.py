"""The plan covers every byte of every file once and depends on nothing but files and the constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import assume, given
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


@given(size=st.integers(0, 1000), shard_bytes=st.integers(1, 300))
def test_ranges_touch_without_gap_or_overlap(size: int, shard_bytes: int) -> None:
    plan = plan_shards({"s": (jsonl(size),)}, shard_bytes)
    assert [place for shard in plan for place in range(shard.start, shard.end)] == list(range(size))


def test_a_shard_of_no_bytes_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        plan_shards({"s": (jsonl(5),)}, 0)


def small(number: int, size: int = 1000, form: Literal["jsonl", "code"] = "jsonl") -> InputFile:
    return InputFile("s", f"{number:06d}", f"/d/{number:06d}", size, 0, form, None)


def names(plan: Sequence[ShardPlan]) -> list[tuple[str, ...]]:
    return [tuple(file.name for file in shard.files) for shard in plan]


def test_many_small_files_share_shards_in_their_order_and_few_do_not() -> None:
    files = tuple(small(number) for number in range(5000))
    plan = plan_shards({"s": files})
    assert [file for shard in plan for file in shard.files] == list(files)
    assert 10 <= len(plan) <= 35, "about 256 files each"
    assert sum(shard.input_bytes for shard in plan) == 5_000_000
    assert [len(shard.files) for shard in plan_shards({"s": files[:31]})] == [1] * 31
    assert not any(shard.is_group for shard in plan_shards({"s": files[:31]}))


def test_files_of_one_document_each_are_groups_however_few_they_are() -> None:
    plan = plan_shards({"s": (small(1, form="code"), small(2, form="code"))})
    assert names(plan) == [("000001", "000002")]
    assert plan[0].bytes_of(plan[0].files[1]) == (0, 1000)


def test_a_large_file_or_another_format_between_small_ones_keeps_its_place() -> None:
    files = [small(number) for number in range(100)]
    files[40] = small(40, 2_000_000)
    files[60] = small(60, form="code")
    plan = plan_shards({"s": tuple(files)})
    assert [file.name for shard in plan for file in shard.files] == [file.name for file in files]
    assert ("000040",) in names(plan)
    assert ("000060",) in names(plan)


@given(sizes=st.lists(st.integers(0, 500_000), min_size=40, max_size=120), added=st.data())
def test_an_added_file_changes_the_group_that_it_is_in_and_no_other(sizes: list[int], added: st.DataObject) -> None:
    files = [small(2 * number, size) for number, size in enumerate(sizes)]
    new = small(2 * added.draw(st.integers(0, len(sizes))) + 1, added.draw(st.integers(0, 500_000)))
    before = names(plan_shards({"s": tuple(files)}))
    after = names(plan_shards({"s": tuple(sorted([*files, new], key=lambda file: file.name))}))
    assume(max(sum(sizes[int(name) // 2] for name in group) for group in before) < 31_000_000)  # none is cut by size
    assert len(set(before) - set(after)) <= 1
    assert len(set(after) - set(before)) <= 2
