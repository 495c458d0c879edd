"""The clusters of a source as a file: `clusters.json`, named by its content, which other builds can use.

It is canonical JSON. `table_sha256` and `chars` say how texts are embedded; `centroids` are the fine ones, in whole
numbers of length UNIT, and `cluster_of` has the cluster of each; `clusters` describes each cluster by its name, its
most telling words, the documents and bytes of the sample in it, and the ids of typical documents. Fine clusters that
are pruned have the number after the last cluster, and `pruned` sums them up; it is absent without rules.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import canonical_json
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.split import PRUNED

from .embed import embed
from .kmeans import nearest
from .token_table import TableFiles

STAGE = "clusters"
VERSION = 1
CLUSTERS = "clusters.json"


@dataclass(frozen=True)
class ClusterFile:
    """Clusters in the store, and where the token table is."""

    path: str
    """Of `clusters.json`, relative to the store."""
    sha256: str
    table: TableFiles

    def table_sha256(self, store: Store) -> str:
        """What identifies the token table that the clusters were found with."""
        return str(_load(store, self.path)[0]["table_sha256"])

    def names_of(self, store: Store, texts: Sequence[str]) -> list[str | None]:
        """The name of each text's cluster, or `pruned`; None for a text without tokens."""
        form, centroids, named = _load(store, self.path)
        vectors = embed(texts, self.table, int(form["chars"])).astype(np.float64)
        found = named[nearest(vectors, centroids)]
        has_tokens = np.flatnonzero(np.abs(vectors).sum(axis=1))
        names: list[str | None] = [None] * len(texts)
        for row in has_tokens.tolist():
            names[row] = str(found[row])
        return names


def to_bytes(form: dict[str, Any]) -> bytes:
    """The bytes of a cluster file."""
    return canonical_json(form) + b"\n"


@functools.lru_cache(maxsize=2)
def _load(store: Store, path: str) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[Any]]:
    form: dict[str, Any] = orjson.loads(store.path(path).read_bytes())
    names = np.array([*(cluster["name"] for cluster in form["clusters"]), PRUNED], dtype=object)
    return form, np.array(form["centroids"], np.float64), names[np.array(form["cluster_of"])]
