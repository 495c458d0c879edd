"""Scores by tables are those of fastText: any n-grams, labels and dimensions, and texts with whatever bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from mixproof.pipeline.classifiers.fasttext_file import load_fasttext, predict, sha256_of_model
from mixproof.pipeline.classifiers.fasttext_scoring import label_scores, most_probable, scorer_of_model
from mixproof.pipeline.classifiers.fasttext_tables import read_tables
from static_table import text_of

TEXTS = [
    *(text_of(topic, number) for topic in ("law", "sea", "food") for number in range(20)),
    "",
    "   \n\t ",
    "words that no training text has, näive façade 東京 🙂",
    "a\0b court\r\nof\vlaw\f__label__law and __label__x more",
    "the court </s> and what follows is not read",
    "</s>",
    "x" * 3000 + " court " + "é" * 500,
    "one",
]


LABELS = ("law", "sea", "food")


def written(path: Path, *, ngrams: int = 1, loss: int = 3, longest: int = 0) -> str:
    """A model with random numbers, six dimensions and 1,000 buckets, as fastText writes it."""
    random = np.random.default_rng(ngrams)
    words = sorted({word.encode() for text in TEXTS[:60] for word in text.split()} | {b"</s>", "façade".encode()})
    names = [*((word, 0) for word in words), *((f"__label__{label}".encode(), 1) for label in LABELS)]
    matrices = [random.normal(size=(rows, 6)) * 3 for rows in (len(words) + 1000, len(LABELS))]
    parts = [
        struct.pack("<2i", 793712314, 12),
        struct.pack("<12id", 6, 5, 5, 1, 5, ngrams, loss, 3, 1000, min(longest, 2), longest, 100, 1e-4),
        struct.pack("<3i2q", len(names), len(words), len(LABELS), 1000, -1),
        *(name + b"\0" + struct.pack("<qb", 10, kind) for name, kind in names),
        *(struct.pack("<?2q", False, *matrix.shape) + matrix.astype("<f4").tobytes() for matrix in matrices),
    ]
    path.write_bytes(b"".join(parts))
    return str(path)


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_probabilities_are_those_of_fasttext(tmp_path: Path, ngrams: int) -> None:
    path = written(tmp_path / "model.bin", ngrams=ngrams)
    sha256 = sha256_of_model(path)
    model = load_fasttext(path, sha256, None)
    expected = [predict(model, text, -1) for text in TEXTS]
    scorer = scorer_of_model(path, sha256)
    assert scorer is not None and scorer.tables.ngrams == ngrams
    for label in LABELS:
        for found, wanted in zip(label_scores(path, sha256, label)(TEXTS), expected, strict=True):
            assert (found is None) == (label not in wanted)
            assert found is None or found == pytest.approx(wanted[label], abs=1e-5)
    labels, scores = most_probable(path, sha256)(TEXTS)
    assert labels == [next(iter(each), None) for each in expected]
    assert max(score for score in scores if score is not None) > 0.9
    whole = scorer.probabilities(TEXTS)
    one_by_one = np.concatenate([scorer.probabilities([text]) for text in TEXTS])
    np.testing.assert_array_equal(whole, one_by_one)


def test_other_kinds_of_models_are_left_to_fasttext(tmp_path: Path) -> None:
    assert read_tables(Path(written(tmp_path / "ova.bin", loss=4))) is None
    path = written(tmp_path / "subwords.bin", longest=3)
    assert read_tables(Path(path)) is None
    sha256 = sha256_of_model(path)
    model = load_fasttext(path, sha256, None)
    labels, _ = most_probable(path, sha256)(TEXTS[:5])
    assert labels == [next(iter(predict(model, text, 1))) for text in TEXTS[:5]]
