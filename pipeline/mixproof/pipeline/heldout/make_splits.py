"""Make the splits of all sources in the driver: small sources in batches and by several threads, large ones in turn.

Choosing a set reads and writes little, so for thousands of small sources, and on an object store for any, most of the
time goes to waiting for the disk or for requests. A large source runs its own tasks instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.batch import Batch, open_batch
from mixproof.ledger.store.receipts import find_receipts
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches
from mixproof.pipeline.read.by_hash import is_small
from mixproof.pipeline.read.selection import Selection

from .heldout_set import HELDOUT
from .split import parts_of

THREADS = 8

MakeSplit = Callable[[str, Batch, Batch], Receipt]
"""Makes the split of a source, by name; the batches are those of splits and of held-out sets."""


def make_splits(
    selection: Selection, stage: str, keys: Mapping[str, str], make: MakeSplit, *, has_set: bool
) -> dict[str, Receipt]:
    """Make the splits that the store does not have.

    Args:
        selection: the documents.
        stage: of the splits.
        keys: of the split of each source, by name.
        make: makes one.
        has_set: whether a split refers to a held-out set, without which it is not complete.

    Returns:
        The receipt of each source's split, by name.
    """
    store, cluster = selection.store, selection.cluster
    found = _with_parts(store, stage, dict(find_receipts(store, stage, keys.values())))
    if has_set:
        found = _with_sets(store, found)
    missing = {key: name for name, key in keys.items() if key not in found}  # equal sources share a split
    cluster.count(run=len(missing), reused=len(keys) - len(missing))
    small = [key for key, name in missing.items() if is_small(selection.sources[name].shards)]
    large = [key for key, name in missing.items() if not is_small(selection.sources[name].shards)]
    for batch in (*in_batches(sorted(small), SHARDS_PER_TASK), *in_batches(large, 1)):
        with open_batch(store, stage, batch) as splits, open_batch(store, HELDOUT, batch) as sets:
            call = partial(_make, make, splits, sets)
            names = [missing[key] for key in batch]
            if len(names) == 1:
                found[batch[0]] = call(names[0])
                continue
            with ThreadPoolExecutor(THREADS) as threads:
                found.update(zip(batch, threads.map(call, names), strict=True))
    return {name: found[key] for name, key in keys.items()}


def _make(make: MakeSplit, splits: Batch, sets: Batch, name: str) -> Receipt:
    return make(name, splits, sets)


def _with_parts(store: Store, stage: str, splits: Mapping[str, Receipt]) -> dict[str, Receipt]:
    """The splits all of whose bitmaps the store has."""
    parts = find_receipts(store, stage, (part for split in splits.values() for part in parts_of(split)))
    return {key: split for key, split in splits.items() if all(part in parts for part in parts_of(split))}


def _with_sets(store: Store, splits: Mapping[str, Receipt]) -> dict[str, Receipt]:
    """The splits whose held-out sets the store has."""
    set_of = {key: str(split.facts["path"]).split("/", 2)[1] for key, split in splits.items()}
    sets = find_receipts(store, HELDOUT, set_of.values())
    return {key: split for key, split in splits.items() if set_of[key] in sets}
