"""Check once per command, before any work, that every node of a cluster sees the store.

If the store were a folder that only the driver's machine has, the nodes would write outputs that the driver cannot
find, and the other way round. Nodes that join the cluster later are not checked.
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

MAX_SHOWN = 3


def look_before_work(store: Store, cluster: Cluster) -> None:
    """Check the nodes just before the first task is submitted; a command without tasks does not start Ray for it."""
    cluster.before_first_call(partial(check_visible, store, cluster))


def check_visible(store: Store, cluster: Cluster) -> None:
    """Have every node of a shared cluster look for a marker file in the store's folder; object stores are skipped.

    Raises:
        RequestError: names the nodes that do not see the file; the marker is removed in any case.
    """
    if store.is_remote or not cluster.is_shared:
        return
    is_new = not store.root.exists()
    store.root.mkdir(parents=True, exist_ok=True)
    marker = store.root / f".seen-{uuid.uuid4().hex}"
    marker.touch()
    try:
        sees = cluster.on_every_node(lambda path: Path(path).is_file(), str(marker))  # a node may lack this module
    finally:
        marker.unlink()
        with suppress(OSError):  # another command may be writing to it already
            if is_new:
                store.root.rmdir()
    refuse_unseen(store, sees)


def refuse_unseen(store: Store, sees: Mapping[str, bool]) -> None:
    """Raise an error that names the nodes which do not see the store, if there are any.

    Args:
        store: the store.
        sees: for each node, whether it sees the store.

    Raises:
        RequestError: when a node does not see it.
    """
    unseen_by = sorted(node for node, seen in sees.items() if not seen)
    if unseen_by:
        shown = ", ".join(unseen_by[:MAX_SHOWN]) + (", ..." if len(unseen_by) > MAX_SHOWN else "")
        raise RequestError(
            f"--store {store}: {len(unseen_by)} of {len(sees)} nodes of the cluster do not see this folder ({shown}); "
            "use a folder that all nodes share, or an object store"
        )
