"""Render the conversations of a raw record again, independent of the code that rendered them.

The messages are those that the reader finds. The template runs once on the bare messages, in a sandbox with limits, and
what is supervised is placed by the length of the output before each `{% generation %}` block, as transformers does it.
Which characters come from contents is not placed again; the recorded spans are compared with the contents.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser

from mixproof.mixtures.blocks.source import Source
from mixproof.pipeline.chat.bounded_templates import BoundedEnvironment
from mixproof.pipeline.chat.conversations import FORMS
from mixproof.pipeline.chat.messages import Message

from .conversation_ids import Rendered, Span, rendered_of


class _Tracker(jinja2.ext.Extension):
    """Notes where in the output each `{% generation %}` block is."""

    tags = {"generation"}  # noqa: RUF012  as jinja2 declares it

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.written: list[str] = []
        self.spans: list[Span] = []

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

    def _note(self, caller: Any) -> str:  # noqa: ANN401  a macro
        output = str(caller())
        start = sum(map(len, self.written))
        self.spans.append((start, start + len(output)))
        return output


@lru_cache(maxsize=4)
def _load(source: str) -> tuple[jinja2.Template, _Tracker, BoundedEnvironment]:
    environment = BoundedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Tracker, jinja2.ext.loopcontrols]
    )
    environment.add_filter("tojson", lambda value, **options: json.dumps(value, **{"ensure_ascii": False, **options}))
    environment.globals["raise_exception"] = _raise
    (tracker,) = (each for each in environment.extensions.values() if isinstance(each, _Tracker))
    return environment.from_string(source), tracker, environment


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def rerender(fields: Mapping[str, Any], source: Source) -> list[tuple[str, list[Span], list[str]]]:
    """Each conversation of a record: its text, its supervised spans, and the contents of its messages.

    Args:
        fields: the raw record.
        source: its source in the spec, which has the template.
    """
    assert source.kind is not None, "plain documents are not rendered"
    found = []
    for exchange in FORMS[source.kind](fields).exchanges:
        messages = (*exchange.prompt, *exchange.answer)
        text, spans = _render(source.template_text, messages)
        if source.supervised == "all":
            spans = [(0, len(text))]
        elif source.supervised == "last_answer":
            spans = spans[-1:]
        elif source.kind != "chat":
            spans = spans[sum(message.role == "assistant" for message in exchange.prompt) :]
        found.append((text, spans, [message.content.strip() for message in messages]))
    return found


def _render(source: str, messages: Sequence[Message]) -> tuple[str, list[Span]]:
    template, tracker, environment = _load(source)
    environment.begin()
    tracker.written, tracker.spans = [], []
    given = [{"role": role, "content": content} for role, content in messages]
    for piece in template.generate(messages=given, tools=None, documents=None, add_generation_prompt=False):
        tracker.written.append(piece)
    return "".join(tracker.written), [span for span in tracker.spans if span[0] < span[1]]


def differences(text: str, marks: str, fields: Mapping[str, Any], source: Source) -> list[str]:
    """How a rendered record differs from its rendering again; empty if it does not.

    Args:
        text: as rendered by the reader.
        marks: its marks, as JSON.
        fields: the raw record.
        source: its source in the spec.
    """
    again, recorded = rerender(fields, source), rendered_of(text, marks)
    if [one.text for one in recorded] != [one for one, _, _ in again]:
        return ["another text"]
    return [
        problem
        for one, (_, spans, contents) in zip(recorded, again, strict=True)
        for problem, is_wrong in (
            ("other supervised spans", [tuple(span) for span in one.supervised] != spans),
            ("contents elsewhere", not _in_turn(_texts(one), contents)),
        )
        if is_wrong
    ]


def _texts(rendered: Rendered) -> list[str]:
    return [rendered.text[start:end] for start, end in rendered.contents]


def _in_turn(found: Sequence[str], contents: Sequence[str]) -> bool:
    """Whether every content is among the spans, in order; a template may repeat one."""
    spans = iter(found)
    return all(any(span == content for span in spans) for content in contents)
