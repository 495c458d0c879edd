"""Which fields of an evaluation record hold texts to protect.

Benchmarks name their fields differently: MATH has `problem`, AIME `Problem`, Winogrande `sentence`, OpenBookQA
`question_stem`, SQuAD `question` and `context`, HumanEval `prompt`. Fields are recognized by name, ignoring case, and
every name has one role:

- a **question** is always protected;
- a **passage** is what a question is about (SQuAD, BoolQ, DROP, RACE); it is protected unless the spec says
  `passages: false`;
- an **answer** is protected if it has at least n words: a shorter one, such as `Paris`, means nothing without its
  question.

A value may be a string, a list, or a map such as `{text: [...], label: [...]}`. A spec can declare the fields instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixproof.pipeline.record import field_of
from mixproof.pipeline.words.words import word_hashes

_NAMES = {
    "question": """
        text question problem prompt query sentence question_stem stem ctx goal premise hypothesis sentence1 sentence2
        sentence_good sentence_bad input instruction problem_statement question_content question_text description qtext
        statement claim utterance turns instruct_prompt inputsentence1 inputsentence2 inputsentence3 inputsentence4
        """,
    "passage": "context contexts passage article paragraph support story background fact1 facts",
    "answer": """
        answer answers choices options solution solutions code reference_code canonical_solution patch endings option1
        option2 sol1 sol2 target targets correct_answer correct_answers best_answer incorrect_answers answera answerb
        answerc choice1 choice2 long_answer final_decision rationale explanation cot_content answers_spans completion
        output response distractor1 distractor2 distractor3 opa opb opc opd exp incorrect_answer_1 incorrect_answer_2
        incorrect_answer_3 generated_solution reference randomfifthsentencequiz1 randomfifthsentencequiz2
        """,
}
ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
"""The role of each known field: question, passage or answer."""
TEXT_KEYS = ("text", "stem", "value", "spans", "content", "contexts", "atext")
"""Keys of a map that hold its texts. A map without these, such as `{A: ..., B: ...}`, holds texts under all keys."""
BLANK = "_"
"""Stands for the missing words in a sentence of Winogrande."""


@dataclass(frozen=True)
class FieldRule:
    """Which fields of an evaluation file are protected."""

    fields: tuple[str, ...] | None = None
    """Declared fields, always protected; a dot selects a nested one. None: fields are recognized by name."""
    passages: bool = True
    """Whether passages are protected, where fields are recognized."""

    def reads(self, name: str) -> bool:
        """Whether a top-level field may hold a text to protect."""
        if self.fields is not None:
            return any(field == name or field.split(".")[0] == name for field in self.fields)
        role = _role(name)
        return role is not None and (self.passages or role != "passage")


@dataclass(frozen=True)
class FieldText:
    """A text to protect, and the field that holds it."""

    field: str
    text: str


def protected_texts(record: Mapping[str, Any], rule: FieldRule, ngram: int) -> list[FieldText]:
    """Return the texts of a record that are protected; empty if it has no question and no protected passage.

    Args:
        record: its fields.
        rule: which fields are protected.
        ngram: number of words from which answers are protected.
    """
    if rule.fields is not None:
        return [FieldText(name, text) for name in rule.fields for text in strings_of(field_of(record, name))]
    found: dict[str, list[FieldText]] = {"question": [], "passage": [], "answer": []}
    for name, value in _flat(record).items():
        role = _role(name)
        if role is not None:
            found[role] += [FieldText(name, text) for text in strings_of(value)]
    passages = found["passage"] if rule.passages else []
    if not found["question"] and not passages:
        return []
    answers = [each for each in found["answer"] if len(word_hashes([each.text]).values) >= ngram]
    return [*found["question"], *_filled(record), *passages, *answers]


def strings_of(value: object) -> Iterator[str]:
    """Yield the strings in a value that are not blank; numbers, such as the index of the right choice, are skipped."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, Mapping):
        known = [value[key] for key in TEXT_KEYS if key in value]
        for each in known or value.values():
            yield from strings_of(each)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for each in value:
            yield from strings_of(each)


def unread_fields(names: Iterable[str], rule: FieldRule) -> list[str]:
    """Return the names of fields that are not protected, sorted."""
    return sorted(name for name in names if not rule.reads(name))


def _role(name: str) -> str | None:
    return ROLES.get(name.strip().lower().replace(" ", "_"))


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the parts of a question that is a map, such as ARC's `{stem: ..., choices: [...]}`, to the top."""
    question = record.get("question")
    if not isinstance(question, Mapping) or "stem" not in question:
        return dict(record)
    return {name: value for name, value in record.items() if name != "question"} | dict(question)


def _filled(record: Mapping[str, Any]) -> list[FieldText]:
    """Return a sentence with a blank, with each option filled in, as a document would quote it (Winogrande)."""
    sentence = record.get("sentence")
    if not isinstance(sentence, str) or BLANK not in sentence:
        return []
    options = [record.get("option1"), record.get("option2")]
    return [FieldText("sentence", sentence.replace(BLANK, option)) for option in options if isinstance(option, str)]
