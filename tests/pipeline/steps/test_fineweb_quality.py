"""FineWeb's rules: each by hand, and datatrove's decision on real text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from datatrove.pipeline.filters import FineWebQualityFilter

LINE = "This is a line of some length, number {}, and it ends as it should."
LINES = [LINE.format(number) for number in range(20)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n".join(LINES), None),
        (" \n\t\n", "empty"),
        ("\n".join([line + " or not" for line in LINES[:18]] + LINES[18:]), "line_punct_ratio"),
        ("\n".join([*LINES[:6], *[f"short {n}." for n in range(14)]]), "short_line_ratio"),
        ("\n".join([*LINES, LINES[0]]), "char_dup_ratio"),
        (("\n" * 8).join(LINES), "list_ratio"),
        ("\n".join([*LINES, "その行は。"]), None),
    ],
)
def test_each_rule_gives_its_reason_and_datatroves(
    text: str, reason: str | None, decide: Callable[..., Any], datatrove_decides: Callable[..., Any]
) -> None:
    assert decide("fineweb_quality")(text)[0] == reason
    assert datatrove_decides(FineWebQualityFilter())(text)[0] == reason


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, 2),
        (
            {
                "line_punct_thr": 0.3,
                "line_punct_exclude_zero": True,
                "short_line_thr": 0.9,
                "char_duplicates_ratio": 0.1,
            },
            2,
        ),
        ({"line_punct_thr": 0, "stop_chars": (":", "lo"), "short_line_length": 5, "char_duplicates_ratio": 1}, 1),
    ],
)
def test_on_real_text_the_decisions_are_datatroves(
    options: dict[str, Any],
    kinds: int,
    manual: list[str],
    decide: Callable[..., Any],
    datatrove_decides: Callable[..., Any],
) -> None:
    ours, theirs = decide("fineweb_quality", **options), datatrove_decides(FineWebQualityFilter(**options))
    found = [ours(text) for text in manual]
    assert found == [theirs(text) for text in manual]
    assert len({reason for reason, _ in found}) >= kinds
