"""Edges in groups of many shards: buckets first, then their signatures, then the comparison.

`edges.py` reads signatures from the shards. Here a task over a range of bands only finds its buckets and lists their
documents. Once the signatures are fetched (`../shuffle/fetch.py`), a second task compares the same buckets in the same
chunks, so its forest is byte for byte that of `edges.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.group import Documents
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.shuffle.document_rows import DocumentRows
from mixproof.pipeline.shuffle.fetch import fetch, opened_rows, write_needed
from mixproof.pipeline.shuffle.shuffle import Ranges, Shuffle

from .buckets import Buckets, buckets
from .edges import STAGE, write_forest

VERSION = 1
MEMBERS = "members.npy"
"""int64: the documents of one bucket after another."""
SIZES = "sizes.npy"
"""int32 [buckets]."""
CHUNKS = "chunks.npy"
"""int64: the number of buckets that are compared together."""


def list_buckets(bands: Ranges, table: DocumentRows, shuffle: Shuffle) -> tuple[list[str], str]:
    """Find the buckets of all ranges and fetch their signatures; returns the keys of the buckets and of the shuffle."""
    work = {stage_key(STAGE, VERSION, {"buckets": number}, [bands.key]): number for number in range(bands.count)}

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(shuffle.store, key, bands, number, table) for key, number in missing.items()]

    found = run_missing(shuffle.store, STAGE, work, calls, find_buckets, shuffle.cluster, shuffle.label)
    return list(work), fetch(list(work), found, len(work), table, shuffle)


def find_buckets(store: Store, key: str, bands: Ranges, number: int, table: DocumentRows) -> None:
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
        write_needed(attempt, {number: np.unique(members)}, table)
        attempt.commit()


def _joined(parts: Sequence[Documents]) -> Documents:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def compare_buckets(
    store: Store, key: str, listed: str, table: DocumentRows, fetched: str, number: int, agree: int
) -> None:
    """Write the forest of one range from its buckets, whose key is `listed`."""
    members = load_array(store.path(f"{STAGE}/{listed}/{MEMBERS}"), mmap_mode="r")
    with opened_rows(store, key, table, fetched, number, lambda: np.unique(members)) as signatures:
        write_forest(store, key, _buckets(store, listed, members), signatures, agree)


def _buckets(store: Store, listed: str, members: Documents) -> Iterator[Buckets]:
    sizes, chunks = (load_array(store.path(f"{STAGE}/{listed}/{name}")) for name in (SIZES, CHUNKS))
    ends, document_ends = np.cumsum(chunks), np.cumsum(sizes, dtype=np.int64)
    for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True) if len(ends) else ():
        low = int(document_ends[start - 1]) if start else 0
        yield np.array(members[low : int(document_ends[end - 1])]), sizes[start:end].astype(np.int64)
