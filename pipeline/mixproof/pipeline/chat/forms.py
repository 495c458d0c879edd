"""The forms in which records hold a conversation, a pair of answers, or a rated answer.

`chat`: `messages`, `conversations` or `conversation` (a list of messages), or `prompt` with `response` or `completion`.
`preferences`: `prompt`, `chosen` and `rejected`, texts or lists of messages; or `chosen` and `rejected` as whole
conversations that share their first turns, also as texts in the form of hh-rlhf (`Human:`, `Assistant:`). `ratings`:
`prompt`, `response` or `completion`, and `attributes`, or the five attributes of HelpSteer2 as fields of their own. A
field `system` beside them is a system turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import takewhile
from typing import Any

from .messages import Message, as_messages, check_turns, dialogue_of, fault, messages_of

LISTS = ("messages", "conversations", "conversation")
RESPONSES = ("response", "completion")
RATINGS = {
    "chosen": ("chosen_rating", "rating_chosen", "chosen_score", "score_chosen"),
    "rejected": ("rejected_rating", "rating_rejected", "rejected_score", "score_rejected"),
}
HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
Fields = Mapping[str, Any]


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
    elif fields.get("prompt") is not None:
        messages = [*as_messages(fields["prompt"], "user"), *_response(fields)]
    else:
        fault("no_conversation")
    messages = _with_system(messages, fields)
    check_turns(messages)
    first = next(index for index, message in enumerate(messages) if message.role == "user") + 1
    return Example((Exchange(tuple(messages[:first]), tuple(messages[first:])),))


def preferences_of(fields: Fields) -> Example:
    """The pair of answers of a record.

    Raises:
        FaultError: with the reason why it cannot be used.
    """
    for name in ("chosen", "rejected"):
        if fields.get(name) is None:
            fault(f"missing_{name}")
    dialogues = [
        dialogue_of(value) if isinstance(value, str) else None for value in (fields["chosen"], fields["rejected"])
    ]
    are_whole = fields.get("prompt") is None and None not in dialogues
    chosen, rejected = (
        dialogue if are_whole and dialogue is not None else as_messages(fields[name], "assistant")
        for name, dialogue in zip(("chosen", "rejected"), dialogues, strict=True)
    )
    if chosen == rejected:
        fault("equal_answers")
    if fields.get("prompt") is not None:
        prompt = as_messages(fields["prompt"], "user")
        chosen, rejected = (_after(answer, prompt) for answer in (chosen, rejected))
    elif not are_whole and (isinstance(fields["chosen"], str) or isinstance(fields["rejected"], str)):
        fault("missing_prompt")
    else:
        prompt = _shared(chosen, rejected)
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        if not prompt:
            fault("no_shared_prompt")
    prompt = _with_system(prompt, fields)
    for answer in (chosen, rejected):
        if not answer:
            fault("no_answer")
        check_turns([*prompt, *answer])
    if chosen == rejected:  # one of them was given with the prompt
        fault("equal_answers")
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
    if fields.get("prompt") is None:
        fault("missing_prompt")
    prompt = _with_system(as_messages(fields["prompt"], "user"), fields)
    answer = _response(fields)
    check_turns([*prompt, *answer])
    return Example((Exchange(tuple(prompt), tuple(answer)),), attributes=_attributes(fields))


def _response(fields: Fields) -> list[Message]:
    name = next((name for name in RESPONSES if fields.get(name) is not None), None)
    if name is None:
        fault("missing_response")
    return as_messages(fields[name], "assistant")


def _with_system(messages: list[Message], fields: Fields) -> list[Message]:
    system = fields.get("system")
    if not isinstance(system, str) or not system.strip() or messages[0].role == "system":
        return messages
    return [*as_messages(system, "system"), *messages]


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
    given = fields.get("attributes")
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
