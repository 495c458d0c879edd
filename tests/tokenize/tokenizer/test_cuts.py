"""Where a long text may be cut, by hand; `tests/fuzz/test_cuts.py` compares pieces with wholes for many tokenizers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from mixproof.tokenize.tokenizer import cuts
from mixproof.tokenize.tokenizer.cut_rules import cuts_of_huggingface
from mixproof.tokenize.tokenizer.cuts import (
    Cuts,
    PairCuts,
    Rows,
    UncutTextError,
    WordCuts,
    encode_bounded,
    pairs_of,
    pieces_of,
)

WORDS = WordCuts(" \n", "PS", ("<w>", "end stop"))
VOCABULARY = ["a", "b", "ab", "ba", "▁", "▁a", "▁▁", "abc"]


def places(text: str, rule: Cuts) -> list[int]:
    return [at for at in range(1, len(text)) if rule.allows(text, at)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two", [3]),
        ("one  two", []),  # a run of spaces may be split anywhere
        ("one 2 two", []),
        ("one\ntwo, six", [3, 7]),
        ("don't", []),
        ("我们。在", [2]),
        ("e\u0301 a", []),  # a mark before the space
        ("a<w> b", []),  # an added token begins at 1
        ("bend stops it", [10]),  # the first space is inside one
        ("bend stop it", []),  # one ends at 9
        ("éa b", [2]),
        ("aé b", []),  # NFKD decomposes the letter
    ],
)
def test_words_are_cut_between_a_letter_and_a_space_or_sign(text: str, expected: list[int]) -> None:
    assert places(text, WORDS) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("aab a", [1, 3]), ("ab cab", [2]), ("b  a", [1]), ("xax", []), ("a▁a", [1])]
)
def test_pairs_are_cut_where_no_entry_holds_both_known_characters(text: str, expected: list[int]) -> None:
    rule = PairCuts(pairs_of(VOCABULARY), frozenset(entry for entry in VOCABULARY if len(entry) == 1), (), "▁")
    assert places(text, rule) == expected
    assert rule.pairs == {"ab", "ba", "bc", "▁a", "▁▁"}


def test_a_text_is_encoded_in_pieces_and_short_ones_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_CHARS", 6)
    assert list(pieces_of("one two three four", WORDS)) == ["one two", " three", " four"]
    assert list(pieces_of("onetwothreefour", WORDS)) == ["onetwothreefour"]
    assert list(pieces_of("one two three", None)) == ["one two three"]
    calls: list[list[str]] = []

    def lengths(texts: list[str]) -> Rows:
        calls.append(texts)
        return [np.full(len(text), len(calls), np.int32) for text in texts]

    found = encode_bounded(
        ["ab", "", "cd", "efg", "one two three"],
        lengths,
        lambda text: [row for part in (text[:7], text[7:]) for row in lengths([part])],
    )
    assert calls == [["ab", "", "cd"], ["efg"], ["one two"], [" three"]]
    assert found.lengths.tolist() == [2, 0, 2, 3, 13]
    assert found.ids.tolist() == [1] * 4 + [2] * 3 + [3] * 7 + [4] * 6


def test_a_text_that_cannot_be_cut_is_refused_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_CHARS", 100)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2_000_000))
    assert list(pieces_of("é" * 5000, None)) == ["é" * 5000]
    with pytest.raises(UncutTextError, match=r"may take 0 GB, but only 0\.0 GB are free on .*document_bytes"):
        list(pieces_of("é" * 6000, None))


def test_a_form_with_an_unknown_part_is_never_cut() -> None:
    form = {"model": {"type": "BPE", "vocab": {}}, "pre_tokenizer": {"type": "WhitespaceSplit"}}
    assert isinstance(cuts_of_huggingface(form, str), WordCuts)
    assert cuts_of_huggingface(form | {"pre_tokenizer": {"type": "UnicodeScripts"}}, str) is None
    assert cuts_of_huggingface(form | {"normalizer": {"type": "Strip", "strip_left": True}}, str) is None
    assert cuts_of_huggingface(form | {"normalizer": {"type": "Replace", "pattern": {"Regex": "a b"}}}, str) is None
    assert cuts_of_huggingface(form | {"added_tokens": [{"content": ""}]}, str) is None
