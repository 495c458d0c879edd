"""Results of a trace: the documents of a batch, and the samples that read a document; with the command's JSON forms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("plain", "psm", "spm")
"""Names of the orders of fill-in-the-middle, by the numbers of the saved index."""


def _without_fim(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields; `fim` only where there is fill-in-the-middle."""
    return {name: value for name, value in fields if name != "fim" or value is not None}


@dataclass(frozen=True)
class TracedDocument:
    """A document of a draw, from its provenance."""

    source: str
    file: str
    record: int
    id: str
    text_xxh128: str
    text_bytes: int
    tokens: int
    """Including the EOD."""


@dataclass(frozen=True)
class TracedPiece:
    """The tokens that one sample read of one document."""

    document: TracedDocument
    first_token: int
    """Index in the document."""
    tokens: int
    text: str | None
    """The decoded tokens; None: the tokenizer is not in the store."""
    fim: str | None = None
    """Order in which it was read: `plain`, `psm` or `spm`; None without fill-in-the-middle."""


@dataclass(frozen=True)
class TracedSample:
    """One sample of a batch."""

    sample: int
    """Index in the run, from 0."""
    source: str
    epoch: int
    """Passes over the draw before this one."""
    pieces: tuple[TracedPiece, ...]


@dataclass(frozen=True)
class TracedStep:
    """A batch."""

    run: str
    """Absolute path of the run's folder."""
    step: int
    samples: tuple[TracedSample, ...]
    text_is: str | None
    """How the texts were obtained; None: there are none."""

    def to_json(self) -> dict[str, object]:
        """Return what `mixproof trace --step --json` prints."""
        return asdict(self, dict_factory=_without_fim)


@dataclass(frozen=True)
class Sighting:
    """One sample that read tokens of a document."""

    step: int
    """From 1, as in the metrics."""
    sample: int
    epoch: int
    first_token: int
    tokens: int
    targets: int
    """Those of the tokens that were targets of this sample."""
    fim: str | None = None
    """Order in which the document, or this piece, was read; None without fill-in-the-middle."""


@dataclass(frozen=True)
class DocumentTrace:
    """The samples that read a document."""

    document: TracedDocument
    where: str
    """`drawn`, `not drawn` (a training document that no run of the spec reads) or `held out`."""
    passes: int
    """Passes over the draw in which the run read tokens of it."""
    targets: int
    """Its tokens that were targets, over all passes."""
    sightings: tuple[Sighting, ...]
    text: str | None


@dataclass(frozen=True)
class TracedDocuments:
    """All documents with an id; several if sources share the id."""

    run: str
    documents: tuple[DocumentTrace, ...]
    text_is: str | None

    def to_json(self) -> dict[str, object]:
        """Return what `mixproof trace --document --json` prints."""
        return asdict(self, dict_factory=_without_fim)
