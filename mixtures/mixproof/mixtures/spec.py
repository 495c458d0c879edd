"""The spec's models: one YAML file is one experiment.

Frozen pydantic models that reject unknown keys. They hold the normalized form: quantities are integers
(tokens, bytes) or exact fractions (shares), never floats, so that a spec has one fingerprint. `load.py`
reads YAML into them and turns a validation error into one that names file, line and dotted key.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .quantities import ByteCount, Decimalish, Share, TokenCount


class SpecPart(BaseModel):
    """Base of every part of a spec: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"), populate_by_name=True
    )


class Step(SpecPart):
    """One formatter or filter: its name and its options, as `length` or `{length: {min_chars: 200}}`.

    `{datatrove: GopherQualityFilter, min_doc_words: 50}` becomes name `datatrove` with the class under `class`.
    """

    name: str
    options: dict[str, Any] = {}


class Source(SpecPart):
    """A named corpus."""

    files: tuple[str, ...] = ()
    """Any fsspec URLs or globs; their order never matters."""
    megatron: str | None = None
    """Prefix of an existing `.bin/.idx` pair, instead of `files`."""
    format: Literal["jsonl", "parquet", "arrow", "text", "warc", "wet", "code"] | None = None
    """None: by the file's name."""
    text: str = "text"
    """Field that holds the text."""
    id: str = "id"
    """Field that holds the id, where a record has it."""
    split_by: str | None = None
    """Column whose values make sources of their own."""
    steps: tuple[Step, ...] = ()


class OnBadRecord(SpecPart):
    """What happens to records that cannot be read."""

    reject: Share
    """Largest share of a source's records that may be rejected before the build fails."""


class FuzzyDedup(SpecPart):
    """MinHash-LSH over word n-grams."""

    ngram: int = 5
    bands: int = 14
    rows: int = 8
    threshold: Decimalish


class Dedup(SpecPart):
    """Which documents count as the same, where, and which of them stays."""

    exact: bool = True
    fuzzy: FuzzyDedup | None = None
    scope: Literal["all", "source"] | dict[str, tuple[str, ...]] = "all"
    """`all`: all sources against each other; `source`: each alone; else named groups of sources."""
    keep: tuple[str, ...] = ()
    """Priority of the source that keeps a shared document; sources not listed come last, by name."""


class HeldoutCreate(SpecPart):
    """Held-out sets made from this spec's own sources, per source."""

    tokens: TokenCount | None = None
    """None: 1M tokens or 2% of the source's bytes, whichever is less."""
    min_documents: int = 50


class Heldout(SpecPart):
    """Where the held-out sets come from: exactly one of the two."""

    create: HeldoutCreate | None = None
    from_: str | None = None
    """Path of another build's manifest."""


class Decontaminate(SpecPart):
    """Which training documents go because they share text with held-out or evaluation texts."""

    against: tuple[str, ...] = ()
    """Evaluation files beside the held-out texts, which always count."""
    ngram: int = 13
    overlap: Decimalish


class TokenizerTraining(SpecPart):
    """A SentencePiece BPE model trained on a sample of the training documents."""

    vocab_size: int = 32000
    bytes: ByteCount
    """UTF-8 bytes of the training sample, over all sources by their byte share."""


class Tokenizer(SpecPart):
    """Exactly one of the three."""

    sentencepiece: str | None = None
    huggingface: str | None = None
    train: TokenizerTraining | None = None
    eod: str | None = None
    """Piece to use as end of document instead of the tokenizer's own."""


class Target(SpecPart):
    """The big run that the proxies stand for."""

    tokens: TokenCount
    max_epochs: dict[str, Decimalish]
    """Cap per source by name; `default` for the others. 2.0 means seen twice."""
    simulate: bool = False
    """Cut each source so that the proxy repeats it as often as the target would."""


class Phase(SpecPart):
    """A stretch of a run with shares of its own."""

    until: Share
    """Where it ends, as a share of the run's tokens."""
    shares: dict[str, Share]


class Mixture(SpecPart):
    """Shares of sources per token: explicit, in phases, or by a rule."""

    shares: dict[str, Share] | None = None
    """Sums to 1 exactly; a share of zero keeps the source in evaluation."""
    phases: tuple[Phase, ...] = ()
    rule: Literal["proportional", "temperature", "unimax"] | None = None
    times: dict[str, Decimalish] = {}
    """Multipliers on a rule's shares."""
    temperature: Decimalish | None = None


class Wsd(SpecPart):
    """Warm-up, stable, decay."""

    warmup: Share
    decay: Share
    shape: Literal["linear", "cosine", "exponential", "minus_sqrt"] = "minus_sqrt"


class Schedule(SpecPart):
    """Learning-rate schedule."""

    wsd: Wsd


class Optimizer(SpecPart):
    """AdamW; weight decay on matrices only."""

    weight_decay: Decimalish
    clip: Decimalish
    betas: tuple[Decimalish, Decimalish]


class Architecture(SpecPart):
    """Shape of a proxy given inline; the same numbers as a shipped one."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int


class Proxy(SpecPart):
    """A small model's recipe: how long and how fast it learns."""

    tokens: TokenCount
    global_batch_size: int
    """Samples per step."""
    lr: Decimalish
    min_lr: Decimalish
    micro_batch_size: int | None = None
    """Samples per forward pass; None: chosen by the trainer. Execution, not identity."""
    architecture: Architecture | None = None
    """None: the shipped proxy of this name."""


class Train(SpecPart):
    """How every run is trained."""

    sequence_length: int = 2048
    document_mask: bool = False
    eod_mask_loss: bool = False
    reset_position_ids: bool = False
    rope_base: int = 10000
    schedule: Schedule
    optimizer: Optimizer
    proxies: dict[str, Proxy]
    init_from: str | None = None
    checkpoint_every: TokenCount | None = None
    """None: at the end only."""
    seeds: tuple[int, ...] = (1,)


class Objective(SpecPart):
    """What compare and search minimize."""

    heldout_bpb: dict[str, Decimalish]
    """Weight of each source's held-out bits per byte."""


class Spec(SpecPart):
    """One experiment."""

    schema_: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    sources: dict[str, Source]
    on_bad_record: OnBadRecord
    dedup: Dedup | None = None
    heldout: Heldout
    decontaminate: Decontaminate | Literal[False]
    tokenizer: Tokenizer
    target: Target | None = None
    mixtures: dict[str, Mixture]
    train: Train
    objective: Objective | None = None
