"""Labels of texts and of records: each kind, and documents without a value."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.labels import FieldLabel, Label
from mixproof.pipeline.labels.distribution import distribution
from mixproof.pipeline.labels.label_shards import field_value
from mixproof.pipeline.labels.labeler import Labeler, make_labeler
from mixproof.pipeline.labels.patterns import search_all
from mixproof.pipeline.record import Raw

GERMAN = "Das ist ein deutscher Satz, und er hat\nzwei Zeilen."
ENGLISH = "This is an English sentence that is quite plain."


def labels(given: dict[str, Any], texts: list[str]) -> Any:  # noqa: ANN401  values, and perhaps confidences
    return Labeler(Label.model_validate(given)).of_texts(Store("unused"))(texts)


@pytest.mark.parametrize(("unit", "length"), [("bytes", 12), ("characters", 10), ("words", 3)])
def test_a_length_counts_bytes_characters_or_words(unit: str, length: int) -> None:
    assert labels({"length": unit}, ["zwölf  Ü b"]) == ([length], None)


def test_an_expression_without_a_group_is_true_or_false_and_one_with_a_group_is_its_first_match() -> None:
    assert labels({"regex": r"\d"}, ["a1", "b"]) == (["true", "false"], None)
    assert labels({"regex": r"#(\w*)"}, ["a #one #two", "none", "# empty"]) == (["one", None, None], None)
    with pytest.raises(ValueError, match="has 2 groups"):
        Label(regex="(a)(b)")


def test_an_expression_that_backtracks_without_end_is_an_error_that_names_it_and_the_text() -> None:
    with pytest.raises(RequestError, match=r"the regex '\(a\+\)\+\$' did not finish within 0.2 s on the text .*'aaa"):
        search_all(re.compile("(a+)+$"), ["fine", "a" * 40 + "!"], patience_seconds=0.2)
    assert [match is None for match in search_all(re.compile("b"), ["a", "ab"])] == [True, False]


def test_a_filter_gives_its_verdict(tmp_path: Path) -> None:
    datatrove = {"step": {"name": "datatrove", "options": {"class": "GopherQualityFilter", "min_doc_words": 5}}}
    kept = ENGLISH + " And it goes on with the words that are wanted of it."
    assert labels(datatrove, [kept, "Too short."]) == (["kept", "gopher_short_doc"], None)
    assert labels({"step": {"name": "length", "options": {"min_chars": 11}}}, [kept, "Too short."])[0][1] == "too_short"
    other = make_labeler(Label.model_validate(datatrove), tmp_path)
    assert "datatrove" in str(other.identity()["step"]) and not other.label.is_number
    for step in ({"name": "pii"}, {"name": "score", "options": {"field": "score", "min": 1}}):
        with pytest.raises(RequestError, match="changes texts|needs other fields"):
            make_labeler(Label.model_validate({"step": step}), tmp_path).check()


def test_a_language_has_a_code_and_a_confidence() -> None:
    codes, confidences = labels({"language": {}}, [GERMAN, ENGLISH])
    assert codes == ["de", "en"]
    assert all(0.5 < score <= 1.001 for score in confidences)


def test_a_fasttext_model_gives_its_most_probable_label_or_the_probability_of_one(fasttext_model: Path) -> None:
    best = make_labeler(Label.model_validate({"fasttext": {"model": "model.bin"}}), fasttext_model.parent)
    one = make_labeler(Label.model_validate({"fasttext": {"model": "model.bin", "label": "de"}}), fasttext_model.parent)
    (codes, scores), (german, none) = (
        best.of_texts(Store("unused"))([GERMAN]),
        one.of_texts(Store("unused"))([GERMAN, ENGLISH]),
    )
    assert (codes, none) == (["de"], None)
    assert scores is not None and german[0] == scores[0] and german[1] < 0.1
    assert str(fasttext_model) not in str(best.identity()) and best.identity() != one.identity()


def test_a_model_that_is_missing_or_has_no_such_label_is_an_error_that_names_it(fasttext_model: Path) -> None:
    with pytest.raises(RequestError, match=r"other\.bin: no such file"):
        make_labeler(Label.model_validate({"fasttext": {"model": "other.bin"}}), fasttext_model.parent)
    wrong = make_labeler(
        Label.model_validate({"fasttext": {"model": "model.bin", "label": "good"}}), fasttext_model.parent
    )
    with pytest.raises(RequestError, match="the model has no label 'good'; it has "):
        wrong.of_texts(Store("unused"))
    fasttext_model.write_bytes(b"not a model")
    with pytest.raises(RequestError, match="changed since the command started"):
        wrong.of_texts(Store("unused"))


@pytest.mark.parametrize(
    ("value", "text", "number"),
    [
        ("law", "law", None),
        (3, "3", 3.0),
        (Decimal("0.25"), None, 0.25),
        (True, "true", None),
        (None, None, None),
        (float("nan"), None, None),
        (Decimal("NaN"), None, None),
        (["law"], None, None),
    ],
)
def test_a_field_is_a_text_or_a_number_or_no_value(value: object, text: str | None, number: float | None) -> None:
    record = Raw(0, None, "a text", {"meta": {"topic": value}})
    assert field_value(record, FieldLabel(name="meta.topic")) == text
    assert field_value(record, FieldLabel(name="meta.topic", type="number")) == number


def test_a_distribution_counts_values_and_gives_quantiles_of_numbers() -> None:
    kinds = distribution([pa.chunked_array([["b", "a", None]]), pa.chunked_array([["b"]])])
    assert (kinds.documents, kinds.unlabelled, kinds.values, kinds.distinct) == (4, 1, {"b": 2, "a": 1}, 2)
    sizes = distribution([pa.chunked_array([pa.array([5, 1, None, 3], pa.int64())])])
    assert sizes.quantiles == {"0": 1, "5": 1, "25": 1, "50": 3, "75": 3, "95": 3, "100": 5}
