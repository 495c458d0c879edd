"""C4's rules: lines that go, pages that go, and datatrove's text on real text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from datatrove.pipeline.filters import C4QualityFilter
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.pipeline.steps.filters.c4_quality import _has_long_word

FIVE = "One line here.\nTwo lines here!\nThree lines now?\nFour of them.\nFive of them."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FIVE, (None, FIVE)),
        (FIVE.replace("Five of them.", "Five"), ("too_few_sentences", "")),
        ("It is one. It is two. It is three. It is four. It is five.", (None, "It is one. It is two. It is three. "
                                                                            "It is four. It is five.")),
        (FIVE + "\nmenu bar here", (None, FIVE)),
        (FIVE + "\nand so on ...", (None, FIVE)),
        (FIVE + "\nToo short.", (None, FIVE)),
        (FIVE + "\nPlease enable JavaScript here.", (None, FIVE)),
        (FIVE + "\nRead our privacy policy now.", (None, FIVE)),
        (FIVE + "\nWe use cookies here too.", (None, FIVE)),
        (FIVE + f"\nOne {'x' * 1001} word here.", (None, FIVE)),
        (FIVE + "\nLorem ipsum dolor sit.", ("lorem_ipsum", "")),
        (FIVE + "\nif (x) { return it }.", ("curly_bracket", "")),
        (FIVE + "\nA fact[12] is here[citation needed].", (None, FIVE + "\nA fact is here.")),
        (FIVE + "\nAbout java[1]script it says.", (None, FIVE)),  # the citation goes first
        ("", ("too_few_sentences", "")),
    ],
)  # fmt: skip
def test_each_rule_by_hand_and_as_datatrove(
    text: str, expected: tuple[str | None, str], decide: Callable[..., Any], datatrove_decides: Callable[..., Any]
) -> None:
    assert decide("c4_quality")(text) == expected
    assert datatrove_decides(C4QualityFilter())(text) == expected


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"split_paragraph": False},
        {"filter_no_terminal_punct": False, "filter_curly_bracket": False, "min_num_sentences": 12},
        {"remove_citations": False, "min_words_per_line": 9, "max_word_length": 12, "min_num_sentences": 1},
        {"min_num_sentences": -1},
    ],
)
def test_on_real_text_decisions_and_texts_are_datatroves(
    options: dict[str, Any], manual: list[str], decide: Callable[..., Any], datatrove_decides: Callable[..., Any]
) -> None:
    ours, theirs = decide("c4_quality", **options), datatrove_decides(C4QualityFilter(**options))
    texts = manual[:20]
    assert [ours(text) for text in texts] == [theirs(text) for text in texts]


lines = st.lists(
    st.lists(
        st.sampled_from(
            ["Word", "e.g.", "end.", "(so)", "so!", '"said."', "Mr.", ")", "...", "  ", "[3]", "a\u00a0b."]
        ),
        max_size=9,
    ).map(" ".join),
    max_size=7,
)


@settings(max_examples=60)
@given(lines)
def test_on_generated_lines_decisions_and_texts_are_datatroves(parts: list[str]) -> None:
    from mixproof.mixtures.blocks.source import Step
    from mixproof.pipeline.record import Raw
    from mixproof.pipeline.steps import Drop, make_steps
    from mixproof.pipeline.steps.document import Document

    text = "\n".join(parts)
    (step,) = make_steps([Step(name="c4_quality", options={"min_num_sentences": 3})])
    result = step.apply(Document(Raw(0, None, text)))
    from datatrove.data import Document as DatatroveDocument

    document = DatatroveDocument(text=text, id="")
    kept = C4QualityFilter(min_num_sentences=3).filter(document)
    assert (document.text if kept is True else Drop(kept[1])) == result


def test_lines_end_as_their_language_ends_them(decide: Callable[..., Any]) -> None:
    text = "यह एक वाक्य है।\n" * 5
    assert decide("c4_quality", language="en")(text)[0] == "too_few_sentences"
    ours = decide("c4_quality", language="en", end_punctuation=["।"])
    assert ours(text) == (None, text.strip())


@given(st.text(alphabet="ab \t\u00a0", max_size=30), st.integers(1, 6))
def test_a_long_word_is_found_wherever_spaces_stand(text: str, most: int) -> None:
    line = text.strip()
    assert _has_long_word(line, most) == any(len(word) > most for word in line.split())
    assert not _has_long_word(line, -1)
