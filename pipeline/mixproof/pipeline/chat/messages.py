"""Messages of a conversation, from the forms in which data sets have them, and what makes a conversation unusable.

Forms of one message: OpenAI's `{role, content}`, ShareGPT's `{from, value}`; a content is a text or a list of parts
`{type: text, text}`. Roles are known under the names that published data sets use. A system turn may only be the first.
After it, a user's turn comes first, and turns alternate; a tool's result comes between two answers.
"""

from __future__ import annotations

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
        fault("messages_not_a_list")
    if not value:
        fault("no_messages")
    return [_message(item) for item in value]


def as_messages(value: object, role: str) -> list[Message]:
    """A list of messages, or a text as one message of this role."""
    return [_turn(role, value)] if isinstance(value, str) else messages_of(value)


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
            fault("roles_do_not_alternate")
        before = message.role
    if before != "assistant":
        fault("no_answer")


def _message(item: object) -> Message:
    if not isinstance(item, Mapping):
        fault("message_not_an_object")
    role = item.get("role") if item.get("role") is not None else item.get("from")
    known = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        fault("unknown_role")
    content = item.get("content") if item.get("content") is not None else item.get("value")
    if item.get("tool_calls"):
        fault("tool_calls")
    return _turn(known, content)


def _turn(role: str, content: object) -> Message:
    if isinstance(content, list | tuple):
        content = "".join(_part(part) for part in content)
    if content is None:
        fault("missing_content")
    if not isinstance(content, str):
        fault("content_not_text")
    if not content.strip():
        fault("empty_turn")
    if text_fault(content) is not None:
        fault("lone_surrogate")
    if not content.isascii() and any(char in content for char in RESERVED_CHARS):
        fault("noncharacter")
    return Message(role, content)


def _part(part: Any) -> str:  # noqa: ANN401  any JSON value
    text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else part
    if not isinstance(text, str):
        fault("content_not_text")
    return text
