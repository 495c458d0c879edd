"""A store that a node of the cluster does not see is refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.visible import check_visible, look_before_work, refuse_unseen


def square(number: int) -> int:
    return number * number


def test_a_node_that_does_not_see_the_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"2 of 3 nodes of the cluster do not see this folder \(gpu1, gpu2\)"):
        refuse_unseen(Store(tmp_path), {"head": True, "gpu2": False, "gpu1": False})


def test_a_store_that_all_nodes_see_is_used_and_no_mark_is_left(cluster: Cluster, tmp_path: Path) -> None:
    cluster.run(square, [(1,)], label="start")
    shared = Cluster(ray.get_runtime_context().gcs_address)
    store = Store(tmp_path / "store")
    look_before_work(store, shared)
    assert shared.run(square, [(3,)], label="squares") == [9]
    assert list(shared.on_every_node(square, 4).values()) == [16]
    check_visible(store, shared)
    assert not store.root.exists()


def test_a_ray_of_the_commands_own_is_not_asked(tmp_path: Path) -> None:
    check_visible(Store(tmp_path / "store"), Cluster())
    assert not (tmp_path / "store").exists()
