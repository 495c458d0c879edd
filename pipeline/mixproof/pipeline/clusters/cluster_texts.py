"""Cluster the texts of a sample: fine clusters, of which some are pruned and the others are merged, with names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.blocks.labels import Clusters

from .embed import embed
from .kmeans import nearest, spherical_kmeans
from .label_statistics import groups_of, pruned_clusters
from .merge import merge_clusters
from .telling_words import cluster_name, telling_words
from .token_table import TableFiles

FINE = 200
FINE_PER_CLUSTER = 10
"""At least this many fine clusters are found for each requested one."""
TYPICAL = 3
BATCH = 512


def cluster_texts(
    texts: Sequence[str],
    ids: Sequence[str],
    sizes: NDArray[np.int64],
    clusters: Clusters,
    table: TableFiles,
    columns: Mapping[str, Sequence[Any]] | None = None,
    fewest: int = 2,
    points: NDArray[np.int16] | None = None,
) -> dict[str, Any]:
    """Find the clusters of texts; returns the content of a cluster file.

    Args:
        texts: of the sample.
        ids: of its documents.
        sizes: bytes of each.
        clusters: what is requested.
        table: the token table.
        columns: by name, the labels of the documents by which fine clusters are merged and pruned.
        fewest: documents of the sample that a cluster should have.
        points: the embeddings of the texts, int16 [texts, dimensions], where they are known; made here if None.

    Raises:
        ValueError: when no text has a token, or every fine cluster is pruned.
    """
    points = _embedded(texts, table, clusters.chars) if points is None else points
    used = np.flatnonzero(points.any(axis=1))
    if not len(used):
        raise ValueError("no document has a token to be clustered by; check `text` of the source")
    points, sizes = points[used], sizes[used]
    known = {name: [values[index] for index in used.tolist()] for name, values in (columns or {}).items()}
    fine, fine_of = _fine_clusters(points, sizes, clusters)
    cluster_of = _merged(fine, fine_of, sizes, clusters, known, fewest)
    own = cluster_of[fine_of]
    kept = own >= 0
    clustered = used[kept].tolist()
    form = {
        "table_sha256": table.sha256,
        "chars": clusters.chars,
        "centroids": fine.astype(int).tolist(),
        "cluster_of": np.where(cluster_of < 0, cluster_of.max() + 1, cluster_of).astype(int).tolist(),
        "clusters": _described(
            [texts[index][: clusters.chars] for index in clustered],
            [ids[index] for index in clustered],
            sizes[kept],
            points[kept],
            own[kept],
        ),
    }
    return form if clusters.prune is None else {**form, "pruned": _pruned(cluster_of, kept, sizes)}


def _fine_clusters(
    points: NDArray[np.int16], sizes: NDArray[np.int64], clusters: Clusters
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """The centroids of fine clusters, int16 [fine, dimensions], and that of each document, int64 [documents]."""
    assert clusters.number is not None, "clusters that are found have a number"
    fine = spherical_kmeans(points, weights_of(sizes), max(FINE, FINE_PER_CLUSTER * clusters.number))
    return fine, nearest(points.astype(np.float64), fine.astype(np.float64))


def _embedded(texts: Sequence[str], table: TableFiles, chars: int) -> NDArray[np.int16]:
    batches = [embed(texts[first : first + BATCH], table, chars) for first in range(0, len(texts), BATCH)]
    return np.concatenate(batches)


def _pruned(cluster_of: NDArray[np.int64], kept: NDArray[np.bool_], sizes: NDArray[np.int64]) -> dict[str, int]:
    """What pruned fine clusters had of the sample."""
    return {
        "fine_clusters": int((cluster_of < 0).sum()),
        "sample_documents": int((~kept).sum()),
        "sample_bytes": int(sizes[~kept].sum()),
    }


def _merged(
    fine: NDArray[np.int16],
    fine_of: NDArray[np.int64],
    sizes: NDArray[np.int64],
    clusters: Clusters,
    columns: Mapping[str, Sequence[Any]],
    fewest: int,
) -> NDArray[np.int64]:
    """The cluster of each fine one, int64 [fine]; -1 for those that are pruned."""
    number = clusters.number
    assert number is not None, "clusters that are found have a number"
    fine_sizes = np.bincount(fine_of, sizes, len(fine)).astype(np.int64)
    documents = np.bincount(fine_of, minlength=len(fine))
    pruned = pruned_clusters(clusters.prune or (), columns, fine_of, len(fine))
    if pruned[documents > 0].all():
        raise ValueError("`prune` leaves no fine cluster; loosen its bounds")
    groups = None
    if clusters.within is not None:
        groups = groups_of(clusters.within, columns, fine_of, sizes, len(fine), number)[~pruned]
    found = np.full(len(fine), -1)
    kept = ~pruned
    found[kept] = merge_clusters(fine[kept], fine_sizes[kept], documents[kept], number, groups, fewest)
    return found


def _described(
    texts: Sequence[str],
    ids: Sequence[str],
    sizes: NDArray[np.int64],
    points: NDArray[np.int16],
    own: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Name, telling words, sizes and typical documents of each cluster."""
    words = telling_words(texts, own.tolist(), int(own.max()) + 1)
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
                "typical": [ids[index] for index in closest.tolist()],
            }
        )
    return described


def weights_of(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """How much a document counts for centroids: the root of its size, so that long documents have clusters, too."""
    return np.clip(np.sqrt(sizes / 100).astype(np.int64), 1, 1000)
