"""Gopher's rules of quality: each rule by hand, datatrove's decision on real text, and other languages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from datatrove.pipeline.filters import GopherQualityFilter

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Step
from mixproof.pipeline.record import Raw
from mixproof.pipeline.steps import Drop, make_steps
from mixproof.pipeline.steps.document import Document

GOOD = "The house stands on a hill that you can see from the harbour, and people come with boats to look at it. "
GERMAN = "Das Haus steht auf einem Hügel, den man vom Hafen sieht, und die Leute kommen in Booten, um es zu sehen. "


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD * 3, None),
        ("word " * 49, "gopher_short_doc"),
        ("word " * 49 + "... " * 30, "gopher_short_doc"),  # marks are no words
        ("word " * 100_001, "gopher_long_doc"),
        ("an is " * 50, "gopher_below_avg_threshold"),
        ("internationalization " * 60, "gopher_above_avg_threshold"),
        (GOOD * 3 + "#tag " * 20, "gopher_too_many_hashes"),
        (GOOD * 3 + "so ... " * 20, "gopher_too_many_ellipsis"),
        ("\n".join(f"- {GOOD}" for _ in range(10)), "gopher_too_many_bullets"),
        ("\n".join([f"- {GOOD}"] * 9 + [GOOD]), None),  # nine of ten is the bound, not above it
        ("\n".join([f"{GOOD}..."] * 4 + [GOOD] * 6), "gopher_too_many_end_ellipsis"),
        ("\n".join([f"{GOOD}..."] * 3 + [GOOD] * 7), None),
        (GOOD * 3 + "1234 " * 40, "gopher_below_alpha_threshold"),
        ("house hill harbour boats people " * 12, "gopher_enough_stop_words"),
        ("the house hill harbour boats people " * 12, "gopher_enough_stop_words"),
        ("the house and hill harbour boats people " * 12, None),
        ("The house And hill harbour boats people " * 12, "gopher_enough_stop_words"),  # as written
        ("", "gopher_short_doc"),
        (" \n ", "gopher_short_doc"),
    ],
)  # fmt: skip
def test_each_rule_gives_its_reason_and_datatroves(
    text: str, reason: str | None, decide: Callable[..., Any], datatrove_decides: Callable[..., Any]
) -> None:
    assert decide("gopher_quality")(text)[0] == reason
    if len(text) < 10_000:
        assert datatrove_decides(GopherQualityFilter())(text)[0] == reason


def test_on_real_text_the_decisions_are_datatroves(
    manual: list[str], decide: Callable[..., Any], datatrove_decides: Callable[..., Any]
) -> None:
    for options in ({}, {"min_stop_words": 6, "max_non_alpha_words_ratio": 0.75, "max_bullet_lines_ratio": 0.05}):
        ours, theirs = decide("gopher_quality", **options), datatrove_decides(GopherQualityFilter(**options))
        found = [ours(text) for text in manual]
        assert found == [theirs(text) for text in manual]
        assert len({reason for reason, _ in found}) > 1


def test_a_bound_of_null_is_off(decide: Callable[..., Any]) -> None:
    free = decide("gopher_quality", min_doc_words=None, min_stop_words=0, min_avg_word_length=None)
    assert free("one two three") == (None, "one two three")


def test_english_rules_drop_german_and_german_ones_keep_it(decide: Callable[..., Any]) -> None:
    assert decide("gopher_quality")(GERMAN * 3)[0] == "gopher_enough_stop_words"
    assert decide("gopher_quality", language="de")(GERMAN * 3)[0] is None
    assert decide("gopher_quality", language="deu")(GERMAN * 3)[0] is None
    assert (
        decide("gopher_quality", language="de", stop_words=["the", "and"])(GERMAN * 3)[0] == "gopher_enough_stop_words"
    )


def test_a_language_step_is_followed_and_options_may_hold_for_one_language_only() -> None:
    german_only = {"de": {"max_avg_word_length": 3.5}}
    label, plain, strict = make_steps(
        [
            Step(name="language", options={"label_only": True}),
            Step(name="gopher_quality"),
            Step(name="gopher_quality", options={"by_language": german_only}),
        ]
    )
    for text, kept in ((GERMAN * 3, False), (GOOD * 3, True)):
        document = Document(Raw(0, None, text))
        assert label.apply(document) == text
        assert plain.apply(document) == text
        assert (strict.apply(document) == text) is kept


def test_a_document_in_a_language_without_stop_words_is_dropped_by_that_name() -> None:
    (step,) = make_steps([Step(name="gopher_quality")])
    document = Document(Raw(0, None, GOOD * 3))
    document.language = "sw"
    assert step.apply(document) == Drop("gopher_no_stop_words_sw")
    document.language = "bo"
    assert step.apply(document) == Drop("no_words_bo")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"min_words": 3}, r"unknown option 'min_words' \(did you mean 'min_doc_words'\?\); known are language,"),
        ({"min_doc_words": "many"}, r"min_doc_words: .*integer, not 'many'"),
        ({"max_symbol_word_ratio": True}, r"max_symbol_word_ratio: .*number"),
        ({"stop_words": 3}, r"stop_words: .*list"),
        ({"language": "sw"}, r"no stop words for 'sw', .*by_language: \{sw: "),
        ({"language": "tlh"}, r"no stop words for 'tlh'"),
        ({"by_language": {"de": {"min_words": 3}}}, r"de\.min_words: .*not permitted"),
        ({"min_stop_words": 9}, r"min_stop_words is 9, but there are only 8 stop words"),
        ({"stop_words": []}, r"min_stop_words is 2, but there are only 0 stop words"),
        ({"min_doc_words": 9, "max_doc_words": 5}, r"min_doc_words 9 is above max_doc_words 5"),
        ({"by_language": {"sw": {}}}, r"no stop words for 'sw'"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_any_work(options: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=rf"sources\.a\.steps\[0\]\.gopher_quality.*{says}"):
        make_steps([Step(name="gopher_quality", options=options)], "sources.a.steps")


def test_a_language_that_a_language_step_keeps_must_be_one_the_next_step_can_judge() -> None:
    keep = Step(name="language", options={"keep": ["en", "sw"]})
    with pytest.raises(RequestError, match=r"steps\[1\]\.gopher_quality: .*no stop words for 'sw'"):
        make_steps([keep, Step(name="gopher_quality")])
    make_steps([keep, Step(name="gopher_quality", options={"by_language": {"sw": {"stop_words": ["na", "ya"]}}})])
