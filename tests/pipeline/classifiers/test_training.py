"""What classifiers are made of: areas under ROC curves, shares of sources, and models that fastText itself can read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mixproof.pipeline.classifiers.fasttext_features import BUCKETS, find_features, word_keys_of, words_of
from mixproof.pipeline.classifiers.fasttext_file import load_fasttext, predict, sha256_of_model
from mixproof.pipeline.classifiers.fasttext_training import SCALE, descend, train_fasttext, training_order
from mixproof.pipeline.classifiers.linear import PENALTY, fit_logistic, sigmoid
from mixproof.pipeline.classifiers.roc import roc_auc
from mixproof.pipeline.classifiers.shares import equal_shares
from mixproof.pipeline.classifiers.training import folds_of

GOOD = [f"the court of appeal reads clause {n} of the statute\nand its « verdict »" for n in range(30)]
BAD = [f"BUY cheap\tshoes {n} now!!! klick hier, größte Auswahl </s> the court of appeal" for n in range(20)]


@pytest.mark.parametrize(
    ("scores", "positive", "area"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], 1.0),
        ([0.5, 0.5, 0.5], [0, 1, 1], 0.5),
        ([0.2, 0.5, 0.5, 0.9], [1, 1, 0, 0], 0.125),
    ],
)
def test_the_area_counts_pairs_in_the_right_order_and_ties_as_half(
    scores: list[float], positive: list[int], area: float
) -> None:
    assert roc_auc(np.array(scores), np.array(positive, np.bool_)) == area


def test_small_sources_give_what_they_have_and_large_ones_the_rest() -> None:
    assert equal_shares([5, 100, 100], 45) == [5, 20, 20]
    assert equal_shares([3, 4], 100) == [3, 4]
    assert sum(equal_shares([50, 1, 50, 50], 100)) == 100


def test_words_are_those_of_fasttext_and_their_hashes_take_bytes_as_signed() -> None:
    found = list(words_of("a\0b\x0bc __label__x d\n\u2003e </s> f"))
    assert found == [
        b"a",
        b"b",
        b"c",
        b"d",
        "\u2003e".encode(),
        b"</s>",
    ]

    def reference(word: bytes) -> int:
        found = 2166136261
        for byte in word:
            found = ((found ^ ((byte - 256 if byte > 127 else byte) & 0xFFFFFFFF)) * 16777619) & 0xFFFFFFFF
        return found

    words = [b"", b"a", "größte".encode(), b"statute" * 50]
    assert word_keys_of(words).hashes.view(np.uint32).tolist() == [reference(word) for word in words]


def test_fasttext_reads_the_model_and_finds_the_probabilities_that_were_trained(tmp_path: Path) -> None:
    texts, is_positive = [*GOOD, *BAD], np.array([True] * len(GOOD) + [False] * len(BAD))
    path = tmp_path / "model.bin"
    path.write_bytes(train_fasttext(texts, is_positive))
    model = load_fasttext(str(path), sha256_of_model(str(path)), "positive")
    dictionary, features = find_features(texts)
    weights = descend(features, is_positive, len(dictionary.words) + BUCKETS)
    for number in (0, 7, len(GOOD), len(texts) - 1):
        part = slice(features.bounds[number], features.bounds[number + 1])
        counts = features.counts[part]
        odds = float((weights[features.ids[part]] * counts).sum() / counts.sum() / SCALE)
        found = predict(model, texts[number], -1)
        assert found["positive"] == pytest.approx(1 / (1 + math.exp(-odds)), abs=2e-5)  # fastText adds 1e-5
        assert (found["positive"] > 0.5) == is_positive[number]
    assert train_fasttext(texts, is_positive) == path.read_bytes()


def test_both_sides_are_trained_on_equally_often_and_folds_have_both() -> None:
    is_positive = np.array([True] * 7 + [False] * 3)
    order = training_order(is_positive, 0)
    assert len(order) == 14 and is_positive[order].sum() == 7 and set(order.tolist()) == set(range(10))
    assert not np.array_equal(order, training_order(is_positive, 1))
    assert folds_of(is_positive).tolist() == [0, 1, 2, 3, 4, 0, 1, 0, 1, 2]


def test_the_weights_of_a_linear_model_are_at_the_minimum() -> None:
    random = np.random.default_rng(5)
    points = random.normal(size=(60, 4))
    is_positive = points[:, 0] + random.normal(size=60) > 0.5
    weights = fit_logistic(points, is_positive)
    rows = np.concatenate([points, np.ones((60, 1))], axis=1)
    share = np.where(is_positive, 0.5 / is_positive.sum(), 0.5 / (~is_positive).sum())
    slope = rows.T @ (share * (sigmoid(rows @ weights) - is_positive))
    assert np.allclose(slope[:-1], -PENALTY * weights[:-1], atol=1e-12) and abs(slope[-1]) < 1e-12
