"""Records of datasets: their parts, and the training and the held-out side of a source."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from mixproof.ledger.frozen_model import FrozenModel

from .left_out import is_none
from .stored_path import StoredPath


class DatasetRecord(FrozenModel):
    """One part of a dataset: `<prefix>.bin`, `<prefix>.idx` and its provenance."""

    prefix: StoredPath
    documents: NonNegativeInt
    tokens: NonNegativeInt
    """Tokens in the `.bin`, including EODs."""
    bin_sha256: str
    idx_sha256: str
    provenance: StoredPath
    provenance_sha256: str
    """SHA-256 of the rows of `provenance`."""
    supervised_tokens: NonNegativeInt | None = Field(default=None, exclude_if=is_none)
    """Tokens whose mask is 1. None, and absent from the file, for a source of plain documents."""
    mask_sha256: str | None = Field(default=None, exclude_if=is_none)
    """SHA-256 of `<prefix>.mask`: a uint8 per token of the `.bin`, 1 where the token is supervised. Else absent."""


class SplitRecord(FrozenModel):
    """The training or the held-out side of a source."""

    documents: NonNegativeInt
    """Documents of the datasets. A pair of a `preferences` source is two: the chosen answer, then the rejected one."""
    tokens: NonNegativeInt
    eod_tokens: NonNegativeInt
    bytes: NonNegativeInt
    """UTF-8 bytes of the texts, before the tokenizer's normalizer."""
    datasets: tuple[DatasetRecord, ...]
    supervised_tokens: NonNegativeInt | None = Field(default=None, exclude_if=is_none)
    """Tokens that a model is trained to predict; the other tokens are context. Absent for plain documents."""


class HeldoutTexts(FrozenModel):
    """A held-out set's texts; `path` is a Parquet of `file`, `record`, `id`, `text`, `text_xxh128`, `text_bytes`."""

    path: StoredPath
    sha256: str
    """SHA-256 of the rows of `path`, each text by its hash."""


class HeldoutRecord(SplitRecord):
    """The held-out side of a source, with the texts, so that other builds can import it."""

    texts: HeldoutTexts | None = None
    imported_from: str | None = None
    """Build id of the manifest that this set was imported from. An imported set is not part of this source's E4."""
