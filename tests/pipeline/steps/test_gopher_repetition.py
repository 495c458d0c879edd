"""Gopher's rules of repetition: by hand, on generated texts of few words, and on real text as datatrove's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from datatrove.pipeline.filters import GopherRepetitionFilter
from datatrove.pipeline.filters.gopher_repetition_filter import find_all_duplicate, find_top_duplicate, get_n_grams
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.pipeline.steps.filters.gopher_repetition import (
    count_duplicates,
    find_duplicates,
    iter_lines,
    iter_paragraphs,
    lines_of,
    paragraphs_of,
)
from mixproof.pipeline.steps.filters.repeats import (
    LetterHashes,
    WordHashes,
    any_as_often,
    counted,
    covered,
    ends_of,
    first_of,
    repeated,
    top_count,
)
from mixproof.pipeline.steps.segmentation.words import splitter_of

VARIED = " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(400))
few_words = st.lists(st.sampled_from(["aaa", "bbb", "ccc", "ddd"]), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (VARIED, None),
        ("", "empty"),
        ("\n\n".join(["same here", "same here", VARIED]), "dup_para_frac"),
        ("\n\n".join([VARIED[:300], VARIED[:300], VARIED[300:600], VARIED[600:900]]), "dup_para_char_frac"),
        ("\n".join(["a line", "a line", VARIED]), "dup_line_frac"),
        ("\n".join([VARIED[:300], VARIED[:300], VARIED[300:600], VARIED[600:900]]), "dup_line_char_frac"),
        ("big house " * 20 + VARIED[:500], "top_2_gram"),
        (" ".join(f"{word} big red house" for word in VARIED.split()[:40]), "top_2_gram"),
        (" ".join([VARIED[:200], VARIED[200:400], VARIED[:200]]), "duplicated_5_n_grams"),
    ],
)
def test_each_rule_gives_its_reason_and_datatroves(
    text: str, reason: str | None, decide: Callable[..., Any], datatrove_decides: Callable[..., Any]
) -> None:
    assert decide("gopher_repetition")(text)[0] == reason
    assert datatrove_decides(GopherRepetitionFilter())(text)[0] == reason


def test_on_real_text_the_decisions_are_datatroves(
    manual: list[str], decide: Callable[..., Any], datatrove_decides: Callable[..., Any]
) -> None:
    for options in ({}, {"top_n_grams": ((2, 0.02), (3, 0.015)), "dup_n_grams": ((5, 0.03), (8, 0.01), (6, 0.005))}):
        ours = decide("gopher_repetition", **options)
        theirs = datatrove_decides(GopherRepetitionFilter(**options))
        found = [ours(text) for text in manual]
        assert found == [theirs(text) for text in manual]
        assert len({reason for reason, _ in found}) > 2


@settings(max_examples=120)
@given(few_words, st.integers(2, 10))
def test_counts_of_runs_are_those_of_datatroves_loops(pieces: list[str], n: int) -> None:
    words = splitter_of("en").words(" ".join(pieces))
    ends = ends_of(words)
    if len(pieces) < n:
        return
    hashes, letters = WordHashes(words).of(n), LetterHashes(words).of(n)
    assert (len(set(hashes.tolist())), len(set(letters.tolist()))) == (len(set(get_n_grams(pieces, n))),) * 2
    count, tops = top_count(hashes)
    first = first_of(hashes, tops)
    assert (int(ends[first + n] - ends[first]) + n - 1) * count == find_top_duplicate(get_n_grams(pieces, n))
    for found in (repeated(hashes), repeated(letters)):
        total = counted(found, n, ends)
        assert total == find_all_duplicate(pieces, n) <= covered(found, n, ends)
        assert int(found.later.sum()) == len(hashes) - len(set(get_n_grams(pieces, n)))
    assert any_as_often(hashes, count)
    assert not any_as_often(hashes, count + 1)


def test_runs_of_equal_letters_are_equal_wherever_words_begin() -> None:
    words = splitter_of("en").words("in to xx yy into xx")
    letters = LetterHashes(words)
    assert letters.of(3)[0] != letters.of(3)[3]
    assert int(letters.of(2)[0]) == int(letters.of(1)[4])
    assert WordHashes(words).of(2)[0] != WordHashes(words).of(1)[4]


@given(st.text(alphabet="ab \n", max_size=20))
def test_paragraphs_and_lines_are_those_of_the_expressions(text: str) -> None:
    assert paragraphs_of(text) == re.split(r"\n{2,}", text.strip()) == list(iter_paragraphs(text))
    assert lines_of(text) == re.split(r"\n+", text) == list(iter_lines(text))
    assert count_duplicates(iter_lines(text)) == find_duplicates(lines_of(text))


def test_duplicates_are_counted_from_the_second_on() -> None:
    assert find_duplicates(["ab", "c", "ab", "ab"]) == (4, 2, 4)
    assert find_duplicates(["ab", "c"]) == (2, 0, 0)
