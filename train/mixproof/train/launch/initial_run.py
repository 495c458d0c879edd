"""Find the run that `train.init_from` names by the start of its key."""

from __future__ import annotations

import re
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.train.record import TRAIN

KEY_START = re.compile(r"[0-9a-f]{8,64}")


def initial_run_key(store: Store, checkpoint: str) -> str | None:
    """Return the key of the run of this store that `checkpoint` names; None if it is an existing path.

    A relative path of a spec has been resolved from the spec's folder, so only its last part is compared with keys.

    Raises:
        RequestError: when it is neither a path nor the start of exactly one key.
    """
    if Path(checkpoint).exists():
        return None
    start = Path(checkpoint).name
    if not KEY_START.fullmatch(start):
        raise RequestError(
            f"{checkpoint}: no such checkpoint; name a checkpoint's folder, or a run by 8 or more hexadecimal digits "
            "of its key"
        )
    keys = [key for key in store.keys(TRAIN) if key.startswith(start)]
    if not keys:
        raise RequestError(
            f"{checkpoint}: no such checkpoint, and no run in {store} has a key that starts with {start}; "
            "`mixproof store list` shows the keys"
        )
    if len(keys) > 1:
        raise RequestError(f"{len(keys)} runs in {store} have keys that start with {start}; give more of the key")
    return keys[0]
