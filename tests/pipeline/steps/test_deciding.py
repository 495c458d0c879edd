"""Every reason leads to an option that its step has."""

from __future__ import annotations

import pytest

from mixproof.pipeline.steps.deciding import _OPTION_OF, option_of
from mixproof.pipeline.steps.registry import KINDS


@pytest.mark.parametrize(
    ("step", "reason", "option"),
    [
        ("gopher_quality", "gopher_below_alpha_threshold", "max_non_alpha_words_ratio"),
        ("gopher_quality#2", "gopher_no_stop_words_sw", "stop_words"),
        ("gopher_repetition", "duplicated_10_n_grams", "dup_n_grams"),
        ("gopher_repetition", "top_2_gram", "top_n_grams"),
        ("language", "language_de", "keep"),
        ("language", "language_score", "min_score"),
        ("language", "language_missing", "field"),
        ("gopher_quality", "no_words_zh", None),
        ("c4_quality", "too_short", None),
        ("GopherQualityFilter", "gopher_short_doc", None),
    ],
)
def test_a_reason_has_its_option(step: str, reason: str, option: str | None) -> None:
    assert option_of(step, reason) == option


def test_every_option_named_is_one_of_its_step() -> None:
    for step, options in _OPTION_OF.items():
        assert set(options.values()) <= set(KINDS[step].options.model_fields)
