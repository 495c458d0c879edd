"""Whether every node of a cluster sees the store: asked once a command, before any work.

A store in a folder that only the driver's machine has would fill with outputs that no other node finds, and theirs with
outputs that the driver does not find. Nodes that join later are not asked; a shared folder is where they look for it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store

from .cluster import Cluster

MOST_SHOWN = 3


def look_before_work(store: Store, cluster: Cluster) -> None:
    """Have the nodes look when the first task is about to be sent; without one, no Ray is asked."""
    cluster.before_first_call(partial(check_visible, store, cluster))


def check_visible(store: Store, cluster: Cluster) -> None:
    """Let every node of a running cluster look for a mark in the store's folder; an object store is not asked.

    Raises:
        RequestError: naming nodes that do not see it; nothing is left in the store then.
    """
    if store.is_remote or not cluster.is_shared:
        return
    made = not store.root.exists()
    store.root.mkdir(parents=True, exist_ok=True)
    mark = store.root / f".seen-{uuid.uuid4().hex}"
    mark.touch()
    try:
        sees = cluster.on_every_node(_sees, str(mark))
    finally:
        mark.unlink()
        with suppress(OSError):  # another command may have begun to fill it
            if made:
                store.root.rmdir()
    refuse_blind(store, sees)


def refuse_blind(store: Store, sees: Mapping[str, bool]) -> None:
    """Raise an error that names the nodes which do not see the store.

    Args:
        store: the store.
        sees: by node, whether it sees the store.

    Raises:
        RequestError: where a node does not.
    """
    blind = sorted(node for node, seen in sees.items() if not seen)
    if blind:
        shown = ", ".join(blind[:MOST_SHOWN]) + (", ..." if len(blind) > MOST_SHOWN else "")
        raise RequestError(
            f"--store {store}: {len(blind)} of {len(sees)} nodes of the cluster do not see this folder ({shown}); take "
            "a folder that all nodes share, or a place in an object store"
        )


def _sees(mark: str) -> bool:
    return Path(mark).is_file()
