"""Which nodes a call avoids after it failed because of one."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from mixproof.pipeline.cluster.node_choice import Blamed, NodeChoice
from mixproof.pipeline.cluster.resources import Needs, Node
from mixproof.pipeline.cluster.same_code import different_code

NODES = [Node(4, id="a"), Node(4, id="b"), Node(4, id="c"), Node(0, id="head")]
ONE = Needs(1)


def test_a_node_that_is_faulty_for_a_call_that_succeeds_elsewhere_gets_no_more_calls(
    caplog: pytest.LogCaptureFixture,
) -> None:
    blamed = Blamed()
    choice, faulty = NodeChoice(blamed), blamed.faulty
    assert choice.failed(7, ONE, "a", NODES)
    assert choice.avoided(7) == {"a"}
    assert not choice.avoided(8) and not faulty
    with caplog.at_level(logging.WARNING):
        choice.succeeded(7, "read")
    assert faulty == {"a"} == choice.avoided(8)
    assert "read: node a is faulty and gets no more calls" in caplog.text
    assert [node.id for node in NodeChoice(blamed).usable(NODES)] == ["b", "c", "head"]


def test_what_fails_on_three_nodes_is_not_blamed_on_them() -> None:
    blamed = Blamed()
    choice, faulty = NodeChoice(blamed), blamed.faulty
    assert [choice.failed(0, ONE, node, [*NODES, Node(4, id="d")]) for node in "abc"] == [True, True, False]
    assert faulty == set()


def test_a_node_with_other_code_gets_no_more_calls_and_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    blamed = Blamed()
    choice = NodeChoice(blamed)
    refusal = different_code("a", "wrk1", "pyarrow 1.0 instead of 26.0")
    assert choice.refused(refusal, ONE, NODES, "read") and choice.refused(refusal, ONE, NODES, "read")
    assert choice.avoided(7) == {"a"} == blamed.faulty
    assert caplog.text.count("read: a node gets no calls, and others run them: node wrk1 runs different code") == 1


def test_a_node_with_other_code_ends_the_stage_if_no_other_can_run_the_call() -> None:
    refusal = different_code("a", "wrk1", "pyarrow 1.0 instead of 26.0")
    assert not NodeChoice(None).refused(refusal, ONE, NODES, "read")
    blamed = Blamed()
    choice = NodeChoice(blamed)
    assert not choice.refused(refusal, ONE, [NODES[0], NODES[3]], "read")  # the head takes no calls
    assert not choice.refused(refusal, Needs(4, workers=3), NODES, "train")  # b and c have room for two workers
    assert blamed.faulty == set()


def test_a_call_stays_where_it_can_run_at_all() -> None:
    assert not NodeChoice(None).failed(0, ONE, "a", NODES)
    choice = NodeChoice(Blamed())
    assert not choice.failed(0, ONE, "a", [NODES[0], NODES[3]])  # the head takes no calls
    choice.crashed(1, ONE, Counter({"a": 4}), [NODES[0], NODES[3]])
    assert choice.avoided(1) == frozenset()


def test_a_call_whose_worker_crashed_moves_to_nodes_without_crashes() -> None:
    choice = NodeChoice(Blamed())
    choice.crashed(0, ONE, Counter("aaab"), NODES)
    assert choice.avoided(0) == {"a", "b"}
    choice.crashed(0, ONE, Counter("aaabc"), NODES)  # now there is none
    assert choice.avoided(0) == {"a", "b"}


def test_a_node_on_which_two_calls_crashed_gets_no_more_calls_also_of_later_stages() -> None:
    blamed = Blamed()
    for faulty in (set(), {"a"}):
        stage = NodeChoice(blamed)
        stage.crashed(0, ONE, Counter(a=4), NODES)
        assert stage.avoided(0) == {"a"}
        stage.succeeded(0, "read")
        assert blamed.faulty == faulty


def test_nodes_that_run_nothing_get_no_more_calls_unless_no_others_are_left() -> None:
    blamed = Blamed()
    choice, faulty = NodeChoice(blamed), blamed.faulty
    assert not choice.silent(["a", "b", "c"], [ONE], NODES)
    assert not choice.silent(["a"], [Needs(8)], NODES)
    assert choice.silent(["a"], [Needs(8), ONE], NODES)
    assert faulty == {"a"}
    assert not choice.silent(["a"], [ONE], NODES)  # known: its calls are elsewhere already
