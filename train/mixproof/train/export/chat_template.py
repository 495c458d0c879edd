"""The chat template of an exported run, as transformers reads it, checked against the ids that were trained on.

`chat_template.jinja` renders what the build rendered. Templates of other sources, where a run has several, are in
`additional_chat_templates/NAME.jinja`. A build with a BOS begins every document with it, so its templates write
`bos_token` first. A template that writes control tokens needs a tokenizer that recognizes them, so the literal text of
such a token in a message becomes the token too, unless `apply_chat_template` is called with
`sanitize_control_tokens=True`; in training it stayed text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mixproof.pipeline.chat.messages import FaultError, Message
from mixproof.pipeline.chat.template import render
from mixproof.tokenize.tokenizer.masked import Conversation, MaskedEncoder, template_tokens
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.train.record import RunRecord

TEMPLATE = "chat_template.jinja"
OTHERS = "additional_chat_templates"
BOS = "{{ bos_token }}"
QUESTION, ANSWER = Message("user", "How many legs has a spider?"), Message("assistant", "Eight: 4 × 2.\nNo more.")
PROBES: tuple[tuple[Message, ...], ...] = (
    (QUESTION, ANSWER),
    (Message("system", "Answer in one line."), QUESTION, ANSWER),
    (QUESTION, ANSWER, Message("user", " And  an ant? 蟻 naïve "), Message("assistant", "Six.")),
    (Message("system", "Be brief."), QUESTION, ANSWER, Message("user", "if x:\n\treturn 1"), ANSWER),
)
"""Conversations whose ids are compared; a template may refuse some of them."""


@dataclass(frozen=True)
class ChatTemplates:
    """The templates of a run's conversations."""

    by_source: Mapping[str, str]
    main: str
    """The source with the most supervised tokens, whose template is the default."""
    bos: bool
    """Whether documents begin with a BOS."""

    def written(self, source: str) -> str:
        """The template of a source as an export writes it."""
        return f"{BOS if self.bos else ''}{self.by_source[source]}"

    @property
    def others(self) -> dict[str, str]:
        """Sources with another template than the main one, by the name of their file."""
        differ = (name for name, text in self.by_source.items() if text != self.by_source[self.main])
        return {quote(name, safe=""): name for name in differ}


@dataclass(frozen=True)
class TemplateCheck:
    """Agreement of an exported template with the build's rendering."""

    conversations: int
    """Number of conversations compared."""
    different: int
    example: str
    """Start of the first one whose ids differ; empty if none does."""
    generation_prompt: bool
    """Whether `add_generation_prompt` ends each prompt where the trained answer starts."""


def chat_templates_of(record: RunRecord, *, bos: bool) -> ChatTemplates | None:
    """The templates of the conversations that a run was trained on; None if it read none."""
    trained = record.post_training
    found = {} if trained is None else {name: str(json.loads(text)) for name, text in trained.templates.items()}
    if not found:
        return None
    main = max(sorted(found), key=lambda name: record.delivered[name].counted_tokens)
    return ChatTemplates(found, main, bos)


def writes_control_tokens(templates: ChatTemplates, tokenizer: Path) -> bool:
    """Whether a template writes a token that a tokenizer recognizes only as a control token."""
    pieces = load_reference(str(tokenizer)).special_pieces
    if templates.bos or not pieces:
        return templates.bos
    pattern = re.compile("|".join(map(re.escape, sorted(pieces, key=len, reverse=True))))
    rendered = (each for text in set(templates.by_source.values()) for each in _rendered(text))
    return any(template_tokens(conversation, pattern) for conversation, _ in rendered)


def write_chat_templates(templates: ChatTemplates, folder: Path) -> None:
    """Write the templates into the folder of a tokenizer."""
    (folder / TEMPLATE).write_text(templates.written(templates.main), encoding="utf-8")
    for file, name in templates.others.items():
        (folder / OTHERS).mkdir(exist_ok=True)
        (folder / OTHERS / f"{file}.jinja").write_text(templates.written(name), encoding="utf-8")


def check_chat_templates(templates: ChatTemplates, folder: Path, tokenizer: Path, bos_id: int | None) -> TemplateCheck:
    """Compare `apply_chat_template` of the tokenizer in `folder` with the ids and prompts of the build's rendering."""
    from transformers import AutoTokenizer

    exported: Any = AutoTokenizer.from_pretrained(folder)
    encoder, before = MaskedEncoder(str(tokenizer)), [] if bos_id is None else [bos_id]
    files = {name: file for file, name in templates.others.items()}
    compared, different, starts = 0, list[str](), True
    for name in (templates.main, *files):
        options = {"chat_template": files[name]} if name in files else {}
        for conversation, messages in _rendered(templates.by_source[name]):
            compared += 1
            given = [message._asdict() for message in messages]
            found = exported.apply_chat_template(given, tokenize=True, return_dict=False, **options)
            if found != [*before, *encoder.encode([conversation])[0].ids.tolist()]:
                different.append(conversation.text)
            prompt = exported.apply_chat_template(given[:-1], tokenize=False, add_generation_prompt=True, **options)
            answer = conversation.supervised[-1][0] if conversation.supervised else conversation.contents[-1][0]
            starts &= prompt.endswith(conversation.text[:answer])
    return TemplateCheck(compared, len(different), different[0][:80] if different else "", starts)


def _rendered(template: str) -> Sequence[tuple[Conversation, tuple[Message, ...]]]:
    """The probes that a template renders, with their messages."""
    found: list[tuple[Conversation, tuple[Message, ...]]] = []
    for messages in PROBES:
        try:
            rendering = render(template, messages)
        except FaultError:
            continue
        found.append((Conversation(rendering.text, rendering.generated, rendering.contents), messages))
    return found
