"""Questions of which words were changed are found by the defaults, and phrases that questions share are not."""

from __future__ import annotations

from mixproof.mixtures.blocks.heldout import QuestionOverlap
from mixproof.pipeline.heldout.questions import MOST_TEXTS, build_questions, find_questions

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


def test_phrases_of_many_questions_do_not_count() -> None:
    questions = [f"Which of the following is an example of a {word}?" for word in "abcdefghijkl"]
    assert len(questions) > MOST_TEXTS
    text = PAGE.format("Which of the following is an example of a zebra?")
    assert found(questions, [text]) == {}
    assert found(questions[:5], [text]) == {0: [0, 1, 2, 3, 4]}
