"""What a command says when no node of the cluster can run its tasks."""

from __future__ import annotations

import logging
import time

import pytest

from mixproof.pipeline.cluster import waiting
from mixproof.pipeline.cluster.resources import Needs
from mixproof.pipeline.cluster.waiting import Waiting, missing_node

NODES = [{"CPU": 4.0, "memory": 1e9}, {"CPU": 2.0}]


def test_a_task_that_fits_on_a_node_only_waits_for_its_turn() -> None:
    assert missing_node([Needs(8), Needs(4)], NODES) is None


def test_the_smallest_task_that_fits_nowhere_is_named_with_the_nodes() -> None:
    sentence = missing_node([Needs(16, 8), Needs(1, 1)], NODES)
    assert sentence is not None
    assert sentence.startswith(
        "the smallest task needs a node with 1 CPUs and 1 GPUs, and the cluster has 2 nodes (2 CPUs, 4 CPUs)."
    )


def test_a_cluster_that_has_scaled_to_zero_has_no_nodes_yet() -> None:
    sentence = missing_node([Needs(1)], [])
    assert sentence is not None and "the cluster has 0 nodes (none)" in sentence


def test_warnings_come_at_doubled_intervals_until_a_task_finishes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    caplog.set_level(logging.WARNING, logger=waiting.__name__)
    stage = Waiting("train")
    warned = []
    for second in range(0, 1000, 5):
        now = float(second)
        before = len(caplog.records)
        stage.warn([Needs(1, 1)], NODES)
        warned += [second] * (len(caplog.records) - before)
    assert warned == [60, 120, 240, 480, 960]
    stage.finished()
    now += 59
    stage.warn([Needs(1, 1)], NODES)
    assert len(caplog.records) == 5
