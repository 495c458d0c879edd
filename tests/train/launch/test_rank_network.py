"""Ranks connect over the interface that has Ray's address of their node."""

from __future__ import annotations

import os

import psutil
import pytest
from ray.util import get_node_ip_address

from mixproof.train.launch.rank_network import INTERFACE, use_interface_of_ray


def test_gloo_uses_the_interface_of_rays_address_unless_another_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INTERFACE, "")
    monkeypatch.delenv(INTERFACE)
    use_interface_of_ray()
    own = {one.address for one in psutil.net_if_addrs()[os.environ[INTERFACE]]}
    assert get_node_ip_address() in own  # type: ignore[no-untyped-call]  # half of Ray is typed
    monkeypatch.setenv(INTERFACE, "ib0")
    use_interface_of_ray()
    assert os.environ[INTERFACE] == "ib0"
