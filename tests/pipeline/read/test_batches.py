"""Small inputs share tasks, in order, and as many tasks as keep all CPUs busy."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline.read.batches import LEAST_BYTES, share_tasks


def shared(sizes: Sequence[int], *, most_bytes: int = 128_000_000, most_items: int = 64, tasks: int = 1) -> list[int]:
    """Number of items in each task."""
    batches = share_tasks(sizes, lambda size: size, most_bytes=most_bytes, most_items=most_items, tasks=tasks)
    return [len(batch) for batch in batches]


def test_inputs_share_a_task_up_to_a_size_and_a_number() -> None:
    assert shared([50, 50, 50], most_bytes=100) == [2, 1]
    assert shared([500, 50, 50], most_bytes=100) == [1, 2]
    assert shared([1] * 5, most_items=2) == [2, 2, 1]


def test_inputs_are_divided_among_as_many_tasks_as_keep_all_cpus_busy() -> None:
    assert shared([2_000_000] * 48, tasks=16) == [3] * 16
    assert shared([9_000_000, *[1_000_000] * 7], tasks=4) == [1, 4, 3]


def test_small_inputs_are_not_divided_further() -> None:
    assert shared([LEAST_BYTES // 10] * 20, tasks=1000) == [10, 10]
    assert shared([10] * 20, most_bytes=50, tasks=1000) == [5, 5, 5, 5]


@given(st.lists(st.integers(0, 10_000_000)), st.integers(1, 100))
def test_every_input_is_in_one_task_and_in_order(sizes: list[int], tasks: int) -> None:
    batches = share_tasks(sizes, lambda size: size, most_bytes=20_000_000, most_items=10, tasks=tasks)
    assert [size for batch in batches for size in batch] == sizes
