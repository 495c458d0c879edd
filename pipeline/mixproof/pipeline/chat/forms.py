"""The forms in which records hold a conversation, a pair of answers, or a rated answer.

`chat`: a list of messages, or a prompt with a response. `preferences`: a prompt with a chosen and a rejected answer,
texts or lists of messages; or both as whole conversations that share their first turns, also as texts in the form of
hh-rlhf (`Human:`, `Assistant:`); or two answers with a verdict (`verdicts.py`). `ratings`: a prompt, a response, and
`attributes`, the five attributes of HelpSteer2 as fields of their own, or KTO's `label`. The names of prompts and
responses are in `fields.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import takewhile

from .fields import LISTS, TREE, Fields, label_of, prompt_of, response_of, with_system
from .messages import Message, as_messages, check_turns, dialogue_of, fault, messages_of
from .verdicts import with_verdict

RATINGS = {
    "chosen": ("chosen_rating", "rating_chosen", "chosen_score", "score_chosen"),
    "rejected": ("rejected_rating", "rating_rejected", "rejected_score", "score_rejected"),
}
OPENINGS = ("system", "user")
"""Roles with which a whole conversation starts."""
HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


@dataclass(frozen=True)
class Exchange:
    """A prompt with the turns that answer it."""

    prompt: tuple[Message, ...]
    answer: tuple[Message, ...]


@dataclass(frozen=True)
class Example:
    """What a record holds: a conversation, a pair (the chosen answer first), or a rated answer."""

    exchanges: tuple[Exchange, ...]
    ratings: tuple[float | None, ...] = ()
    """Of the chosen and the rejected answer."""
    margin: float | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)


def chat_of(fields: Fields) -> Example:
    """The conversation of a record. Its prompt is the first user turn, with a system turn before it.

    Raises:
        FaultError: with the reason why it cannot be used.
    """
    name = next((name for name in LISTS if fields.get(name) is not None), None)
    if name is not None:
        messages = messages_of(fields[name])
    elif (prompt := prompt_of(fields)) is not None:
        if label_of(fields) is False:
            fault("labelled_false: `label` says that this is a bad answer")
        messages = [*prompt, *response_of(fields)]
    elif fields.keys() >= TREE:
        fault("no_conversation: one message of a tree; join each thread of `parent_id` to a record with `messages`")
    else:
        fault("no_conversation")
    messages = with_system(messages, fields)
    check_turns(messages)
    first = next(index for index, message in enumerate(messages) if message.role == "user") + 1
    return Example((Exchange(tuple(messages[:first]), tuple(messages[first:])),))


def preferences_of(fields: Fields) -> Example:
    """The pair of answers of a record.

    Raises:
        FaultError: with the reason why it cannot be used.
    """
    fields = with_verdict(fields)
    for name in ("chosen", "rejected"):
        if fields.get(name) is None:
            if label_of(fields) is not None:
                fault(
                    "unpaired_answer: one answer with a `label`; join a good and a bad one to `chosen` and `rejected`"
                )
            fault(f"missing_{name}")
    chosen, rejected = _answers(fields)
    if chosen == rejected:
        fault("equal_answers")
    prompt, chosen, rejected = _divided(fields, chosen, rejected)
    prompt = with_system(prompt, fields)
    for answer in (chosen, rejected):
        if not answer:
            fault("no_answer")
        check_turns([*prompt, *answer])
    return Example(
        tuple(Exchange(tuple(prompt), tuple(answer)) for answer in (chosen, rejected)),
        ratings=tuple(_number(fields, names, "bad_rating") for names in RATINGS.values()),
        margin=_number(fields, ("margin",), "bad_margin"),
    )


def ratings_of(fields: Fields) -> Example:
    """The rated answer of a record.

    Raises:
        FaultError: with the reason why it cannot be used.
    """
    prompt = prompt_of(fields)
    if prompt is None:
        fault("missing_prompt")
    prompt = with_system(prompt, fields)
    answer = response_of(fields)
    check_turns([*prompt, *answer])
    return Example((Exchange(tuple(prompt), tuple(answer)),), attributes=_attributes(fields))


def _answers(fields: Fields) -> tuple[list[Message], list[Message]]:
    """The chosen and the rejected answer, or whole conversations; texts of hh-rlhf only where there is no prompt."""
    values = (fields["chosen"], fields["rejected"])
    if fields.get("prompt") is None and all(isinstance(value, str) for value in values):
        one, other = (dialogue_of(value) for value in values)
        if one is not None and other is not None:
            return one, other
    chosen, rejected = (as_messages(value, "assistant") for value in values)
    return chosen, rejected


def _divided(
    fields: Fields, chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """The prompt of a pair, with all turns that both answers share, and what is left of the answers."""
    given = prompt_of(fields)
    if chosen[0].role in OPENINGS and rejected[0].role in OPENINGS:  # whole conversations, which have their own prompt
        before = [turn for turn in (given or [])[:1] if turn.role == "system" != chosen[0].role]
        if not any(turn.role == "user" for turn in _shared(chosen, rejected)):
            fault("no_shared_prompt")
    else:
        before = given if given is not None else _listed_prompt(fields)
        chosen, rejected = (_after(answer, before) for answer in (chosen, rejected))
        if chosen == rejected:  # one of them was given with the prompt
            fault("equal_answers")
    shared = _shared(chosen, rejected)
    return [*before, *shared], chosen[len(shared) :], rejected[len(shared) :]


def _listed_prompt(fields: Fields) -> list[Message]:
    """A prompt under the name of a list of messages."""
    name = next((name for name in LISTS if fields.get(name) is not None), None)
    return fault("missing_prompt") if name is None else messages_of(fields[name])


def _after(answer: list[Message], prompt: Sequence[Message]) -> list[Message]:
    """The turns after the prompt, where an answer is given as the whole conversation."""
    return answer[len(prompt) :] if answer[: len(prompt)] == list(prompt) else answer


def _shared(chosen: Sequence[Message], rejected: Sequence[Message]) -> list[Message]:
    """The first turns of two conversations, as far as they are equal."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
    return [message for message, _ in pairs]


def _number(fields: Fields, names: Sequence[str], reason: str) -> float | None:
    value = next((fields[name] for name in names if fields.get(name) is not None), None)
    return None if value is None else _finite(value, reason)


def _finite(value: object, reason: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        fault(reason)
    try:
        number = float(value)
    except OverflowError:
        fault(reason)
    return number if math.isfinite(number) else fault(reason)


def _attributes(fields: Fields) -> dict[str, float]:
    """The attributes that a response is rated by; one that is null is absent."""
    given, label = fields.get("attributes"), label_of(fields)
    if given is None and label is not None:
        return {"label": float(label)}
    if given is None:
        given = {name: fields.get(name) for name in HELPSTEER}
    elif isinstance(given, list):  # a map of Arrow
        given = dict(given) if all(isinstance(pair, tuple) for pair in given) else fault("attributes_not_a_map")
    if not isinstance(given, Mapping):
        fault("attributes_not_a_map")
    found = {name: _finite(value, "bad_attribute") for name, value in given.items() if value is not None}
    if not found:
        fault("no_attributes")
    if not all(isinstance(name, str) and name for name in found):
        fault("bad_attribute")
    return found
