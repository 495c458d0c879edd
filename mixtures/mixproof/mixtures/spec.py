"""The models of a spec: one YAML file is one experiment.

Frozen pydantic models that reject unknown keys. They hold the normalized form: quantities are integers
(tokens, bytes) or exact fractions (shares), never floats, so that a spec has one fingerprint. `load.py`
reads YAML into them and turns validation errors into errors with file, line and dotted key. YAML shorthands
are in `forms.py` and `mixture_forms.py`, rules between keys in `checks.py`, and the blocks `train`, `dedup`
and `external` in `train_spec.py`, `dedup_spec.py` and `external_spec.py`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    PrivateAttr,
    StrictBool,
    Tag,
    field_serializer,
)

from .dedup_spec import Dedup
from .external_spec import External
from .key_positions import KeyPositions
from .quantities import ByteCount, ExactNumber, PositiveNumber, Share, TokenCount, exact_string
from .spec_part import Name, SpecPart
from .train_spec import Train
from .whole_numbers import ExpansionRatio, NgramLength, VocabularySize, WholeNumber

DEFAULT_MAX_EPOCHS = Fraction(4)
"""Up to about four epochs, repeated tokens are worth nearly as much as new ones (see `repetition.py`)."""


class Step(SpecPart):
    """One formatter or filter: its name and its options, as `length` or `{length: {min_chars: 200}}`.

    `{datatrove: GopherQualityFilter, min_doc_words: 50}` has the name `datatrove` and the class in `options.class`.
    """

    name: str
    options: dict[str, Any] = Field(default={})
    """Options as written; decimals are exact fractions."""

    @field_serializer("options", when_used="json")
    def _exact_options(self, options: dict[str, Any]) -> Any:  # noqa: ANN401  any YAML value
        return _exact(options)


class Source(SpecPart):
    """A named corpus."""

    files: tuple[str, ...] = ()
    """Paths, globs or fsspec URLs, in any order."""
    megatron: str | None = None
    """Instead of `files`: prefix of an existing `.bin/.idx` pair, or a glob of prefixes."""
    tokenizer_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the tokenizer that produced the `megatron` tokens; a different `tokenizer` is an error."""
    format: Literal["jsonl", "parquet", "arrow", "text", "warc", "wet", "code"] | None = None
    """File format. Default: from the file name."""
    text: str = "text"
    """Field that holds the text."""
    id: str = "id"
    """Field that holds the document id, if a record has one; a dot selects a nested field, as in `meta.url`."""
    split_by: str | None = None
    """Column by which the source is split: each value becomes a source, such as `english/high`."""
    steps: tuple[Step, ...] = ()
    """Formatters and filters, applied in this order. Default: none."""
    keep_dropped: StrictBool = False
    """Write the documents that steps drop to `dropped.parquet`, beside those that stay. Execution, not identity."""


class OnBadRecord(SpecPart):
    """How unreadable records are handled."""

    reject: Share = Fraction(1, 100)
    """Largest share of a source's records that may be rejected; above it the build fails."""


class Limits(SpecPart):
    """Limits on input size that protect a worker's memory."""

    line_bytes: ByteCount = 128_000_000
    """Longest JSON line; longer lines are rejected as `line_too_long`. Reading a line takes 3.5 times its bytes."""
    expansion: ExpansionRatio = 200
    """Largest decompression ratio of a file, row group or batch; the first GB is always allowed."""


class HeldoutCreate(SpecPart):
    """Held-out sets taken from this spec's own sources; the numbers are per source."""

    tokens: TokenCount | None = None
    """Tokens to hold out. Default: 1M tokens or 2% of the source's bytes, whichever is less."""
    min_documents: WholeNumber = 50
    """Smallest number of documents to hold out, even if they have more than `tokens`."""


class HeldoutSpec(SpecPart):
    """Where the held-out sets come from: exactly one of `create` and `from`."""

    create: HeldoutCreate | None = None
    """Take them from this spec's sources."""
    from_: str | None = None
    """Path of the manifest of another build, to import its held-out sets."""


class EvaluationFiles(SpecPart):
    """Evaluation files with the same fields."""

    files: tuple[str, ...] = Field(min_length=1)
    """Paths, globs or fsspec URLs."""
    fields: tuple[str, ...] | None = Field(None, min_length=1)
    """Fields that hold texts to protect; a dot selects a nested field. Default: known fields of benchmarks, by name."""
    passages: bool = True
    """Protect the passage that a question is about, such as `context` in SQuAD. Has no effect with `fields`."""


class Decontaminate(SpecPart):
    """Which training documents are dropped because they overlap with held-out or evaluation texts."""

    against: tuple[EvaluationFiles, ...] = ()
    """Evaluation files to protect, besides the held-out texts, which are always protected. A path alone: its files with
    known fields."""
    ngram: NgramLength = 13
    """Words per n-gram; shorter runs of shared text do not count."""
    overlap: Share = Fraction(1, 2)
    """A training document is dropped when this share of either text's n-grams occurs in the other."""


class TokenizerTraining(SpecPart):
    """A SentencePiece BPE model trained on a sample of the training documents."""

    vocab_size: VocabularySize = 32000
    """Number of pieces, including control and byte pieces."""
    bytes: ByteCount = 200_000_000
    """UTF-8 bytes of the training sample, distributed over the sources by their bytes."""


class Tokenizer(SpecPart):
    """The tokenizer: exactly one of `sentencepiece`, `huggingface` and `train`."""

    sentencepiece: str | None = None
    """Path of a SentencePiece model."""
    huggingface: str | None = None
    """Path of a `tokenizer.json`."""
    train: TokenizerTraining | None = None
    """Train a tokenizer on this build's training documents."""
    eod: str | None = None
    """Piece to use as end of document (EOD) instead of the tokenizer's own."""


class TargetRun(SpecPart):
    """The large run for which the proxies are trained."""

    tokens: TokenCount
    """Training tokens of the large run."""
    max_epochs: dict[str, PositiveNumber] = Field(default={"default": DEFAULT_MAX_EPOCHS})
    """Largest number of epochs by source; `default` applies to the others. 2.0 means seen twice."""
    simulate: StrictBool = False
    """Cut each source so that a proxy run repeats it as often as the target run would."""


class ShareSpec(SpecPart):
    """Each source's share of the tokens: written as shares, or given by a rule over the sources' training tokens."""

    shares: dict[str, Share] | None = None
    """Shares by source; they sum to exactly 1. A source with a share of 0, or without one, is only evaluated."""
    rule: Literal["proportional", "temperature", "unimax"] | None = None
    """How to compute the shares from the sources' training tokens."""
    times: dict[str, ExactNumber] = Field(default={})
    """Multipliers on a rule's shares, by source. Default: 1."""
    temperature: PositiveNumber | None = None
    """For `rule: temperature`: shares are proportional to tokens^(1/temperature); above 1 flattens them."""


class Phase(ShareSpec):
    """A phase of a run, with its own shares."""

    until: PositiveNumber
    """End of the phase, as a share of the proxy's tokens; above 100% for a run that is longer."""
    decay: StrictBool = False
    """For the last phase: the learning rate decays over this phase, and the run ends with it, even below 100%."""


class Mixture(ShareSpec):
    """Shares for the whole run, or phases with their own shares."""

    phases: tuple[Phase, ...] = ()
    """Consecutive phases, each with `until`; the last ends at 100%, unless it has `decay: true`."""


class Objective(SpecPart):
    """What `compare` and `search` minimize."""

    heldout_bpb: dict[str, ExactNumber] = Field(min_length=1)
    """Weight of the held-out bits per byte, by source."""


class Spec(SpecPart):
    """One experiment."""

    schema_: Literal[1]
    """Version of the spec format."""
    name: Name
    """Name of the experiment. Not part of any result."""
    sources: dict[Name, Source] = Field(min_length=1)
    """The corpora, by name."""
    on_bad_record: OnBadRecord = OnBadRecord()
    """How unreadable records are handled."""
    limits: Limits = Limits()
    """Limits on input size."""
    dedup: Dedup | None = None
    """Deduplication. Default: off."""
    heldout: HeldoutSpec = HeldoutSpec(create=HeldoutCreate())
    """The held-out sets on which mixtures are evaluated."""
    decontaminate: Annotated[
        Annotated[Decontaminate, Tag("map")] | Annotated[Literal[False], Tag("false")],
        Discriminator(lambda value: "false" if value is False else "map"),
    ] = Decontaminate()
    """Removal of training documents that overlap with held-out or evaluation texts; `false` turns it off."""
    tokenizer: Tokenizer
    """One tokenizer for all sources."""
    target: TargetRun | None = None
    """The large run, to which epoch caps and `simulate` refer. Default: caps refer to each proxy run."""
    mixtures: dict[Name, Mixture] = Field(min_length=1)
    """The mixtures to compare, by name."""
    train: Train
    """How the proxies are trained."""
    objective: Objective | None = None
    """What `compare` and `search` minimize. Default: the mean of held-out bits per byte over all sources."""
    external: External | None = None
    """External evaluation sets and tasks, scored on finished runs. Default: none. Execution, not identity."""

    _positions: KeyPositions = PrivateAttr(default_factory=KeyPositions)

    def where(self, *path: str | int) -> str:
        """A key's position for error messages: `spec.yaml:12: sources.code.files`."""
        return self._positions.where(*path)

    @property
    def positions(self) -> KeyPositions:
        """File and line of every key of this spec."""
        return self._positions

    def with_positions(self, positions: KeyPositions) -> Self:
        """Set file and line of the keys of this spec, and return the spec."""
        self._positions = positions
        return self

    def max_epochs(self, source: str) -> Fraction:
        """The largest number of epochs of a source. 2 means seen twice."""
        caps = self.target.max_epochs if self.target is not None else {}
        return caps.get(source, caps.get("default", DEFAULT_MAX_EPOCHS))


def _exact(value: Any) -> Any:  # noqa: ANN401  any YAML value
    if isinstance(value, Fraction):
        return exact_string(value)
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list | tuple) else value
