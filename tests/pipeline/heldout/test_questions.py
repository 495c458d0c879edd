"""Questions of which words were changed are found by the defaults, and phrases that questions share are not."""

from __future__ import annotations

import numpy as np

from mixproof.mixtures.blocks.heldout import QuestionOverlap
from mixproof.pipeline.heldout.frequent import count_documents, without_frequent
from mixproof.pipeline.heldout.questions import (
    MOST_TEXTS,
    QuestionIndex,
    build_questions,
    find_questions,
    find_questions_of,
)
from mixproof.pipeline.words.words import word_hashes

RULES = QuestionOverlap()
QUESTION = "Anna picks seven apples before lunch and gives three of them to her brother Ben; how many has she left?"
PAGE = "Some words before. {} And here are some words that follow after it on the same page of the site."


def found(questions: list[str], documents: list[str]) -> dict[int, list[int]]:
    index = build_questions(questions, RULES.ngram)
    matches = find_questions(index, documents, RULES.overlap)
    return {document: [match.text for match in each] for document, each in matches.items()}


def test_edited_questions_are_found() -> None:
    edited = [
        QUESTION,
        QUESTION.upper().replace(";", "\n-"),
        QUESTION.replace("seven", "eight").replace("Ben", "Tom"),
        QUESTION.replace("before lunch", "long before the lunch"),
        " ".join(QUESTION.split()[:14]),
    ]
    assert found([QUESTION], [PAGE.format(text) for text in edited]) == {document: [0] for document in range(5)}


def test_a_few_words_in_a_row_and_a_short_document_inside_a_question_do_not_count() -> None:
    short = "What is the capital of the United States?"
    texts = [
        PAGE.format("before lunch and gives three of his"),
        "picks seven apples before lunch",
        PAGE.format("He knew the capital of the United Kingdom"),
        PAGE.format(short.replace("What", "Which")),
    ]
    assert found([QUESTION, short], texts) == {3: [1]}


SHORT = "Suggest a better way to write this sentence."
"""Eight words: four 5-grams, six 3-grams."""


def test_short_questions_are_found_by_words_in_order() -> None:
    edited = [
        SHORT.replace("better", "nicer"),
        SHORT.replace("way to", "method to"),
        SHORT.replace("to write", "write"),
        SHORT.replace("this", "that very long").replace("Suggest", "Propose"),
        SHORT.lower().replace(" ", "\n"),
    ]
    assert found([QUESTION, SHORT], [PAGE.format(text) for text in edited]) == {document: [1] for document in range(5)}
    (match,) = find_questions(build_questions([SHORT], 5), [PAGE.format(edited[1])], RULES.overlap)[0]
    assert (match.by_words, match.shared, match.text_grams, match.document_grams) == (True, 7, 8, 27)


def test_half_of_a_short_question_and_its_words_far_apart_do_not_count() -> None:
    texts = [
        PAGE.format("a better way to bake bread is this"),
        "Suggest a better way, he said. " + "Other words follow here. " * 3 + "He had to write this sentence.",
        "this sentence to write way better a Suggest",
    ]
    assert found([QUESTION, SHORT], texts) == {}


def test_words_that_are_only_in_frequent_ngrams_do_not_count() -> None:
    footer = "All rights reserved by the publisher of this site and its many partners."
    index = build_questions([f"What does this say? {footer}", SHORT], RULES.ngram)
    documents = [f"Page {word}. {footer}" for word in ("one", "two", "three")]
    words = word_hashes([*documents, PAGE.format(SHORT.replace("way to", "method to"))])
    assert sorted(find_questions_of(index, words, RULES.overlap)) == [0, 1, 2, 3]
    counts = count_documents(index.overlap, words, np.ones(4, np.bool_))
    rest = QuestionIndex(without_frequent(index.overlap, counts, 2), index.triples)
    assert sorted(find_questions_of(rest, words, RULES.overlap)) == [3]


def test_alignments_do_not_reach_into_the_next_document() -> None:
    assert found([SHORT], ["Suggest a better way to", "write this sentence."]) == {}


def test_phrases_of_many_questions_do_not_count() -> None:
    questions = [f"Which of the following is an example of a {word}?" for word in "abcdefghijkl"]
    assert len(questions) > MOST_TEXTS
    text = PAGE.format("Which of the following is an example of a zebra?")
    assert found(questions, [text]) == {}
    assert found(questions[:5], [text]) == {0: [0, 1, 2, 3, 4]}
