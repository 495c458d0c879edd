"""Own questions: multiple choice, or a question with its answer, from local files (`external.questions`).

A record has `question` (text), and either `choices` (list of texts) with `answer` (an index from 0, or one of the
texts), or `answer` (text) alone. An answer is scored after its question and a space, unless it starts with white space.
Any record that cannot be scored is an error, because scores on part of a set are not comparable with scores on all.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import InputFile, find_others
from mixproof.pipeline.readers.jsonl import read_jsonl
from mixproof.pipeline.readers.parquet import read_parquet
from mixproof.pipeline.readers.unchanged import hash_file, verified
from mixproof.pipeline.record import BLANK, Raw

from .question_scores import QuestionScore, TaskScores, score_answer, score_choices

if TYPE_CHECKING:
    from mixproof.train.evaluate.answers import AnswerScorer  # imports torch, which only a worker needs

QUESTION, CHOICES, ANSWER = "question", "choices", "answer"


@dataclass(frozen=True)
class QuestionSet:
    """A set of questions, identified by its content."""

    name: str
    files: tuple[InputFile, ...]
    sha256: tuple[str, ...]
    """One per file."""

    @property
    def identity(self) -> dict[str, object]:
        """What a score depends on."""
        return {"questions": list(self.sha256)}


@dataclass(frozen=True)
class Question:
    """One record."""

    text: str
    choices: tuple[str, ...]
    """Answers with the white space before them; a single one if the record has no `choices`."""
    gold: int


def find_question_sets(spec: Spec, base: Path) -> list[QuestionSet]:
    """Find and hash the files of `external.questions`; relative paths start at `base`.

    Raises:
        RequestError: when a pattern matches no file, or a file name has no known format suffix.
    """
    found = []
    for name, patterns in sorted({} if spec.external is None else spec.external.questions.items()):
        files = find_others(patterns, base, where=spec.where("external", "questions", name))
        found.append(QuestionSet(name, files, tuple(hash_file(file.url)[1] for file in files)))
    return found


def check_question_sets(sets: Sequence[QuestionSet]) -> None:
    """Look at the first record of every file.

    Raises:
        RequestError: when it cannot be scored; names file, record and field.
        DamagedFileError: when a file is not in its format.
    """
    for chosen in sets:
        for file in chosen.files:
            with closing(_questions(chosen, file)) as questions:
                next(questions, None)


def score_questions(chosen: QuestionSet, scorer: AnswerScorer) -> TaskScores:
    """Score all questions of a set.

    Raises:
        RequestError: when a record cannot be scored, the set has none, or a file is no longer the one that was hashed.
        DamagedFileError: when a file cannot be read to its end.
    """
    questions: list[Question] = []
    for file, sha256 in zip(chosen.files, chosen.sha256, strict=True):
        with verified(file.url, sha256):
            questions += _questions(chosen, file)
    if not questions:
        raise RequestError(
            f"external.questions.{chosen.name}: no record in {', '.join(one.url for one in chosen.files)}"
        )
    scores = iter(scorer.score([(one.text, choice) for one in questions for choice in one.choices]))
    rows = [_score(number, one, [next(scores) for _ in one.choices]) for number, one in enumerate(questions)]
    return TaskScores(QUESTION, {}, tuple(rows))


def _score(number: int, question: Question, scores: Sequence[tuple[float, bool]]) -> QuestionScore:
    if len(question.choices) == 1:
        [(log_likelihood, greedy)] = scores
        return score_answer(QUESTION, number, -log_likelihood, question.choices[0], greedy)
    return score_choices(QUESTION, number, [-value for value, _ in scores], question.choices, [question.gold])


def _questions(chosen: QuestionSet, file: InputFile) -> Generator[Question, None, None]:
    if file.format == "parquet":
        records = read_parquet(file.url, 0, file.bytes, text=QUESTION, id_="id", with_fields=True)
    else:
        records = read_jsonl(file.url, file.compression, 0, file.bytes, text=QUESTION, id_="id", with_fields=True)
    for item in records:
        where = f"external.questions.{chosen.name}: {file.url}, record {item.record}"
        if isinstance(item, Raw):
            yield _question(item.text, item.fields or {}, where)
        elif item.reason != BLANK:
            raise RequestError(
                f"{where}: {item.reason} in field {QUESTION!r}: {item.detail}; repair or remove the record"
            )


def _question(text: str, fields: Mapping[str, Any], where: str) -> Question:
    choices, answer = fields.get(CHOICES), fields.get(ANSWER)
    if choices is None:
        if not isinstance(answer, str) or not answer.strip():
            raise RequestError(f"{where}: {ANSWER!r} must be a text if there are no {CHOICES!r}")
        return Question(text, (_spaced(text, answer),), 0)
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(one, str) and one for one in choices):
        raise RequestError(f"{where}: {CHOICES!r} must be a list of at least two texts")
    if isinstance(answer, str) and choices.count(answer) == 1:
        gold = choices.index(answer)
    elif isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        gold = answer
    else:
        raise RequestError(
            f"{where}: {ANSWER!r} is {answer!r}; it must be an index from 0 to {len(choices) - 1} or one of the choices"
        )
    return Question(text, tuple(_spaced(text, one) for one in choices), gold)


def _spaced(question: str, answer: str) -> str:
    """The answer with a space before it, unless there is white space already."""
    return answer if answer[0].isspace() or question[-1].isspace() else f" {answer}"
