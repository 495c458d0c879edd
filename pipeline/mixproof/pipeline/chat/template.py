"""Render conversations with a Jinja chat template, and find the spans that are supervised or come from messages.

A template is run as transformers runs it (`apply_chat_template`): a sandboxed environment, `trim_blocks`,
`lstrip_blocks`, loop controls, and `{% generation %}` marks. A template that reads the time or a tokenizer's tokens by
name is refused, because its rendering would depend on more than the spec and the record.

Spans come from the rendering itself. A `{% generation %}` block puts a noncharacter before and after its output, and
the content of each message is passed with noncharacters around it, inside of its outer white space, so that a template
may trim it. They are removed from the rendered text, which must equal the rendering of the bare messages; a template
that takes contents apart cannot be marked in this way, and such a record is rejected.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser

from mixproof.ledger.errors import RequestError

from .bounded_templates import MAX_CHARS, BoundedEnvironment
from .messages import RESERVED_CHARS, FaultError, Message, fault

VERSION = 1
CONTENT_START, CONTENT_END, SPAN_START, SPAN_END = tuple(RESERVED_CHARS)
_MARKS = re.compile(f"([{RESERVED_CHARS}])")
_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token")
Spans = tuple[tuple[int, int], ...]
"""Ranges of characters [start, end), ascending and disjoint."""


@dataclass(frozen=True)
class Rendering:
    """A rendered conversation."""

    text: str
    generated: Spans
    """The text inside `{% generation %}` blocks."""
    contents: Spans
    """What comes from the contents of messages, in which no control token is recognized."""


class _Generation(jinja2.ext.Extension):
    """The tag `{% generation %}`: puts a noncharacter before and after what it encloses."""

    tags = {"generation"}  # noqa: RUF012  as jinja2 declares it

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Any) -> str:  # noqa: ANN401  a macro
        return f"{SPAN_START}{caller()}{SPAN_END}"


@functools.lru_cache(maxsize=16)
def load_template(source: str) -> tuple[jinja2.Template, BoundedEnvironment]:
    """Compile a template once per process, with an environment of its own.

    Raises:
        jinja2.TemplateSyntaxError: when it is not a Jinja template.
    """
    environment = _environment()
    return environment.from_string(source), environment


def check_template(source: str, where: str, *, needs_marks: bool) -> None:
    """Refuse a template that cannot be used, before anything is read.

    Args:
        source: the template.
        where: the key that gives it, for the error.
        needs_marks: whether `{% generation %}` decides what is supervised.

    Raises:
        RequestError: for a syntax error, a variable that the spec does not determine, a template that fails on a
            question with its answer, or one without marks.
    """
    try:
        used = jinja2.meta.find_undeclared_variables(_environment().parse(source))
    except jinja2.TemplateSyntaxError as error:
        raise RequestError(f"{where}: line {error.lineno} of the template: {error.message}") from None
    except RecursionError:
        raise RequestError(f"{where}: the template is nested too deeply to be read") from None
    if "strftime_now" in used:
        raise RequestError(f"{where}: the template reads the time, so two builds would differ; remove strftime_now")
    for name in _TOKENS:
        if name in used:
            raise RequestError(f"{where}: the template reads {name}; write the token itself in its place")
    probe = (Message("user", "question"), Message("assistant", "answer"))
    try:
        rendering = render(source, probe)
    except FaultError as error:
        raise RequestError(f"{where}: the template cannot render a question with its answer: {error}") from None
    if needs_marks and not rendering.generated:
        raise RequestError(
            f"{where}: the template marks no answer; put {{% generation %}} and {{% endgeneration %}} around what a "
            "model is trained to predict, or set `supervise: all`"
        )
    if len(rendering.contents) < len(probe):
        raise RequestError(
            f"{where}: the template leaves out a question or its answer; write `{{{{ message.content }}}}`"
        )


def render(source: str, messages: Sequence[Message]) -> Rendering:
    """Render a conversation and find its spans.

    Raises:
        FaultError: when the template raises an error on it, or its contents cannot be found in the rendering.
    """
    bare = _render(source, [{"role": role, "content": content} for role, content in messages])
    marked = _render(source, [{"role": role, "content": _marked(content)} for role, content in messages])
    text, spans = _spans_of(marked)
    if text != _spans_of(bare)[0]:
        fault("template_alters_content")
    return Rendering(text, spans[SPAN_START], spans[CONTENT_START])


def render_prompt(source: str, messages: Sequence[Message]) -> str:
    """Render the turns of a prompt.

    Raises:
        FaultError: when the template raises an error on them.
    """
    return _spans_of(_render(source, [{"role": role, "content": content} for role, content in messages]))[0]


def _environment() -> BoundedEnvironment:
    environment = BoundedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.add_filter("tojson", _to_json)
    environment.globals["raise_exception"] = _raise
    return environment


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: object, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:  # noqa: ANN401
    """The filter `tojson` of chat templates, which escapes no HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _render(source: str, messages: list[dict[str, str]]) -> str:
    pieces: list[str] = []
    chars = 0
    try:
        template, environment = load_template(source)
        environment.begin()
        for piece in template.generate(messages=messages, tools=None, documents=None, add_generation_prompt=False):
            pieces.append(piece)
            chars += len(piece)
            if chars > MAX_CHARS:
                fault("template_output_too_long")
    except FaultError:
        raise
    except (
        jinja2.TemplateError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        SyntaxError,
    ) as error:
        raise FaultError(f"template_error: {error}") from None
    except RecursionError:
        raise FaultError("template_error: recursion") from None
    return "".join(pieces)


def _marked(content: str) -> str:
    """A content with marks around it, inside of its outer white space."""
    core = content.strip()
    start = content.index(core)
    return f"{content[:start]}{CONTENT_START}{core}{CONTENT_END}{content[start + len(core) :]}"


def _spans_of(marked: str) -> tuple[str, Mapping[str, Spans]]:
    """Remove the marks from a rendering; return the text and the spans by the mark that starts them."""
    pieces: list[str] = []
    chars = 0
    open_at: dict[str, int] = {}
    spans: dict[str, list[tuple[int, int]]] = {CONTENT_START: [], SPAN_START: []}
    for piece in _MARKS.split(marked):
        if piece in (CONTENT_START, SPAN_START):
            if piece in open_at:
                fault("template_alters_content" if piece == CONTENT_START else "template_nests_generation")
            open_at[piece] = chars
        elif piece in (CONTENT_END, SPAN_END):
            start = CONTENT_START if piece == CONTENT_END else SPAN_START
            if start not in open_at:
                fault("template_alters_content")
            first = open_at.pop(start)
            if first < chars:
                spans[start].append((first, chars))
        else:
            pieces.append(piece)
            chars += len(piece)
    if open_at:
        fault("template_alters_content")
    return "".join(pieces), {mark: tuple(found) for mark, found in spans.items()}
