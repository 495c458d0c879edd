"""Clusters of texts: exact embeddings, k-means, merging and names, on a small token table."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.labels import Clusters, Prune
from mixproof.pipeline.clusters.cluster_texts import cluster_texts
from mixproof.pipeline.clusters.embed import KINDS, UNIT, embed
from mixproof.pipeline.clusters.kmeans import nearest, spherical_kmeans
from mixproof.pipeline.clusters.label_statistics import ANY, groups_of, pruned_clusters
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
    for content in (b"", b"\xff" * 20, b"\x02" + bytes(7) + b"{"):
        (tmp_path / "broken").write_bytes(content)
        load_table.cache_clear()
        with pytest.raises(RequestError, match="broken: not a safetensors file: its header cannot be read"):
            load_table(str(tmp_path / "broken"))


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"data_offsets": [-16, 0]}, "do not hold"),
        ({"data_offsets": [0, 2**80]}, "do not hold"),
        ({"shape": [3, 2]}, "do not hold"),
        ({"shape": [-2, -2]}, "do not hold"),
        ({"data_offsets": "ab"}, "TypeError"),
        ({"shape": [0, 2], "data_offsets": [0, 0]}, "is empty"),
    ],
)
def test_a_header_that_does_not_fit_its_tensors_is_refused(
    tmp_path: Path, stated: dict[str, object], reason: str
) -> None:
    head = json.dumps({"embeddings": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **stated}}).encode()
    (tmp_path / "table").write_bytes(len(head).to_bytes(8, "little") + head + np.ones(4, "<f4").tobytes())
    load_table.cache_clear()
    with pytest.raises(RequestError, match=f"table: not a safetensors file with a token table: .*{reason}"):
        load_table(str(tmp_path / "table"))


def test_a_short_mapping_cannot_name_a_long_row_so_often_that_memory_is_exhausted(tmp_path: Path) -> None:
    header = {
        "embeddings": {"dtype": "I8", "shape": [1, 1_000], "data_offsets": [0, 1_000]},
        "mapping": {"dtype": "I8", "shape": [600_000], "data_offsets": [1_000, 601_000]},
    }
    head = json.dumps(header).encode()
    (tmp_path / "table").write_bytes(len(head).to_bytes(8, "little") + head + b"\1" * 1_000 + bytes(600_000))
    load_table.cache_clear()
    with pytest.raises(RequestError, match="mapping makes 600000 rows of 1000 values, more than 536870912"):
        load_table(str(tmp_path / "table"))


def test_folders_of_sentence_transformers_and_a_reduced_vocabulary_of_model2vec_are_read(tmp_path: Path) -> None:
    inner = write_table(tmp_path / "model" / "0_StaticEmbedding")
    assert find_table(tmp_path / "model") == find_table(inner)
    tensors = {  # four tokens share two rows; the second of each pair counts half
        "embeddings": np.array([[1, 0], [0, -1]], "<f4"),
        "mapping": np.array([0, 0, 1, 1], "<i8"),
        "weights": np.array([1, 0.5, 1, 0.5], "<f8"),
    }
    names = {"<f4": "F32", "<i8": "I64", "<f8": "F64"}
    header, data = {}, b""
    for name, each in tensors.items():
        offsets = [len(data), len(data) + each.nbytes]
        header[name] = {"dtype": names[each.dtype.str], "shape": list(each.shape), "data_offsets": offsets}
        data += each.tobytes()
    head = json.dumps(header).encode()
    (tmp_path / "reduced").write_bytes(len(head).to_bytes(8, "little") + head + data)
    half = round(MOST / 2)
    assert load_table(str(tmp_path / "reduced")).tolist() == [[MOST, 0], [half, 0], [0, -MOST], [0, -half]]


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


def test_clusters_that_cannot_supply_a_heldout_set_are_merged_at_the_end() -> None:
    centroids = np.array([[UNIT, 0, 0], [4090, 220, 0], [0, UNIT, 0], [0, 0, UNIT], [0, 220, 4090]], np.int16)
    sizes, documents = np.array([30, 10, 10, 90, 30]), np.array([40, 40, 40, 3, 40])
    assert merge_clusters(centroids, sizes, documents, 4).tolist() == [1, 1, 3, 0, 2]
    assert merge_clusters(centroids, sizes, documents, 4, fewest=4).tolist() == [1, 2, 3, 0, 0]


def test_merging_begins_early_enough_that_each_cluster_supplies_a_heldout_set() -> None:
    near, far = [[2595, 3120, -558], [4093, -151, -56], [3805, 42, -1516]], [[-2779, -1769, 2434], [-302, 3814, 1463]]
    centroids = np.array([*near, *far, [-338, -1631, -3742]], np.int16)
    sizes, documents = np.array([200, 100, 100, 400, 20, 20]), np.array([2, 20, 40, 1, 2, 2])
    late = merge_clusters(centroids, sizes, documents, 2, fewest=3)
    assert sorted(np.bincount(late, documents).tolist()) == [3, 64]
    early = merge_clusters(centroids, sizes, documents, 2, fewest=9)  # from the start, and not when four are left
    assert sorted(np.bincount(early, documents).tolist()) == [24, 43]


def test_groups_are_merged_last_and_small_groups_are_not_kept_apart() -> None:
    corners = [[UNIT, 0, 0], [4090, 220, 0], [0, UNIT, 0], [220, 4090, 0], [0, 0, UNIT]]
    centroids, many, sizes = np.array(corners, np.int16), np.full(5, 1000), np.full(5, 10)
    apart = merge_clusters(centroids, sizes, many, 2, np.array([1, 2, 1, 2, ANY]))
    assert apart[0] == apart[2] != apart[1] == apart[3]
    assert merge_clusters(centroids, sizes, many, 3, np.array([ANY] * 5)).tolist() == [0, 0, 1, 1, 2]
    fine, bytes_of = np.array([0, 0, 1, 1, 2, 3]), np.array([60, 1, 50, 1, 9, 30])
    languages = {"language": ["en", "de", "de", None, "en", "fr"]}
    groups = groups_of(["language"], languages, fine, bytes_of, 4, 2)
    assert groups.tolist() == [2, 1, 2, ANY]  # fr has 30 of 151 bytes, less than half of a mean cluster


def test_fine_clusters_are_pruned_by_the_mean_of_a_number_or_the_share_of_a_value() -> None:
    fine = np.array([0, 0, 0, 1, 1, 2])
    columns: dict[str, list[float | str | None]] = {
        "quality": [0.25, 0.75, None, 0.5, 0.625, None],
        "language": ["en", None, "de", "en", "en", "de"],
    }
    low = pruned_clusters([Prune(label="quality", below=Fraction(1, 2))], columns, fine, 4)
    assert low.tolist() == [False, False, False, False]  # the mean of the first is the bound
    low = pruned_clusters([Prune(label="quality", below=Fraction(51, 100))], columns, fine, 4)
    assert low.tolist() == [True, False, False, False]
    english = Prune(label="language", is_="en", below=Fraction(1, 2))
    assert pruned_clusters([english], columns, fine, 4).tolist() == [True, False, True, False]


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


def test_one_language_and_a_label_that_half_of_the_records_lack_change_nothing(table: TableFiles) -> None:
    plain = cluster_texts(TEXTS, list(map(str, range(60))), SIZES, Clusters(number=3), table)
    for language in (["en"] * 60, ["en" if number % 2 else None for number in range(60)], [None] * 60):
        within = Clusters(number=3, within=("language",))
        found = cluster_texts(TEXTS, list(map(str, range(60))), SIZES, within, table, {"language": language})
        assert found["cluster_of"] == plain["cluster_of"]


def test_code_alone_is_divided_by_its_characters_where_the_table_knows_no_word(table: TableFiles) -> None:
    python = [f"def f{number}(x):\n    return x + {number}\n" for number in range(20)]
    markup = [f"<div class='a{number}'><p>{number}</p></div>" for number in range(20)]
    sizes = np.full(40, 30)
    found = cluster_texts([*python, *markup], list(map(str, range(40))), sizes, Clusters(number=2), table)
    centroids, cluster_of = np.array(found["centroids"], np.float64), np.array(found["cluster_of"])
    own = cluster_of[nearest(embed([*python, *markup], table, 2000).astype(np.float64), centroids)]
    assert len(set(own[:20].tolist())) == len(set(own[20:].tolist())) == 1 and own[0] != own[20]


def test_rules_that_prune_everything_are_an_error(table: TableFiles) -> None:
    rule = Clusters(number=2, prune=(Prune(label="stars", above=Fraction(0)),))
    with pytest.raises(ValueError, match="`prune` leaves no fine cluster"):
        cluster_texts(TEXTS, list(map(str, range(60))), SIZES, rule, table, {"stars": [1.0] * 60})
