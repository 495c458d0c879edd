"""Messages of a conversation, from the forms in which data sets have them, and what makes a conversation unusable.

Forms of one message: OpenAI's `{role, content}`, ShareGPT's `{from, value}`; a content is a text or a list of parts
`{type: text, text}`. Roles are known under the names that published data sets use. A system turn may only be the first.
After it, a user's turn comes first, and turns alternate; a tool's result comes between two answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from mixproof.pipeline.record import text_fault

ROLES: Mapping[str, str] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "function_response", "tool_response"), "tool"),
}
MAY_FOLLOW: Mapping[str | None, frozenset[str]] = {
    None: frozenset({"system", "user"}),
    "system": frozenset({"user"}),
    "user": frozenset({"assistant"}),
    "assistant": frozenset({"user", "tool"}),
    "tool": frozenset({"tool", "assistant"}),
}
"""The roles that may follow a role; None is the start."""
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
"""Types of the parts of a content that are text; others are images, sounds and files."""
CALLS = ("tool_calls", "function_call")
"""Fields of a message that calls a tool, which no text holds."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields in which answers of reasoning models have the text before the answer: those of Qwen3's template, of OpenRouter
and of gpt-oss's template. Templates here are given contents alone."""
FLAGS = ("weight", "train", "loss", "trainable")
"""Fields by which data sets leave an answer out of the loss, or weigh it."""
RESERVED_CHARS = "\ufdd0\ufdd1\ufdd2\ufdd3"
"""Noncharacters with which a rendering marks spans (`template.py`); Unicode reserves them for such internal use."""


class Message(NamedTuple):
    """One turn."""

    role: str
    """`system`, `user`, `assistant` or `tool`."""
    content: str


class FaultError(ValueError):
    """A record that is not a usable conversation; the message is the reason for its rejection."""


def fault(reason: str) -> NoReturn:
    """Reject the record.

    Raises:
        FaultError: always.
    """
    raise FaultError(reason)


def messages_of(value: object) -> list[Message]:
    """The messages in a list of them.

    Raises:
        FaultError: when the value is not a list of messages, or one of them cannot be used.
    """
    if not isinstance(value, list | tuple):
        fault(f"messages_not_a_list: {type(value).__name__}")
    if not value:
        fault("no_messages")
    return [_message(item) for item in value]


def reasoning_fields(value: object) -> set[str]:
    """The names of REASONING that the messages in any list of a record's fields have, with a text."""
    lists = value.values() if isinstance(value, Mapping) else ()
    messages = [item for each in lists if isinstance(each, list | tuple) for item in each if isinstance(item, Mapping)]
    return {name for item in messages for name in REASONING if isinstance(item.get(name), str) and item[name].strip()}


def as_messages(value: object, role: str) -> list[Message]:
    """A list of messages, one message, or a text as one message of this role."""
    if isinstance(value, str):
        return [_turn(role, value)]
    return [_message(value)] if isinstance(value, Mapping) else messages_of(value)


def dialogue_of(text: str) -> list[Message] | None:
    """The turns of a text in the form of hh-rlhf, `Human: ... Assistant: ...` (arXiv 2204.05862); None if it is not."""
    if not text.startswith("\n\nHuman:"):
        return None
    _, *turns = re.split(r"\n\n(Human|Assistant):", text)
    return [_turn(ROLES[role.lower()], content.strip()) for role, content in zip(turns[::2], turns[1::2], strict=True)]


def check_turns(messages: Sequence[Message]) -> None:
    """Check the order of roles, and that an answer comes last.

    Raises:
        FaultError: when they are in another order.
    """
    before: str | None = None
    for message in messages:
        if message.role == "system" and before is not None:
            fault("system_not_first")
        if message.role not in MAY_FOLLOW[before]:
            fault(f"roles_do_not_alternate: {message.role} after {before or 'the start'}")
        before = message.role
    if before != "assistant":
        fault(f"no_answer: the last turn is of {before or 'nobody'}")


def _message(item: object) -> Message:
    if not isinstance(item, Mapping):
        fault("message_not_an_object")
    role = item.get("role") if item.get("role") is not None else item.get("from")
    if role is None:
        fault(f"unknown_role: no `role` or `from` beside {', '.join(map(str, item)) or 'nothing'}")
    known = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        fault(f"unknown_role: {role!r}")
    for call in CALLS:
        if item.get(call):
            fault(f"tool_calls: a message with {call}")
    for flag in FLAGS if known == "assistant" else ():
        if item.get(flag) not in (None, 1):  # true equals 1
            fault(f"message_weight: an answer with {flag} {item[flag]!r}")
    return _turn(known, item.get("content") if item.get("content") is not None else item.get("value"))


def _turn(role: str, content: object) -> Message:
    if isinstance(content, list | tuple):
        content = "".join(_part(part) for part in content)
    if content is None:
        fault(f"missing_content: of {role}")
    if not isinstance(content, str):
        fault(f"content_not_text: {type(content).__name__}")
    if not content.strip():
        fault(f"empty_turn: of {role}")
    if text_fault(content) is not None:
        fault("lone_surrogate")
    if not content.isascii() and any(char in content for char in RESERVED_CHARS):
        fault("noncharacter")
    return Message(role, content)


def _part(part: Any) -> str:  # noqa: ANN401  any JSON value
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
    text = part.get("text") if isinstance(part, Mapping) and kind in TEXT_PARTS else None
    if not isinstance(text, str):
        fault(f"content_not_text: a part of type {kind}")
    return text
