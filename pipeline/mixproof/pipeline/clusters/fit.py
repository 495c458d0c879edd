"""Find the clusters of a source: on a sample that its texts alone decide.

The sample is the SAMPLE documents with the smallest text hashes among those that deduplication kept, so it depends on
neither shards nor workers. `cluster_texts.py` finds its clusters, exactly, so the file's content depends on no machine.
The key of the output is made of the sample, its labels and the table; a receipt without files remembers which shards
gave which key, so an unchanged source is not searched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt
from mixproof.mixtures.blocks.labels import Clusters
from mixproof.pipeline.cluster.stage import make_missing
from mixproof.pipeline.heldout.split import identity
from mixproof.pipeline.read.by_hash import fetch_texts, hex_of, in_hash_order
from mixproof.pipeline.read.selection import Selection

from .cluster_file import CLUSTERS, STAGE, VERSION, ClusterFile, to_bytes
from .cluster_texts import cluster_texts
from .embed import VERSION as EMBED_VERSION
from .encoder_files import EncoderFiles
from .sample_vectors import sample_vectors
from .token_table import TableFiles

SAMPLE = 20_000
LEAST_DOCUMENTS = 2


@dataclass(frozen=True)
class SampleLabels:
    """The labels by whose values fine clusters are merged and pruned."""

    identity: Mapping[str, object]
    """By name: what a key holds."""
    of_rows: Callable[[pa.Table], Mapping[str, Sequence[Any]]]
    """Finds their values for a table with `file` and `record`."""


NO_LABELS = SampleLabels({}, lambda _: {})


def fit_clusters(
    selection: Selection, name: str, clusters: Clusters, table: TableFiles, labels: SampleLabels = NO_LABELS
) -> ClusterFile:
    """Find the clusters of one source, unless the store has them.

    Raises:
        RequestError: when no document has a token, or none is left after pruning.
    """
    source, store = selection.sources[name], selection.store
    clusters = clusters.model_copy(update={"number": _supplied(selection, name, clusters)})
    search = _Search(selection, name, clusters, table, labels, _fewest(selection, name))
    memo = stage_key(STAGE, VERSION, {**search.config, "memo": True}, identity(source, selection.keep[name]))
    remembered = make_missing(
        store,
        STAGE,
        memo,
        lambda: search.remember(memo),
        selection.cluster,
        is_complete=lambda found: store.receipt(STAGE, str(found.facts["key"])) is not None,
    )
    key = str(remembered.facts["key"])
    receipt = store.receipt(STAGE, key)
    assert receipt is not None, "it was found or made"
    return ClusterFile(f"{STAGE}/{key}/{CLUSTERS}", receipt.files[CLUSTERS].sha256, table)


@dataclass(frozen=True)
class _Search:
    """What the clusters of a source are found by."""

    selection: Selection
    name: str
    """Of the source."""
    clusters: Clusters
    table: TableFiles
    labels: SampleLabels
    fewest: int
    """Documents of the sample that a cluster should have."""

    @property
    def config(self) -> dict[str, Any]:
        """What a key holds."""
        clusters, table = self.clusters, self.table
        config = {"number": clusters.number, "chars": clusters.chars, "table": table.sha256, "embed": EMBED_VERSION}
        fewest = {"fewest": self.fewest} if self.fewest > LEAST_DOCUMENTS else {}
        return config | _rules(clusters, self.labels) | fewest

    def remember(self, memo: str) -> Receipt:
        """Find the clusters unless the sample has them; `memo`: key of the receipt that names their key."""
        store, documents = self.selection.store, _sample(self.selection, self.name)
        key = stage_key(STAGE, VERSION, self.config, [hex_of(document) for document in documents])
        if store.receipt(STAGE, key) is None:
            found = self._find(documents)
            with store.attempt(STAGE, key) as attempt:
                attempt.path(CLUSTERS).write_bytes(to_bytes(found))
                attempt.commit()
        with store.attempt(STAGE, memo) as attempt:
            return attempt.commit(facts={"key": key})

    def _find(self, documents: NDArray[Any]) -> dict[str, Any]:
        """Cluster the texts of the sample, given as HASHED_DTYPE."""
        selection, table = self.selection, self.table
        rows = fetch_texts(
            selection.sources[self.name].shards, documents, selection.store, selection.cluster, label=STAGE
        )
        places = zip(*(rows[column].to_pylist() for column in ("id", "file", "record")), strict=True)
        ids = [given if given is not None else f"{file}#{record}" for given, file, record in places]
        texts: list[str] = rows["text"].to_pylist()
        try:
            sizes = documents["bytes"].astype(np.int64)
            points = None
            if isinstance(table, EncoderFiles):
                hashes = [hex_of(document) for document in documents]
                points = sample_vectors(texts, hashes, table, self.clusters.chars, selection.store, selection.cluster)
            labels = self.labels.of_rows(rows)
            return cluster_texts(texts, ids, sizes, self.clusters, table, labels, self.fewest, points)
        except ValueError as error:
            where = selection.spec.where("sources", self.name, "split_by")
            raise RequestError(f"{where}: {error}") from error


def _fewest(selection: Selection, name: str) -> int:
    """Documents of the sample in a cluster that can supply its held-out set and keep as many for training."""
    create = selection.spec.heldout.create
    total = selection.last_rows[name].documents_out
    needed = 2 * create.min_documents if create is not None else 0
    return max(LEAST_DOCUMENTS, -(-needed * min(SAMPLE, total) // max(1, total)))


def _supplied(selection: Selection, name: str, clusters: Clusters) -> int:
    """The requested number of clusters, or as many as the source's documents suffice for."""
    assert clusters.number is not None, "clusters that are found have a number"
    total = min(SAMPLE, selection.last_rows[name].documents_out)
    return max(1, min(clusters.number, total // _fewest(selection, name)))


def _rules(clusters: Clusters, labels: SampleLabels) -> dict[str, Any]:
    """What a key holds of the rules by which fine clusters are merged and pruned; empty without rules."""
    given = clusters.model_dump(mode="json", exclude_none=True, include={"within", "prune"})
    return {**given, "labels": dict(labels.identity)} if given else {}


def _sample(selection: Selection, name: str) -> NDArray[Any]:
    """The documents with the smallest text hashes, in their order: HASHED_DTYPE."""
    total = selection.last_rows[name].documents_out
    expected = min(Fraction(1), Fraction(SAMPLE, max(1, total)))
    parts: list[NDArray[Any]] = []
    found = 0
    for part in in_hash_order(
        selection.sources[name],
        selection.keep[name],
        selection.store,
        selection.cluster,
        expected=expected,
        label=STAGE,
    ):
        parts.append(part[: SAMPLE - found])
        found += len(parts[-1])
        if found == SAMPLE:
            break
    return np.concatenate(parts)
