"""Records as rendered conversations: a text with its marks, or the reason why there is none."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson
import xxhash

from mixproof.mixtures.blocks.source import Conversations, Source, Supervise
from mixproof.pipeline.record import Prompt, Raw, Records, Reject, detail_of

from .forms import Example, Exchange, chat_of, preferences_of, ratings_of
from .marks import Marks
from .messages import FaultError, Message, fault
from .template import VERSION as TEMPLATE_VERSION
from .template import Rendering, Spans, check_template, render, render_prompt

VERSION = 3
"""Raised when the same record gives another text, other marks or another reason.

2: hh-rlhf's texts are conversations; answers with a weight are rejected; a rejection says what was found.
3: further names of prompts and responses, two answers with a verdict, KTO's label; turns that both answers of a pair
share belong to its prompt.
"""
FORMS: Mapping[Conversations, Callable[[Mapping[str, Any]], Example]] = {
    "chat": chat_of,
    "preferences": preferences_of,
    "ratings": ratings_of,
}


@dataclass(frozen=True)
class ConversationRule:
    """How the records of a source become conversations."""

    kind: Conversations
    template: str
    supervise: Supervise
    keep_prompts: bool = False
    """Whether the prompts are stored beside the documents, for fuzzy deduplication."""

    def identity(self) -> dict[str, object]:
        """The rule as a key holds it."""
        rule = {name: value for name, value in vars(self).items() if name != "keep_prompts" or value}
        return {**rule, "version": [VERSION, TEMPLATE_VERSION], "jinja2": importlib.metadata.version("jinja2")}


def rule_of(source: Source, *, keep_prompts: bool = False) -> ConversationRule | None:
    """The rule of a source; None if its records are plain documents."""
    if source.kind is None:
        return None
    return ConversationRule(source.kind, source.template_text, source.supervised, keep_prompts)


def check_rule(source: Source, where: str) -> None:
    """Refuse a source whose template cannot be used; `where` is the key that gives it.

    Raises:
        RequestError: saying what is wrong with the template.
    """
    rule = rule_of(source)
    if rule is not None:
        check_template(rule.template, where, needs_marks=rule.supervise != "all")


def conversations(items: Records, rule: ConversationRule, *, has_lines: bool) -> Records:
    """Render the records that readers found with all of their fields; other items are passed on."""
    for item in items:
        if isinstance(item, Reject):
            yield item
            continue
        try:
            yield conversation(item, rule)
        except FaultError as error:
            reason, _, message = str(error).partition(": ")
            line = item.record + 1 if has_lines else None
            yield Reject(
                item.record, line, reason, detail_of(f"{message}; ".encode() * bool(message) + _start(item.fields))
            )


def conversation(item: Raw, rule: ConversationRule) -> Raw:
    """Render one record.

    Raises:
        FaultError: with the reason for its rejection.
    """
    example = FORMS[rule.kind](item.fields or {})
    renderings = [_render(exchange, rule) for exchange in example.exchanges]
    text = "".join(rendering.text for rendering, _ in renderings)
    if rule.kind == "preferences" and renderings[0][0].text == renderings[1][0].text:
        fault("equal_answers")  # the template trims what made them differ
    cut = len(renderings[0][0].text) if rule.kind == "preferences" else None
    marks = Marks(
        _joined([spans for _, spans in renderings], cut),
        _joined([rendering.contents for rendering, _ in renderings], cut),
        cut,
        example.ratings,
        example.margin,
        example.attributes,
    )
    prompt = render_prompt(rule.template, example.exchanges[0].prompt)
    if not text:
        fault("empty_text")
    digest = xxhash.xxh3_128_digest(prompt.encode())
    words = prompt_of(example.exchanges[0].prompt) if rule.keep_prompts else None
    return Raw(item.record, item.id, text, item.fields, marks.to_json(), digest, words)


def prompt_of(turns: Sequence[Message]) -> Prompt:
    """The words of a prompt, apart from its system turn, which many prompts of a data set share."""
    system = "".join(content for role, content in turns if role == "system")
    text = "\n".join(content for role, content in turns if role != "system")
    return Prompt(text, xxhash.xxh3_64_digest(system.encode()))


def _render(exchange: Exchange, rule: ConversationRule) -> tuple[Rendering, Spans]:
    """The rendering of a conversation, and the spans of it that are supervised."""
    turns = (*exchange.prompt, *exchange.answer)
    rendering = render(rule.template, turns)
    _check_turns_kept(rendering, turns)
    if rule.supervise == "all":
        return rendering, ((0, len(rendering.text)),)
    answers, earlier = (
        sum(message.role == "assistant" for message in turns) for turns in (exchange.answer, exchange.prompt)
    )
    spans = rendering.generated
    if not spans:
        fault("no_generation_mark")
    if rule.supervise == "last_answer":
        return rendering, spans[-1:]
    if rule.kind == "chat" or not earlier:
        return rendering, spans
    if len(spans) != earlier + answers:
        fault("answers_and_marks_differ")  # which of them belong to the prompt is not known
    return rendering, spans[earlier:]


def _check_turns_kept(rendering: Rendering, turns: Sequence[Message]) -> None:
    """Reject a record of which the template leaves out a turn, for example a tool's result, other than a system turn.

    Raises:
        FaultError: naming the role of the first such turn.
    """
    rendered = (rendering.text[start:end] for start, end in rendering.contents)
    for role, content in turns:
        if role != "system" and content.strip() not in rendered:  # reads on from where the turn before was found
            fault(f"template_drops_turn: of {role}")


def _joined(spans: Sequence[Spans], cut: int | None) -> Spans:
    """The spans of one conversation, or of a pair in its joined text."""
    return tuple(
        chain(spans[0], *(((start + (cut or 0), end + (cut or 0)) for start, end in each) for each in spans[1:]))
    )


def _start(fields: Mapping[str, Any] | None) -> bytes:
    return orjson.dumps(fields, default=str, option=orjson.OPT_NON_STR_KEYS)
