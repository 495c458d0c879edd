"""The network over which the ranks of a run connect: the one of Ray's address of their node.

Gloo by itself takes the address that the host's name resolves to. On many machines that is a loopback address
(`127.0.1.1` in `/etc/hosts` of Debian), with which ranks on different nodes never meet.
"""

from __future__ import annotations

import os
from typing import Any

import psutil
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend
from ray.util import get_node_ip_address

INTERFACE = "GLOO_SOCKET_IFNAME"


class RayNetwork(TorchConfig):
    """Ray Train's settings of torch, with the interface chosen on every rank before the ranks connect."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What sets up the ranks."""
        return _OnRayNetwork


class _OnRayNetwork(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:  # noqa: ANN401  as Ray calls it
        worker_group.execute(use_interface_of_ray)
        super().on_start(worker_group, backend_config)


def use_interface_of_ray() -> None:
    """Let gloo use the interface that has Ray's address of this node, unless the environment names one."""
    address = get_node_ip_address()  # type: ignore[no-untyped-call]  # half of Ray is typed
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == address for one in addresses):
            os.environ.setdefault(INTERFACE, name)
