"""spaCy's rules without spaCy: its words, or none where special cases may meet."""

from __future__ import annotations

import re
from typing import Any

import pytest
from datatrove.utils.word_tokenizers import load_word_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.pipeline.steps.segmentation.expressions import at_the_start, near_the_end, where_one_begins, with_a_dot
from mixproof.pipeline.steps.segmentation.rules import Rules

PIECES = (
    "word", "Word", "ABC", "naïve", "слово", "日本語", "مثال", "'s", "can't", "cannot", "10km", "5pm", "U.S.", ":)",
    "8)", "http://x.y/z", "foo@bar.com", "$x_i$", "[[a|b]]", "<ref>", "35-2109", "~", "^", "…", "...", "—", "-", "--",
    ",", ".", "/", "=", ":", ";", "(", ")", "“", "’", "%", "#", "*", "_", "\\", "{", "}", "½", "©", "5", "3.14",
)  # fmt: skip
chunks = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    return {code: load_word_tokenizer(code).tokenizer.tokenizer for code in ("eng", "deu", "fra")}


@pytest.fixture(scope="module")
def rules(tokenizers: dict[str, Any]) -> dict[str, Rules]:
    return {code: Rules(tokenizer) for code, tokenizer in tokenizers.items()}


@settings(max_examples=200)
@given(chunks, st.sampled_from(["eng", "deu", "fra"]))
def test_a_chunk_has_the_words_that_spacy_finds_or_is_left_to_it(
    tokenizers: dict[str, Any], rules: dict[str, Rules], chunk: str, code: str
) -> None:
    found = rules[code].split(chunk)
    assert found is None or found == [token.text for token in tokenizers[code](chunk)]


def test_special_cases_are_split_here_and_only_where_they_may_meet_is_spacy_asked(
    tokenizers: dict[str, Any], rules: dict[str, Rules]
) -> None:
    split = rules["eng"].split
    assert split("(written—that") == ["(", "written", "—", "that"]
    assert split("https://a.org/b),") == ["https://a.org/b", ")", ","]
    assert split("35-2109.") == ["35", "-", "2109", "."]
    assert split("“don't") == ["“", "do", "n't"]
    assert split("(cannot)") == ["(", "can", "not", ")"]
    assert split("word:)") == ["word", ":)"]  # colon and bracket come off one by one
    assert split("''[[a''") == ["''", "[", "[", "a", "''"]
    assert split("non-cannot") == ["non", "-", "cannot"]
    for chunk in ("“don't", "(cannot)", "word:)", "''[[a''", "''''", "8-10(8)(b)", "(:))"):
        assert split(chunk) == [token.text for token in tokenizers["eng"](chunk)]


def test_an_expression_is_tried_only_where_it_can_match_and_finds_the_same() -> None:
    prefix, suffix = re.compile(r"^\(|^US\$|^U|^[«„]"), re.compile(r"\)$|(?<=[0-9])km$|m$|[,;]$")
    infix, address = re.compile(r"(?<=[a-z])-(?=[a-z])|\.\.+"), re.compile(r"^\w+\.(?:org|com)$")
    starts, ends = at_the_start(prefix.search), near_the_end(suffix.search)
    infixes, addressed = where_one_begins(infix.finditer), with_a_dot(address.match)
    for text in ("(a)", "US$5", "USA", "5km", "km", "a;", "a-b...c-D-e", "..a", "a.org", "aXorg", "-", "", "„x"):
        for fast, search in ((starts, prefix.search), (ends, suffix.search), (addressed, address.match)):
            found, expected = fast(text) if text else None, search(text) if text else None
            assert (found and found.span()) == (expected and expected.span())
        assert [one.span() for one in infixes(text)] == [one.span() for one in infix.finditer(text)]


def test_an_expression_of_another_form_stays_as_it_is() -> None:
    for search in (re.compile(r"^a|b").search, re.compile(r"a*").search, str.isalpha):
        assert at_the_start(search) is search  # type: ignore[arg-type]
    for find in (re.compile(r"x*").finditer, re.compile(r"(?=y)").finditer):
        assert where_one_begins(find) is find
    match = re.compile(r"a\.|b").match
    assert with_a_dot(match) is match
