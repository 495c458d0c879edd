"""No step is worse than n log n in a document's length, counted by what it does and not by the clock."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline.steps.filters.c4_quality import C4QualityOptions, _count
from mixproof.pipeline.steps.formatters.pii import PiiOptions, replace_emails
from mixproof.pipeline.steps.segmentation import rules
from mixproof.pipeline.steps.segmentation.chunks import Chunks
from mixproof.pipeline.steps.segmentation.words import splitter_of

HARD = (
    "()",
    "'",
    ":)",
    "...)",
    "(..",
    "$",
    "a-b",
    "http://a.b",
    "\U0001f600",
    ".a",
    "x(",
    "“’",
    "1km",
    "-",
    "'s",
    "IS_ALPHA(",
)


class Counted:
    """A function that counts the characters which it is given to look at."""

    def __init__(self, function: Callable[[str], Any]) -> None:
        self.function, self.chars = function, 0

    def __call__(self, string: str) -> Any:  # noqa: ANN401, D102  a match, matches or none
        self.chars += len(string)
        return self.function(string)


@pytest.fixture
def chunks() -> Chunks:
    found: Chunks = Chunks(splitter_of("en")._rules)  # type: ignore[attr-defined]
    assert found.rules is not None
    return found


def looked_at(chunks: Chunks, chunk: str) -> int:
    """Characters that the expressions and spaCy are given for one chunk."""
    assert chunks.rules is not None
    names = ("_prefix", "_suffix", "_infixes", "_address")
    counted = {name: Counted(getattr(chunks.rules, name)) for name in names}
    spacy = 0

    def by_spacy(given: Iterable[str]) -> list[list[str]]:
        nonlocal spacy
        spacy += sum(len(each) ** 2 for each in given)
        return [list(each) for each in given]

    for name, count in counted.items():
        setattr(chunks.rules, name, count)
    chunks._by_spacy = by_spacy  # type: ignore[method-assign, assignment]
    words = chunks.split(chunk)
    for name, count in counted.items():
        setattr(chunks.rules, name, count.function)
    assert "".join(words) == chunk
    # an address is tried on at most so many characters, and spaCy's time grows with their square
    assert counted["_address"].chars <= rules.MAX_URL_CHARS
    return spacy + sum(count.chars for count in counted.values())


@pytest.mark.parametrize("hard", HARD)
def test_twice_the_chunk_is_twice_the_work(chunks: Chunks, hard: str) -> None:
    small, large = (looked_at(chunks, hard * (size // len(hard))) for size in (20_000, 40_000))
    assert large <= 2.2 * small + 1000


def test_every_word_of_a_long_chunk_is_that_of_a_short_one(chunks: Chunks) -> None:
    for hard in ("(", ")", "$", "\U0001f600", "“"):
        assert list(chunks.split(hard * 5000)) == [hard] * 5000
    assert list(chunks.split("(" * 300 + "word" + ")" * 300)) == ["("] * 300 + ["word"] + [")"] * 300


def test_sentences_of_many_lines_are_counted_in_one_pass() -> None:
    splitter, options = splitter_of("en"), C4QualityOptions(min_num_sentences=10**6)
    lines = [f"One line, number {number}. It has two." for number in range(400)]
    words = splitter.words("\n".join(lines))
    kept = [(line, index) for index, line in enumerate(lines)]
    assert _count(kept, lines, words, splitter, options) == 800


PII = importlib.import_module("datatrove.pipeline.formatters.pii").PIIFormatter


@given(st.text(st.sampled_from("ab.@!-_ é[]1:"), max_size=40))
def test_addresses_are_replaced_as_datatrove_replaces_them(text: str) -> None:
    formatter = PII(remove_ips=False)
    expected = formatter.format(text)
    assert replace_emails(text, formatter.emails_replacer.regex, PiiOptions().email_replacement) == expected


def test_replacements_are_taken_in_turn() -> None:
    text = "a@b.cc, d@e.ff and (g.h!i@j.kk) but not @l.mm, n..o@p or q.@r.ss; t@[1.2.3.4] u@v.w_x@y.zz"
    formatter = PII(remove_ips=False)
    replaced = replace_emails(text, formatter.emails_replacer.regex, ("1", "2"))
    assert replaced == PII(remove_ips=False, email_replacement=("1", "2")).format(text)
    assert replaced.startswith("1, 2 and (1) but not @l.mm")


def test_the_expression_for_addresses_is_never_tried_in_vain() -> None:
    tried: list[tuple[int, int]] = []

    class Address:
        pattern = PII().emails_replacer.regex.pattern

        def search(self, text: str, start: int, end: int) -> None:
            tried.append((start, end))

    for text in (
        "a!" * 50_000 + " @",
        "a." * 50_000 + "@",
        "a.b" * 50_000 + "..@a.b",
        "a@" * 50_000,
        "a!" * 50_000 + "@[1.2]",
    ):
        replace_emails(text, Address(), ("x",))  # type: ignore[arg-type]  # only `search` is called
    assert sum(end - start for start, end in tried) == 0
    replace_emails("a!" * 50_000 + "b@c.dd", Address(), ("x",))  # type: ignore[arg-type]
    assert tried == [(0, 100_006)]
