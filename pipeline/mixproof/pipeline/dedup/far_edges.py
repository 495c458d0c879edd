"""Edges in groups of many shards: buckets first, then their signatures, then the comparison.

`edges.py` reads signatures from the shards. Here a task over a range of bands only finds its buckets and lists their
documents. Once the signatures are fetched (`fetch.py`), a second task compares the same buckets in the same chunks, so
its forest is byte for byte that of `edges.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.shuffle.shuffle import Ranges, Shuffle

from .buckets import Buckets, Documents, buckets
from .edges import STAGE, write_forest
from .fetch import Fetched, Group, fetch, write_needed
from .signatures import SIGNATURES

VERSION = 1
MEMBERS = "members.npy"
"""int64: the documents of one bucket after another."""
SIZES = "sizes.npy"
"""int32 [buckets]."""
CHUNKS = "chunks.npy"
"""int64: the number of buckets that are compared together."""


def list_buckets(bands: Ranges, group: Group, shuffle: Shuffle) -> tuple[list[str], Fetched]:
    """Find the buckets of all ranges and fetch their signatures; returns the keys of the buckets too."""
    work = {stage_key(STAGE, VERSION, {"buckets": number}, [bands.key]): number for number in range(bands.count)}

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(shuffle.store, key, bands, number, group.blocks) for key, number in missing.items()]

    found = run_missing(shuffle.store, STAGE, work, calls, find_buckets, shuffle.cluster, shuffle.label)
    return list(work), fetch(list(work), found, group, shuffle)


def find_buckets(store: Store, key: str, bands: Ranges, number: int, blocks: int) -> None:
    """Write the buckets of one range, and the list of their documents."""
    found = list(buckets(bands.read(store, number)))
    members = _joined([each for each, _ in found])
    with store.attempt(STAGE, key) as attempt:
        for name, values in (
            (MEMBERS, members),
            (SIZES, _joined([sizes for _, sizes in found]).astype(np.int32)),
            (CHUNKS, np.array([len(sizes) for _, sizes in found], dtype=np.int64)),
        ):
            with attempt.path(name).open("wb") as file:
                np.save(file, values, allow_pickle=False)
        write_needed(attempt, number, np.unique(members), blocks)
        attempt.commit()


def _joined(parts: Sequence[Documents]) -> Documents:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def compare_buckets(store: Store, key: str, listed: str, fetched: Fetched, number: int, agree: int) -> None:
    """Write the forest of one range from its buckets, whose key is `listed`."""
    members = np.load(store.path(f"{STAGE}/{listed}/{MEMBERS}"), mmap_mode="r")
    with store.attempt(STAGE, f"{key}-rows") as scratch:
        signatures = fetched.read(store, number, np.unique(members), scratch.path(SIGNATURES))
        write_forest(store, key, _buckets(store, listed, members), signatures, agree)


def _buckets(store: Store, listed: str, members: Documents) -> Iterator[Buckets]:
    sizes, chunks = (np.load(store.path(f"{STAGE}/{listed}/{name}")) for name in (SIZES, CHUNKS))
    ends, document_ends = np.cumsum(chunks), np.cumsum(sizes, dtype=np.int64)
    for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True) if len(ends) else ():
        low = int(document_ends[start - 1]) if start else 0
        yield np.array(members[low : int(document_ends[end - 1])]), sizes[start:end].astype(np.int64)
