"""The fields in which records hold a prompt and a response, under the names of published data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .messages import Message, as_messages, fault, messages_of

LISTS = ("messages", "conversations", "conversation")
PROMPTS = ("prompt", "instruction", "question", "query", "input")
"""Fields of a prompt; the first one that a record has counts."""
EXTENDED = frozenset({"instruction", "question", "query"})
"""Fields of a task whose material may be in a field of its own, as in Alpaca and Dolly."""
MATERIAL = ("input", "context")
RESPONSES = ("response", "completion", "output", "answer")
SYSTEMS = ("system", "system_prompt")
TREE = frozenset({"message_id", "parent_id"})
"""Fields of OpenAssistant's messages, each of which is a record."""
Fields = Mapping[str, Any]


def prompt_of(fields: Fields) -> list[Message] | None:
    """The turns of a prompt without a system turn; None if the record has none.

    A `context` that is a list of messages is a prompt (HelpSteer3). `history` holds earlier turns as pairs of texts.

    Raises:
        FaultError: with the reason why it cannot be used.
    """
    context = fields.get("context")
    if fields.get("prompt") is None and isinstance(context, list | tuple):
        return messages_of(context)
    name = next((name for name in PROMPTS if fields.get(name) is not None), None)
    if name is None:
        return None
    given = fields[name]
    if name not in EXTENDED or not isinstance(given, str):
        return as_messages(given, "user")
    more = next((fields[other] for other in MATERIAL if fields.get(other) not in (None, "")), None)
    if more is not None and not isinstance(more, str):
        fault("content_not_text: a task with material that is not a text")
    text = f"{given}\n\n{more}" if more is not None and more.strip() else given
    return [*_history(fields), *as_messages(text, "user")]


def response_of(fields: Fields) -> list[Message]:
    """The turns that answer a prompt.

    Raises:
        FaultError: when there is no response.
    """
    name = next((name for name in RESPONSES if fields.get(name) is not None), None)
    if name is None:
        fault(f"missing_response: none of {', '.join(RESPONSES)}")
    return as_messages(fields[name], "assistant")


def with_system(messages: list[Message], fields: Fields) -> list[Message]:
    """The messages with the system turn that a field of its own holds."""
    system = next((fields[name] for name in SYSTEMS if fields.get(name) is not None), None)
    if not isinstance(system, str) or not system.strip() or messages[0].role == "system":
        return messages
    return [*as_messages(system, "system"), *messages]


def label_of(fields: Fields) -> bool | None:
    """KTO's verdict on a response; None if the record has none."""
    label = fields.get("label")
    return label if isinstance(label, bool) else None


def _history(fields: Fields) -> list[Message]:
    """Earlier turns, as pairs of a question and its answer."""
    pairs = fields.get("history")
    if not isinstance(pairs, list | tuple):
        return []
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        fault("bad_history: not pairs of a question and its answer")
    return [
        message
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
        for message in as_messages(text, role)
    ]
