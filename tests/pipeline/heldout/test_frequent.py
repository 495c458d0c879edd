"""Frequent n-grams: counted once per document, left out of texts and documents alike; and where words are shared."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from mixproof.pipeline.heldout.frequent import count_documents, without_frequent
from mixproof.pipeline.heldout.overlap import build_index, find_all_overlaps, find_overlaps
from mixproof.pipeline.heldout.shared_words import DocumentWords, marked, word_spans
from mixproof.pipeline.words.words import word_hashes

LICENCE = "you may use this file under the terms of the licence"
QUESTION = "how many apples does anna have left after lunch"
HALF = Fraction(1, 2)


def test_an_ngram_counts_once_for_each_document_that_is_kept() -> None:
    index = build_index([f"{LICENCE} {QUESTION}"], 3, 0)
    words = word_hashes([f"{LICENCE} {LICENCE}", LICENCE, f"x {LICENCE}", QUESTION])
    found = count_documents(index, words, np.array([True, True, False, True]))
    assert sorted(found.grams.tolist()) == [0, 0, *[1] * 7, *[2] * 9]  # 18 windows, two across the border


def test_documents_that_share_only_boilerplate_stay_and_leaks_go() -> None:
    texts = [f"{LICENCE} {QUESTION}", LICENCE]
    corpus = [*(f"{LICENCE} of part {number} alone" for number in range(5)), f"see: {QUESTION.upper()}?"]
    index = build_index(texts, 3, 0)
    assert len(find_overlaps(index, corpus, HALF)) == 6
    counted = count_documents(index, word_hashes(corpus), np.ones(6, np.bool_))
    rare = without_frequent(index, counted, 4)
    found = find_overlaps(rare, corpus, HALF)
    assert {number: (match.shared, match.text_grams) for number, match in found.items()} == {5: (7, 9)}
    assert (len(rare.ignored), rare.sizes.tolist()) == (9, [9, 0])
    assert find_overlaps(without_frequent(index, counted, 5), corpus, HALF).keys() == {*range(6)}


def test_a_short_text_that_many_documents_contain_is_not_protected() -> None:
    index = build_index(["what is the capital of france", "who wrote the play about hamlet"], 13, 0)
    corpus = [f"quiz {number}: what is the capital of france" for number in range(3)]
    corpus.append("they asked who wrote the play about hamlet and left")
    assert find_overlaps(index, corpus, HALF).keys() == {0, 1, 2, 3}
    rare = without_frequent(index, count_documents(index, word_hashes(corpus), np.ones(4, np.bool_)), 2)
    assert find_overlaps(rare, corpus, HALF).keys() == {3}
    assert rare.sizes.tolist() == [0, 1]


def test_all_texts_that_a_document_overlaps_with_are_found_the_best_first() -> None:
    index = build_index(["one two three four five six", "six five four three two one"], 3, 0)
    (matches,) = find_all_overlaps(index, ["one two three four five six and six five four three"], HALF).values()
    assert [(match.text, match.shared) for match in matches] == [(0, 4), (1, 2)]


def test_words_have_the_places_of_their_characters() -> None:
    text = "Ça va, Jean-Luc? 東京 ok_1"
    assert [text[start:end] for start, end in word_spans(text).tolist()] == [
        "Ça",
        "va",
        "Jean",
        "Luc",
        "東",
        "京",
        "ok_1",
    ]
    assert len(word_spans("")) == 0 == len(word_spans("... "))


def test_shared_runs_are_marked_with_their_punctuation() -> None:
    text, other = "Now: HOW many apples? does Anna have. End of it.", QUESTION
    assert marked(text, other, 3) == [
        ("Now: ", False),
        ("HOW many apples? does Anna have", True),
        (". End of it.", False),
    ]
    assert marked("nothing here", other, 3) == [("nothing here", False)]
    assert marked("many apples", "so many apples", 3) == [("many apples", True)]  # shorter than an n-gram


def test_an_excerpt_begins_before_the_longest_run() -> None:
    document = f"{'a b c ' * 100}{QUESTION} {'d e f ' * 400}"
    excerpt = DocumentWords(document).excerpt(word_hashes([QUESTION]).values, 5)
    assert (excerpt.longest_run, excerpt.run_words) == (QUESTION, 9)
    assert QUESTION in excerpt.text and len(excerpt.text) == 1200 and not excerpt.text.startswith(QUESTION)
