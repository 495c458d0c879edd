"""The blocks `sources`, `on_bad_record` and `limits` of a spec: corpora, their steps, and what protects the readers."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Discriminator, Field, StrictBool, Tag

from mixproof.mixtures.values.chat_templates import SHIPPED, TemplateName
from mixproof.mixtures.values.quantities import ByteCount, Share
from mixproof.mixtures.values.spec_part import SpecPart
from mixproof.mixtures.values.whole_numbers import ExpansionRatio

from .keep import KeepRule
from .labels import Label, LabelName
from .split import SplitAxis
from .step import Step as Step
from .transform import Transform

SplitBy = Annotated[
    Annotated[tuple[SplitAxis, ...], Tag("cells"), Field(min_length=1)] | Annotated[str, Tag("column")],
    Discriminator(lambda value: "cells" if isinstance(value, list | tuple) else "column"),
]
Conversations = Literal["chat", "preferences", "ratings"]
"""Formats whose records are conversations, not texts."""
CONVERSATIONS: frozenset[str] = frozenset(get_args(Conversations))
Extractor = Literal["trafilatura", "resiliparse"]
Supervise = Literal["answers", "last_answer", "all"]


class JinjaTemplate(SpecPart):
    """A custom chat template, in the form that transformers reads."""

    jinja: str
    """The template, or the path of a file that holds it. `{% generation %}` marks what is supervised."""


class Source(SpecPart):
    """A named corpus."""

    files: tuple[str, ...] = ()
    """Paths, globs or fsspec URLs, in any order."""
    megatron: str | None = None
    """Instead of `files`: prefix of an existing `.bin/.idx` pair, or a glob of prefixes. One that ends in `.ds` names
    datatrove's token files, each with its `.ds.index`."""
    tokenizer_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the tokenizer that produced the `megatron` tokens; a different `tokenizer` is an error."""
    format: Literal["jsonl", "parquet", "arrow", "text", "warc", "wet", "code"] | Conversations | None = None
    """File format. Default: from the file name. `chat`, `preferences` and `ratings` are JSON lines, Parquet or Arrow
    (by the file name) whose records are conversations, pairs of answers, and rated answers."""
    template: (
        Annotated[
            Annotated[TemplateName, Tag("word")] | Annotated[JinjaTemplate, Tag("map")],
            Discriminator(lambda value: "map" if isinstance(value, dict | JinjaTemplate) else "word"),
        ]
        | None
    ) = None
    """How a conversation becomes one text: `plain`, `chatml` or `{jinja: FILE}`. Default: `plain`."""
    supervise: Supervise | None = None
    """Which tokens of a conversation a model is trained to predict. Default: `answers`. Of a pair and of a rated
    answer, only the answer can be supervised."""
    text: str = "text"
    """Field that holds the text."""
    extractor: Extractor | None = None
    """Takes the main text out of HTML: of pages in WARC files (default: `trafilatura`), or of the field `text` of JSON
    lines, Parquet or Arrow (default: the field is text). `resiliparse` is faster; `mixproof[html]` installs it."""
    id: str = "id"
    """Field that holds the document id, if a record has one; a dot selects a nested field, as in `meta.url`."""
    labels: dict[LabelName, Label] = Field(default={})
    """Values added to the documents, by name; they replace labels of the same name for all sources."""
    keep: tuple[KeepRule, ...] | None = Field(None, min_length=1)
    """Conditions on labels: documents that do not meet them are dropped after deduplication and before `split_by`
    divides the source. Default: all documents stay."""
    split_by: SplitBy | None = None
    """What the source is split by; each part becomes a source, such as `english/high`. A label or a column, a
    `{score: ..., quantiles: ...}`, or a list of these, which are crossed."""
    steps: tuple[Step, ...] = ()
    """Formatters and filters, applied in this order. Default: none."""
    keep_dropped: StrictBool = False
    """Store the texts of the documents that steps drop too, in `dropped.parquet`. Execution, not identity."""

    attributes: tuple[str, ...] = ()
    """For documents in Dolma's format: folders with attributes, one a tagger, each with a file of the same name for
    every file of documents. The step `attribute` filters by them."""
    transform: Transform | None = None
    """How runs rearrange the documents when they read them. Default: not at all. Part of a run's identity, not of the
    build's."""

    @property
    def split_column(self) -> str | None:
        """The column by which records are divided among parts when they are read."""
        return self.split_by if isinstance(self.split_by, str) else None

    @property
    def axes(self) -> tuple[SplitAxis, ...]:
        """By what documents are divided into cells after deduplication; empty: they are not."""
        return self.split_by if isinstance(self.split_by, tuple) else ()

    @property
    def kind(self) -> Conversations | None:
        """What the records are if they are conversations; None for plain documents."""
        return cast("Conversations", self.format) if self.format in CONVERSATIONS else None

    @property
    def supervised(self) -> Supervise:
        """What is supervised in a source of conversations."""
        return self.supervise or "answers"

    @property
    def template_text(self) -> str:
        """The Jinja template of a source of conversations."""
        return self.template.jinja if isinstance(self.template, JinjaTemplate) else SHIPPED[self.template or "plain"]


class OnBadRecord(SpecPart):
    """How unreadable records are handled."""

    reject: Share = Fraction(1, 100)
    """Largest share of a source's records that may be rejected; above it the build fails."""


class Limits(SpecPart):
    """Limits on input size that protect a worker's memory."""

    line_bytes: ByteCount = 128_000_000
    """Longest JSON line; longer lines are rejected as `line_too_long`. Reading a line takes 3.5 times its bytes."""
    document_bytes: ByteCount = 1_000_000_000
    """Longest text, in bytes of UTF-8; a longer one is not read and counted as `document_too_long`. A build may take 30
    times the longest text, and with a tokenizer that encodes texts only as a whole 170 times."""
    expansion: ExpansionRatio = 200
    """Largest decompression ratio of a file, row group or batch; the first GB is always allowed."""

    def identity(self) -> dict[str, Any]:
        """What names the outputs that these limits shape; a limit that came later counts only where it is set."""
        plain: dict[str, Any] = self.model_dump(mode="json")
        if self.document_bytes == Limits.model_fields["document_bytes"].default:
            del plain["document_bytes"]
        return plain
