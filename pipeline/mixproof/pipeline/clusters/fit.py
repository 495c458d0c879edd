"""Find the clusters of a source: on a sample that its texts alone decide.

The sample is the SAMPLE documents with the smallest text hashes among those that deduplication kept, so it depends on
neither shards nor workers. It is embedded, k-means finds FINE clusters, and these are merged to the requested number.
All of it is exact (`embed.py`, `kmeans.py`), so the file's content is, too. The key of the output is made of the sample
and the table; a receipt without files remembers which shards gave which key, so an unchanged source is not searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
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
from .embed import VERSION as EMBED_VERSION
from .embed import embed
from .kmeans import nearest, spherical_kmeans
from .merge import merge_clusters
from .telling_words import cluster_name, telling_words
from .token_table import TableFiles

SAMPLE = 20_000
FINE = 200
FINE_PER_CLUSTER = 10
"""At least this many fine clusters are found for each requested one."""
TYPICAL = 3
BATCH = 512


def fit_clusters(selection: Selection, name: str, clusters: Clusters, table: TableFiles) -> ClusterFile:
    """Find the clusters of one source, unless the store has them.

    Raises:
        RequestError: when no document has a token.
    """
    source, store = selection.sources[name], selection.store
    config = {"number": clusters.number, "chars": clusters.chars, "table": table.sha256, "embed": EMBED_VERSION}
    memo = stage_key(STAGE, VERSION, {**config, "memo": True}, identity(source, selection.keep[name]))

    def find() -> Receipt:
        documents = _sample(selection, name)
        key = stage_key(STAGE, VERSION, config, [hex_of(document) for document in documents])
        if store.receipt(STAGE, key) is None:
            make(key, documents)
        with store.attempt(STAGE, memo) as attempt:
            return attempt.commit(facts={"key": key})

    def make(key: str, documents: NDArray[Any]) -> None:
        rows = fetch_texts(source.shards, documents, store, selection.cluster, label=STAGE)
        ids = [
            given if given is not None else f"{file}#{record}"
            for given, file, record in zip(
                *(rows[column].to_pylist() for column in ("id", "file", "record")), strict=True
            )
        ]
        texts: list[str] = rows["text"].to_pylist()
        try:
            form = cluster_texts(texts, ids, documents["bytes"].astype(np.int64), clusters, table)
        except ValueError as error:
            where = selection.spec.where("sources", name, "split_by")
            raise RequestError(f"{where}: {error}") from error
        with store.attempt(STAGE, key) as attempt:
            attempt.path(CLUSTERS).write_bytes(to_bytes(form))
            attempt.commit()

    remembered = make_missing(
        store,
        STAGE,
        memo,
        find,
        selection.cluster,
        is_complete=lambda found: store.receipt(STAGE, str(found.facts["key"])) is not None,
    )
    key = str(remembered.facts["key"])
    receipt = store.receipt(STAGE, key)
    assert receipt is not None, "it was found or made"
    return ClusterFile(f"{STAGE}/{key}/{CLUSTERS}", receipt.files[CLUSTERS].sha256, table)


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


def cluster_texts(
    texts: Sequence[str], ids: Sequence[str], sizes: NDArray[np.int64], clusters: Clusters, table: TableFiles
) -> dict[str, Any]:
    """Find the clusters of texts; returns the content of a cluster file.

    Args:
        texts: of the sample.
        ids: of its documents.
        sizes: bytes of each.
        clusters: what is requested.
        table: the token table.

    Raises:
        ValueError: when no text has a token.
    """
    number, chars = clusters.number, clusters.chars
    assert number is not None, "clusters that are found have a number"
    batches = [embed(texts[first : first + BATCH], table, chars) for first in range(0, len(texts), BATCH)]
    points = np.concatenate(batches)
    used = np.flatnonzero(points.any(axis=1))
    if not len(used):
        raise ValueError("no document has a token to be clustered by; check `text` of the source")
    points, sizes = points[used], sizes[used]
    fine = spherical_kmeans(points, weights_of(sizes), max(FINE, FINE_PER_CLUSTER * number))
    place = nearest(points.astype(np.float64), fine.astype(np.float64))
    fine_sizes, documents = np.bincount(place, sizes, len(fine)), np.bincount(place, minlength=len(fine))
    cluster_of = merge_clusters(fine, fine_sizes.astype(np.int64), documents, number)
    own = cluster_of[place]
    shown = [texts[index][:chars] for index in used.tolist()]
    words = telling_words(shown, own.tolist(), int(cluster_of.max()) + 1)
    described = []
    for cluster, telling in enumerate(words):
        members = np.flatnonzero(own == cluster)
        center = points[members].astype(np.float64).sum(axis=0)
        closest = members[np.argsort(-(points[members] @ center), kind="stable")[:TYPICAL]]
        described.append(
            {
                "name": cluster_name(cluster, len(words), telling),
                "words": telling,
                "sample_documents": len(members),
                "sample_bytes": int(sizes[members].sum()),
                "typical": [ids[int(used[index])] for index in closest],
            }
        )
    return {
        "table_sha256": table.sha256,
        "chars": chars,
        "centroids": fine.astype(int).tolist(),
        "cluster_of": cluster_of.astype(int).tolist(),
        "clusters": described,
    }


def weights_of(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """How much a document counts for centroids: the root of its size, so that long documents have clusters, too."""
    return np.clip(np.sqrt(sizes / 100).astype(np.int64), 1, 1000)
