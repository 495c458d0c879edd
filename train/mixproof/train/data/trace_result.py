"""What a trace finds: the samples of a batch, and the sightings of a document; with the JSON forms of the command."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class TracedDocument:
    """A document of a draw, by its provenance."""

    source: str
    file: str
    record: int
    id: str
    text_xxh128: str
    text_bytes: int
    tokens: int
    """EOD included."""


@dataclass(frozen=True)
class TracedPiece:
    """What one sample read of one document."""

    document: TracedDocument
    first_token: int
    """Place in the document."""
    tokens: int
    text: str | None
    """Of the piece, decoded; None where the tokenizer is not in the store."""


@dataclass(frozen=True)
class TracedSample:
    """One sample of a batch."""

    sample: int
    """From 0, in the run."""
    source: str
    epoch: int
    """Pass over the draw, from 0."""
    pieces: tuple[TracedPiece, ...]


@dataclass(frozen=True)
class TracedStep:
    """A batch."""

    run: str
    """Absolute path of the run's folder."""
    step: int
    samples: tuple[TracedSample, ...]
    text_is: str | None
    """What the texts are; None where there are none."""

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof trace --step --json` prints."""
        return asdict(self)


@dataclass(frozen=True)
class Sighting:
    """One sample that read a document, or a piece of it."""

    step: int
    """From 1, as in the metrics."""
    sample: int
    epoch: int
    first_token: int
    tokens: int
    targets: int
    """Tokens of the piece that were targets of this sample."""


@dataclass(frozen=True)
class DocumentTrace:
    """When a document was seen."""

    document: TracedDocument
    where: str
    """`drawn`, `not drawn` (training side, no run of this family reads it) or `held out`."""
    passes: int
    """Passes over the draw in which the run read some of it: how often it was seen."""
    targets: int
    """Its tokens that were targets, over all passes."""
    sightings: tuple[Sighting, ...]
    text: str | None


@dataclass(frozen=True)
class TracedDocuments:
    """Every document of an id: more than one where sources share it."""

    run: str
    documents: tuple[DocumentTrace, ...]
    text_is: str | None

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof trace --document --json` prints."""
        return asdict(self)
