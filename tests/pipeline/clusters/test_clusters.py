"""Clusters of texts: exact embeddings, k-means, merging and names, on a small token table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.labels import Clusters
from mixproof.pipeline.clusters.embed import KINDS, UNIT, embed
from mixproof.pipeline.clusters.fit import cluster_texts
from mixproof.pipeline.clusters.kmeans import nearest, spherical_kmeans
from mixproof.pipeline.clusters.merge import merge_clusters
from mixproof.pipeline.clusters.telling_words import cluster_name, telling_words
from mixproof.pipeline.clusters.token_table import MOST, TableFiles, find_table, load_table
from static_table import TOPICS, text_of, write_table

TEXTS = [text_of(topic, number) for number in range(20) for topic in TOPICS]
SIZES = np.array([len(text.encode()) for text in TEXTS], np.int64)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TableFiles:
    return find_table(write_table(tmp_path_factory.mktemp("table")))


def test_a_table_is_read_as_whole_numbers_and_a_wrong_folder_is_refused(table: TableFiles, tmp_path: Path) -> None:
    vectors = load_table(table.table)
    assert vectors.shape == (19, 8) and vectors.max() == MOST and not vectors[0].any()
    with pytest.raises(RequestError, match=r"model\.safetensors: no such file"):
        find_table(tmp_path)


def test_an_embedding_is_the_same_alone_and_in_any_batch_and_looks_at_the_first_characters(table: TableFiles) -> None:
    together = embed(TEXTS, table, 2000)
    assert together.shape == (60, 8 + KINDS)
    assert np.array_equal(together, np.concatenate([embed([text], table, 2000) for text in TEXTS]))
    lengths = np.sqrt((together.astype(np.float64) ** 2).sum(axis=1))
    assert np.abs(lengths - UNIT).max() < 3
    assert np.array_equal(embed(["bread ship"], table, 5), embed(["bread oven"], table, 5))
    assert not embed([" \n"], table, 10).any()  # no tokens


def test_kmeans_finds_groups_and_no_more_centroids_than_points_that_differ() -> None:
    points = np.array([[UNIT, 0], [UNIT, 0], [0, UNIT], [0, UNIT], [-UNIT, 0]], np.int16)
    weights = np.ones(5, np.int64)
    centroids = spherical_kmeans(points, weights, 3)
    assert {tuple(row) for row in centroids.tolist()} == {(UNIT, 0), (0, UNIT), (-UNIT, 0)}
    assert len(spherical_kmeans(points, weights, 50)) == 3
    found = nearest(points.astype(np.float64), centroids.astype(np.float64))
    assert found[0] == found[1] != found[2] == found[3] != found[4]


def test_near_clusters_are_merged_but_not_beyond_twice_the_mean_size() -> None:
    corners = [[UNIT, 0, 0], [4090, 220, 0], [4070, 460, 0], [0, UNIT, 0], [0, 0, UNIT]]
    centroids = np.array(corners, np.int16)
    many = np.full(5, 1000)
    assert merge_clusters(centroids, np.array([10, 10, 10, 10, 10]), many, 3).tolist() == [0, 0, 0, 1, 2]
    uneven = merge_clusters(centroids, np.array([60, 60, 10, 10, 10]), many, 3)
    assert uneven[0] != uneven[1]  # together they would have 120 of 150, where the mean is 50
    assert merge_clusters(centroids, np.array([1, 5, 3, 2, 4]), many, 9).tolist() == [4, 0, 2, 3, 1]


def test_a_cluster_of_one_long_document_is_merged_first() -> None:
    centroids = np.array([[UNIT, 0, 0], [4090, 220, 0], [0, UNIT, 0], [0, 2896, 2896]], np.int16)
    sizes, documents = np.array([10, 10, 10, 90]), np.array([20, 20, 20, 1])
    assert merge_clusters(centroids, sizes, documents, 3).tolist() == [1, 2, 0, 0]


def test_a_cluster_is_named_by_the_words_that_tell_it_from_others() -> None:
    words = telling_words(["the court and the judge", "the court", "the ship", "the sail"], [0, 0, 1, 1], 2)
    assert words[0][:2] == ["court", "and"] and set(words[1][:2]) == {"ship", "sail"}
    assert cluster_name(0, 11, ["закон", "court", "judge", "act", "of"]) == "c01-court-judge-act"
    assert cluster_name(8, 2000, ["закон"]) == "c0009"


def test_texts_of_three_topics_make_three_clusters_whatever_their_order(table: TableFiles) -> None:
    found = cluster_texts(TEXTS, [str(n) for n in range(60)], SIZES, Clusters(number=3), table)
    centroids, cluster_of = np.array(found["centroids"], np.float64), np.array(found["cluster_of"])
    own = cluster_of[nearest(embed(TEXTS, table, 2000).astype(np.float64), centroids)].reshape(20, 3)
    assert [len(set(column)) for column in own.T] == [1, 1, 1] and len(set(own[0].tolist())) == 3
    assert sum(cluster["sample_documents"] for cluster in found["clusters"]) == 60
    assert sum(cluster["sample_bytes"] for cluster in found["clusters"]) == SIZES.sum()


def test_fewer_texts_than_clusters_and_equal_texts_make_fewer_clusters(table: TableFiles) -> None:
    few = cluster_texts(["court judge", "ship sail"], ["a", "b"], np.array([11, 9]), Clusters(number=5), table)
    assert len(few["clusters"]) == 2
    same = cluster_texts(["court"] * 4, list("abcd"), np.full(4, 5), Clusters(number=2), table)
    assert [cluster["name"] for cluster in same["clusters"]] == ["c01-court"]
    with pytest.raises(ValueError, match="no document has a token"):
        cluster_texts([" "], ["a"], np.array([1]), Clusters(number=2), table)
