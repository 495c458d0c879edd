"""Make the splits of all sources: many small sources in tasks, a few of them in the driver, large ones in turn.

Choosing a set reads and writes little, so on an object store most of the time goes to waiting for requests, and several
threads wait at a time. A large source runs its own tasks instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.batch import Batch, open_batch
from mixproof.ledger.store.receipts import find_receipts
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches
from mixproof.pipeline.read.by_hash import is_small
from mixproof.pipeline.read.selection import Selection

from .heldout_set import HELDOUT
from .heldout_target import HeldoutTarget
from .split import SourceToSplit, parts_of

THREADS = 8
LABEL = "held-out sets"


MakeSplit = Callable[[Store, Cluster | None, SourceToSplit, Batch, Batch], object]
"""Makes the split of a source; it can be pickled. The batches are those of splits and of held-out sets. The cluster is
None in a task, where the source is small."""


def make_splits(
    selection: Selection,
    stage: str,
    keys: Mapping[str, str],
    targets: Mapping[str, HeldoutTarget],
    make: MakeSplit,
    *,
    has_set: bool,
) -> dict[str, Receipt]:
    """Make the splits that the store does not have.

    Args:
        selection: the documents.
        stage: of the splits.
        keys: of the split of each source, by name.
        targets: how much of each source to hold out, by name.
        make: makes one.
        has_set: whether a split refers to a held-out set, without which it is not complete.

    Returns:
        The receipt of each source's split, by name.
    """
    store, cluster = selection.store, selection.cluster
    found = _find(store, stage, keys.values(), has_set=has_set)
    missing = {key: name for name, key in keys.items() if key not in found}  # equal sources share a split
    cluster.count(run=len(missing), reused=len(keys) - len(missing))
    if missing:
        sources = [
            SourceToSplit(key, selection.sources[name], selection.keep[name], targets[name])
            for key, name in sorted(missing.items())
        ]
        _make_missing(sources, stage, make, store, cluster)
        found |= _find(store, stage, missing, has_set=has_set)
    return {name: found[key] for name, key in keys.items()}


def _make_missing(
    sources: Sequence[SourceToSplit], stage: str, make: MakeSplit, store: Store, cluster: Cluster
) -> None:
    small = [_slim(source) for source in sources if is_small(source.documents.shards)]
    if len(small) > SHARDS_PER_TASK:
        calls = [(store, stage, make, batch) for batch in in_batches(small, SHARDS_PER_TASK)]
        cluster.run(split_sources, calls, label=LABEL)
    elif small:
        split_sources(store, stage, make, small, cluster)
    for source in (source for source in sources if not is_small(source.documents.shards)):
        with open_batch(store, stage, [source.key]) as splits, open_batch(store, HELDOUT, [source.key]) as sets:
            make(store, cluster, source, splits, sets)


def _slim(source: SourceToSplit) -> SourceToSplit:
    """The source without what its split does not need, because tasks receive it by value."""
    return replace(source, documents=replace(source.documents, tasks=(), lists=(), ledger=()))


def split_sources(
    store: Store, stage: str, make: MakeSplit, sources: Sequence[SourceToSplit], cluster: Cluster | None = None
) -> None:
    """Split some small sources (Ray task, then without a cluster)."""
    keys = [source.key for source in sources]
    threads = 1 if cluster is None and not store.is_remote else THREADS
    with (
        open_batch(store, stage, keys, packs=True) as splits,
        open_batch(store, HELDOUT, keys) as sets,
        ThreadPoolExecutor(threads) as pool,
    ):
        list(pool.map(partial(_make, make, store, cluster, splits, sets), sources))


def _make(
    make: MakeSplit, store: Store, cluster: Cluster | None, splits: Batch, sets: Batch, source: SourceToSplit
) -> None:
    make(store, cluster, source, splits, sets)


def _find(store: Store, stage: str, keys: Iterable[str], *, has_set: bool) -> dict[str, Receipt]:
    """The finished splits among `keys`, all of whose bitmaps, and held-out sets, the store has."""
    splits = dict(find_receipts(store, stage, keys))
    parts = find_receipts(store, stage, (part for split in splits.values() for part in parts_of(split)))
    splits = {key: split for key, split in splits.items() if all(part in parts for part in parts_of(split))}
    if not has_set:
        return splits
    set_of = {key: str(split.facts["path"]).split("/", 2)[1] for key, split in splits.items()}
    sets = find_receipts(store, HELDOUT, set_of.values())
    return {key: split for key, split in splits.items() if set_of[key] in sets}
