"""What a command says when no node of the cluster can run its tasks."""

from __future__ import annotations

import time

import pytest

from mixproof.pipeline.cluster.resources import Needs, Node, with_more_memory
from mixproof.pipeline.cluster.waiting import Waiting, missing_node

NODES = [Node(4, memory_bytes=1e9), Node(2)]


def test_a_task_that_fits_on_a_node_only_waits_for_its_turn() -> None:
    assert missing_node([Needs(8), Needs(4)], NODES) is None


def test_the_smallest_task_that_fits_nowhere_is_named_with_the_nodes() -> None:
    sentence = missing_node([Needs(16, 8), Needs(1, 1)], NODES)
    assert sentence is not None
    assert sentence.startswith(
        "the smallest task needs a node with 1 CPUs and 1 GPUs, and the cluster has 2 nodes (2 CPUs; 4 CPUs)."
    )


def test_a_cluster_that_has_scaled_to_zero_has_no_nodes_yet() -> None:
    sentence = missing_node([Needs(1)], [])
    assert sentence is not None and "the cluster has 0 nodes (none)" in sentence


def test_a_node_for_gpu_tasks_runs_no_others_and_the_warning_says_so() -> None:
    gpu_node = Node(48, 8, gpu_tasks_only=True)
    assert missing_node([Needs(1, 1)], [gpu_node]) is None
    sentence = missing_node([Needs(1)], [gpu_node])
    assert sentence is not None and "1 nodes (48 CPUs and 8 GPUs, for GPU tasks only)" in sentence


def test_workers_of_one_call_may_be_on_several_nodes() -> None:
    assert missing_node([Needs(1, 2, workers=8)], [Node(8, 8), Node(8, 8)]) is None
    sentence = missing_node([Needs(1, 2, workers=8)], [Node(8, 8), Node(8, 7)])
    assert sentence is not None
    assert "the smallest task needs nodes for 8 workers, each with 1 CPUs and 2 GPUs, and" in sentence


def test_a_call_that_needs_more_memory_than_a_node_has_is_named() -> None:
    assert missing_node([Needs(1, memory_bytes=10**9)], NODES) is None
    sentence = missing_node([Needs(1, memory_bytes=2 * 10**9)], NODES)
    assert sentence is not None and "a node with 1 CPUs and 2.0 GB of memory" in sentence


def test_a_task_that_died_gets_a_share_of_the_largest_node_that_can_run_it() -> None:
    head, small, large = Node(0, memory_bytes=64e9), Node(4, memory_bytes=16e9), Node(8, memory_bytes=32e9)
    gpus = Node(48, 8, 512e9, gpu_tasks_only=True)
    nodes = [head, small, large, gpus]
    assert with_more_memory(Needs(1), 1, nodes) == Needs(4, memory_bytes=16 * 10**9)
    assert with_more_memory(Needs(1), 2, nodes) == Needs(8, memory_bytes=32 * 10**9)
    assert with_more_memory(Needs(1, 1), 2, nodes) == Needs(48, 1, memory_bytes=512 * 10**9)
    assert with_more_memory(Needs(1), 2, [head]) == Needs(1)


def test_a_stage_says_what_it_waits_for_at_doubled_intervals_until_a_task_finishes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stage = Waiting()
    due = []
    for second in range(0, 1000, 5):
        now = float(second)
        due += [waited for waited in [stage.due()] if waited is not None]
    assert due == [60, 120, 240, 480, 960]
    stage.finished()
    now += 59
    assert stage.due() is None
