"""The spec's models: one YAML file is one experiment.

Frozen pydantic models that reject unknown keys. They hold the normalized form: quantities are integers
(tokens, bytes) or exact fractions (shares), never floats, so that a spec has one fingerprint. `load.py`
reads YAML into them and turns a validation error into one that names file, line and dotted key; the
shorthands of YAML are in `forms.py` and `mixture_forms.py`, rules between keys in `checks.py`, the `train`
and `dedup` blocks in `train_spec.py` and `dedup_spec.py`.
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
from .quantities import ByteCount, Decimalish, PositiveDecimal, Share, TokenCount, WholeNumber, exact_string
from .spec_part import Name, SpecPart
from .train_spec import Train

DEFAULT_MAX_EPOCHS = Fraction(4)
"""Up to about four epochs, repeated tokens are worth nearly as much as new ones (see repetition.py)."""


class Step(SpecPart):
    """One formatter or filter: its name and its options, as `length` or `{length: {min_chars: 200}}`.

    `{datatrove: GopherQualityFilter, min_doc_words: 50}` becomes name `datatrove`, class under `class`.
    """

    name: str
    options: dict[str, Any] = Field(default={})
    """As written; decimals are exact fractions."""

    @field_serializer("options", when_used="json")
    def _exact_options(self, options: dict[str, Any]) -> Any:  # noqa: ANN401  any YAML value
        return _exact(options)


class Source(SpecPart):
    """A named corpus."""

    files: tuple[str, ...] = ()
    """Any fsspec URLs or globs; their order never matters."""
    megatron: str | None = None
    """Prefix of an existing `.bin/.idx` pair, or a glob of prefixes, instead of `files`."""
    tokenizer_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of the tokenizer that made the tokens of `megatron`; another one in `tokenizer` is an error."""
    format: Literal["jsonl", "parquet", "arrow", "text", "warc", "wet", "code"] | None = None
    """Absent: by the file's name."""
    text: str = "text"
    """Field that holds the text."""
    id: str = "id"
    """Field that holds the id, where a record has it; a dot leads into a nested one, as in `meta.url`."""
    split_by: str | None = None
    """Column whose values make sources of their own: `english/high`, `english/low`."""
    steps: tuple[Step, ...] = ()
    """Formatters and filters, applied in this order; none where absent."""
    keep_dropped: StrictBool = False
    """Write the documents that a step drops to `dropped.parquet`, beside those that stay. Execution, not identity."""


class OnBadRecord(SpecPart):
    """What happens to records that cannot be read."""

    reject: Share = Fraction(1, 100)
    """Largest share of a source's records that may be rejected before the build fails."""


class Limits(SpecPart):
    """How large what is read may be, so that no file takes a worker's memory."""

    line_bytes: ByteCount = 128_000_000
    """Longest line of JSON; a longer one is rejected as `line_too_long`. Reading one takes 3.5 times its bytes."""
    expansion: WholeNumber = 200
    """How many times its own bytes a packed file, row group or batch may unpack to, beyond the first GB."""


class HeldoutCreate(SpecPart):
    """Held-out sets made from this spec's own sources, per source."""

    tokens: TokenCount | None = None
    """Absent: 1M tokens or 2% of the source's bytes, whichever is less."""
    min_documents: WholeNumber = 50
    """Documents that are held out at least, whatever their tokens."""


class HeldoutSpec(SpecPart):
    """Where the held-out sets come from: exactly one of the two."""

    create: HeldoutCreate | None = None
    """Take them out of this spec's documents."""
    from_: str | None = None
    """Path of another build's manifest."""


class Decontaminate(SpecPart):
    """Which training documents go because they share text with held-out or evaluation texts."""

    against: tuple[str, ...] = ()
    """Evaluation files beside the held-out texts, which always count."""
    ngram: WholeNumber = 13
    """Words that a run of shared text must have to count."""
    overlap: Share = Fraction(1, 2)
    """Share of one text's n-grams that, found in the other, makes the training document go."""


class TokenizerTraining(SpecPart):
    """A SentencePiece BPE model trained on a sample of the training documents."""

    vocab_size: WholeNumber = 32000
    """Pieces, control and byte pieces included."""
    bytes: ByteCount = 200_000_000
    """UTF-8 bytes of the training sample, over all sources by their byte share."""


class Tokenizer(SpecPart):
    """Exactly one of the first three."""

    sentencepiece: str | None = None
    """Path of a SentencePiece model."""
    huggingface: str | None = None
    """Path of a `tokenizer.json`."""
    train: TokenizerTraining | None = None
    """Train one on this build's training documents."""
    eod: str | None = None
    """Piece to use as end of document instead of the tokenizer's own."""


class TargetRun(SpecPart):
    """The big run that the proxies stand for."""

    tokens: TokenCount
    """Training tokens of the big run."""
    max_epochs: dict[str, PositiveDecimal] = Field(default={"default": DEFAULT_MAX_EPOCHS})
    """Cap per source by name; `default` for the others. 2.0 means seen twice."""
    simulate: StrictBool = False
    """Cut each source so that the proxy repeats it as often as the target would."""


class ShareSpec(SpecPart):
    """Shares of sources per token: explicit or by a rule over the sources' training tokens."""

    shares: dict[str, Share] | None = None
    """Sums to 1 exactly; a share of zero, or none, keeps the source in evaluation."""
    rule: Literal["proportional", "temperature", "unimax"] | None = None
    times: dict[str, Decimalish] = Field(default={})
    """Multipliers on a rule's shares by source; 1 where not named."""
    temperature: PositiveDecimal | None = None
    """For `rule: temperature`: shares go as tokens to the power 1/temperature; above 1 flattens."""


class Phase(ShareSpec):
    """A stretch of a run with shares of its own."""

    until: PositiveDecimal
    """Where it ends, as a share of the proxy's tokens; above 100% where the run is longer than they are."""
    decay: StrictBool = False
    """For the last phase: the learning rate decays over this phase, and the run ends with it, wherever that is."""


class Mixture(ShareSpec):
    """One blend for the whole run, or phases with a blend each."""

    phases: tuple[Phase, ...] = ()
    """One after the other, each with an `until`; the last ends at 100%."""


class Objective(SpecPart):
    """What compare and search minimize."""

    heldout_bpb: dict[str, Decimalish] = Field(min_length=1)
    """Weight of each source's held-out bits per byte."""


class Spec(SpecPart):
    """One experiment."""

    schema_: Literal[1]
    """Version of this form."""
    name: Name
    """Of the experiment; no part of any result."""
    sources: dict[Name, Source] = Field(min_length=1)
    """The corpora, by name."""
    on_bad_record: OnBadRecord = OnBadRecord()
    """What happens to records that cannot be read."""
    limits: Limits = Limits()
    """How large what is read may be."""
    dedup: Dedup | None = None
    """Deduplication. Absent: off."""
    heldout: HeldoutSpec = HeldoutSpec(create=HeldoutCreate())
    """The held-out sets that mixtures are measured on."""
    decontaminate: Annotated[
        Annotated[Decontaminate, Tag("map")] | Annotated[Literal[False], Tag("false")],
        Discriminator(lambda value: "false" if value is False else "map"),
    ] = Decontaminate()
    """Protection of held-out and evaluation texts; `false` turns it off."""
    tokenizer: Tokenizer
    """One tokenizer for all sources."""
    target: TargetRun | None = None
    """The big run; caps and `simulate` speak of it. Absent: caps speak of each proxy run."""
    mixtures: dict[Name, Mixture] = Field(min_length=1)
    """What is compared, by name."""
    train: Train
    objective: Objective | None = None
    """What `compare` and `search` minimize. Absent: the plain mean of held-out bits per byte over sources."""
    external: External | None = None
    """Texts and tasks of others on which finished runs are scored as well. Absent: none. Execution, not identity."""

    _positions: KeyPositions = PrivateAttr(default_factory=KeyPositions)

    def where(self, *path: str | int) -> str:
        """Spell a key's position for an error: `spec.yaml:12: sources.code.files`."""
        return self._positions.where(*path)

    @property
    def positions(self) -> KeyPositions:
        """Where the keys of this spec stand."""
        return self._positions

    def with_positions(self, positions: KeyPositions) -> Self:
        """Remember where the keys of this spec stand."""
        self._positions = positions
        return self

    def max_epochs(self, source: str) -> Fraction:
        """Return the cap of a source: how often its tokens may be seen. 2 means seen twice."""
        caps = self.target.max_epochs if self.target is not None else {}
        return caps.get(source, caps.get("default", DEFAULT_MAX_EPOCHS))


def _exact(value: Any) -> Any:  # noqa: ANN401  any YAML value
    if isinstance(value, Fraction):
        return exact_string(value)
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list | tuple) else value
