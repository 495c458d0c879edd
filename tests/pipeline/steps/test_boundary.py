"""The value that a step measured is found with the step's own decisions."""

from __future__ import annotations

import pytest

from mixproof.mixtures.blocks.source import Step
from mixproof.pipeline.steps.boundary import LONGEST_TEXT, measured_value, option_value


def step(name: str, **options: object) -> Step:
    return Step(name=name, options=options)


@pytest.mark.parametrize("length", [0, 1, 7, 19])
def test_a_short_text_has_its_length(length: int) -> None:
    assert measured_value(step("length", min_chars=20), "too_short", "x" * length) == length


@pytest.mark.parametrize("length", [21, 39, 40, 41, 1_000])
def test_a_long_text_has_its_length(length: int) -> None:
    assert measured_value(step("length", max_chars=20), "too_long", "x" * length) == length


def test_words_and_shares_are_those_of_the_filter() -> None:
    gopher = step("gopher_quality", min_doc_words=20, max_non_alpha_words_ratio=0.8)
    assert measured_value(gopher, "gopher_short_doc", "the and of to " * 3) == 12
    # of every four words, two have no letter
    half = "the 1234 of 5678 " * 10
    assert measured_value(gopher, "gopher_below_alpha_threshold", half) == pytest.approx(0.5, abs=1e-4)
    long_words = "the internationalization of photosynthesizers internationalization " * 10
    average = sum(map(len, long_words.split())) / len(long_words.split())
    value = measured_value(step("gopher_quality"), "gopher_above_avg_threshold", long_words)
    assert value == pytest.approx(average, rel=1e-4)


def test_an_upper_share_is_found_between_the_threshold_and_one() -> None:
    # three of four lines end in an ellipsis
    text = "the first words that somebody wrote with nothing else below them ...\n" * 30 + "the last words\n" * 10
    value = measured_value(step("gopher_quality"), "gopher_too_many_end_ellipsis", text)
    assert value == pytest.approx(0.75, abs=1e-4)


def test_where_the_step_does_not_drop_the_text_for_that_reason_there_is_no_value() -> None:
    assert measured_value(step("length", min_chars=20), "too_short", "x" * 30) is None
    assert measured_value(step("length", min_chars=20), "too_long", "x" * 7) is None
    assert measured_value(step("length", min_chars=2 * LONGEST_TEXT), "too_short", "x" * (LONGEST_TEXT + 1)) is None
    assert measured_value(step("language", keep=["de"]), "language_en", "the end") is None
    assert measured_value(step("datatrove", **{"class": "GopherQualityFilter"}), "gopher_short_doc", "x") is None


def test_an_option_has_its_default_or_what_the_spec_says() -> None:
    assert option_value(step("gopher_quality"), "min_doc_words") == 50
    assert option_value(step("gopher_quality", min_doc_words=7), "min_doc_words") == 7
    assert option_value(step("gopher_quality", max_non_alpha_words_ratio="0.6"), "max_non_alpha_words_ratio") == 0.6
    assert option_value(step("length"), "no_such_option") is None
