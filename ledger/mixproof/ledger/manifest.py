"""The manifest: the statement of a build, in a versioned schema.

The manifest is JSON with sorted keys and an indent of one. The SHA-256 of its bytes is the build's id
and names its folder: `builds/<id>/manifest.json`. Nothing in it depends on time, machine, engine or input
locations; those are recorded in `builds/<id>/circumstances.json` beside it. Paths are relative to the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, ValidationError

from .account import Count, StageRow
from .errors import RequestError
from .frozen_model import FrozenModel
from .store import Store

MANIFEST = "manifest.json"
BUILDS = "builds"
CIRCUMSTANCES = "circumstances.json"
"""File beside a manifest, and beside a run's record."""


SourceKind = Literal["chat", "preferences", "ratings"]
"""Sources whose records are conversations, pairs of answers, or rated answers; their tokens have a mask."""


def is_none(value: object) -> bool:
    """Whether a field is left out of the file, so that manifests without it keep their ids."""
    return value is None


class TokenizerRecord(FrozenModel):
    """The tokenizer that produced every token id of the build."""

    kind: Literal["sentencepiece", "huggingface", "tiktoken"]
    path: str
    sha256: str
    vocab_size: NonNegativeInt
    """Number of ids, added tokens included."""
    eod_id: NonNegativeInt
    bos_id: NonNegativeInt | None = Field(default=None, exclude_if=lambda bos_id: bos_id is None)
    """Id that begins every document; absent from the file when documents begin with their text."""

    @property
    def around(self) -> int:
        """Tokens of a document that are not of its text: the EOD, and the BOS if there is one."""
        return 1 if self.bos_id is None else 2


class InputsRecord(FrozenModel):
    """The raw files of a source; `path` is a Parquet of `file`, `sha256`, `bytes`, `records`."""

    path: str
    sha256: str
    """SHA-256 of the rows of `path` (`ledger/content.py`), the same for every version of its writer."""
    files: NonNegativeInt
    records: NonNegativeInt
    bytes: NonNegativeInt


class DatasetRecord(FrozenModel):
    """One part of a dataset: `<prefix>.bin`, `<prefix>.idx` and its provenance."""

    prefix: str
    documents: NonNegativeInt
    tokens: NonNegativeInt
    """Tokens in the `.bin`, including EODs."""
    bin_sha256: str
    idx_sha256: str
    provenance: str
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

    path: str
    sha256: str
    """SHA-256 of the rows of `path`, each text by its hash."""


class HeldoutRecord(SplitRecord):
    """The held-out side of a source, with the texts, so that other builds can import it."""

    texts: HeldoutTexts | None = None
    imported_from: str | None = None
    """Build id of the manifest that this set was imported from. An imported set is not part of this source's E4."""


class CutsRecord(FrozenModel):
    """Documents that lost paragraphs or substrings to a copy elsewhere, in the order of the source.

    `path` is a Parquet of `file`, `record`, `id`, `lost_to`, `bytes`, `dropped`, and of what was cut. Paragraphs:
    `paragraphs` (indices from 0). Substrings, a list each with one item for each match: `starts`, `lengths` (bytes of
    the text as it was before), `kept_sources`, `kept_files`, `kept_records`, `kept_starts` (where these bytes occur
    first) and `xxh128` (of these bytes).
    """

    path: str
    sha256: str
    """SHA-256 of the rows of `path`."""
    documents: NonNegativeInt
    """Rows."""


class TwinsRecord(FrozenModel):
    """Documents that were dropped as semantic duplicates, in the order of the source.

    `path` is a Parquet of `file`, `record`, `id`, `bytes`, `kept_source`, `kept_file`, `kept_record`, `cosine`.
    """

    path: str
    sha256: str
    """SHA-256 of the rows of `path`."""
    documents: NonNegativeInt
    """Rows."""
    compared: NonNegativeInt
    """Documents of the source that were compared; the others are too short, or their tokens are."""


class SourceRecord(FrozenModel):
    """Everything about one source."""

    inputs: InputsRecord
    train: SplitRecord
    heldout: HeldoutRecord
    ledger: tuple[StageRow, ...]
    cuts: tuple[CutsRecord, ...] = Field(default=(), exclude_if=lambda cuts: not cuts)
    """Absent from the file when there are none."""
    twins: TwinsRecord | None = Field(default=None, exclude_if=is_none)
    """Absent from the file when semantic duplicates were not looked for in the source."""
    substring_cuts: tuple[CutsRecord, ...] = Field(default=(), exclude_if=lambda cuts: not cuts)
    """Absent from the file when there are none."""
    kind: SourceKind | None = Field(default=None, exclude_if=is_none)
    """What the records are; None, and absent from the file, for plain documents."""
    attributes: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Names of the attributes that the responses of a `ratings` source are rated by, sorted."""

    @property
    def documents_per_record(self) -> int:
        """Documents in the datasets for each document in the ledger: 2 for pairs of answers, otherwise 1."""
        return 2 if self.kind == "preferences" else 1


class ClustersRecord(FrozenModel):
    """A file that states clusters: their names, telling words and typical documents, and how texts are assigned."""

    path: str
    """Relative to the store."""
    sha256: str


class ExamplesRecord(FrozenModel):
    """One source, or pattern of files, that a classifier was trained on."""

    entry: str
    """As in the spec; of files the pattern's position, as `positive[0]`."""
    side: Literal["positive", "negative"]
    total: Count
    """Documents after deduplication."""
    trained: Count
    """Documents that the classifier was trained on."""
    left_out: dict[str, Count]
    """The others by reason: `heldout` (in the share that is reserved for held-out sets), `evaluation` (overlap with
    evaluation files, labelled files or imported held-out sets), `both_sides`, `surplus` (copies, and more than
    requested)."""
    inputs_sha256: str | None = Field(default=None, exclude_if=is_none)
    """Of files: SHA-256 of the list of their names and contents. Absent from the file for a source."""


class LabelledRecord(FrozenModel):
    """What a classifier reaches on a labelled file."""

    file: str
    sha256: str
    texts: NonNegativeInt
    positive: NonNegativeInt
    auc: float
    """Area under the ROC curve, rounded to six decimals."""


class ClassifierRecord(FrozenModel):
    """A classifier that the build trained."""

    kind: Literal["fasttext", "linear"]
    chars: NonNegativeInt
    """Characters at the start of a text that it looks at."""
    model: str
    """Path relative to the store."""
    model_sha256: str
    examples: str
    """A Parquet of `source`, `is_positive`, `text_xxh128`, `text_bytes`, `text`: what it was trained on."""
    examples_sha256: str
    """SHA-256 of its rows."""
    sources: tuple[ExamplesRecord, ...]
    cross_validation: tuple[float, ...]
    """Area under the ROC curve on each fold, by a model that was trained on the other folds."""
    evaluated: tuple[LabelledRecord, ...] = ()

    @property
    def mean_auc(self) -> float:
        """The mean over the folds of the cross-validation."""
        return sum(self.cross_validation) / len(self.cross_validation)


class AxisRecord(FrozenModel):
    """One axis by which a source was divided into cells."""

    column: str
    """Name of the label or field whose values decide."""
    cells: tuple[str, ...]
    """Names of the cells, without `unlabelled`; of a number, in ascending order."""
    edges: tuple[str, ...] = ()
    """Bounds between the cells of a number, as decimals that give the same 64-bit floats; a value of a bound is above
    it."""
    unlabelled: NonNegativeInt
    """Documents that have no value."""
    clusters: ClustersRecord | None = Field(default=None, exclude_if=lambda clusters: clusters is None)
    """The clusters, if the axis is made of them; else absent from the file."""


class CellsRecord(FrozenModel):
    """How a source was divided after deduplication. Its parts are sources of this manifest."""

    axes: tuple[AxisRecord, ...]
    """One, or several that were crossed."""
    documents: NonNegativeInt
    """Documents of the source when it was divided: the sum over its parts, and those that are pruned."""
    bytes: NonNegativeInt
    parts: dict[str, Count]
    """Documents and bytes of each part; a cell without documents is not a part."""
    pruned: Count | None = Field(default=None, exclude_if=is_none)
    """Documents of fine clusters that were pruned; absent from the file if there are none."""

    def own_rows(self) -> tuple[StageRow, ...]:
        """The row `cells` of the source as a whole, which lost only what was pruned; empty if nothing was."""
        if self.pruned is None:
            return ()
        return (
            StageRow(
                stage="cells",
                documents_in=self.documents,
                documents_out=self.documents - self.pruned.documents,
                bytes_in=self.bytes,
                bytes_out=self.bytes - self.pruned.bytes,
                dropped={"pruned": self.pruned},
            ),
        )


class KeptRule(FrozenModel):
    """One rule by which a source keeps documents, with its bounds."""

    column: str
    """Name of a label, or of its confidence."""
    values: tuple[str, ...] = ()
    """Values of a category that stay; empty for a number."""
    low: str | None = None
    """Smallest number that stays, as a decimal that gives the same 64-bit float; of a top share, its exact bound."""
    high: str | None = None
    """Largest number that stays."""
    keeps_missing: bool
    """Whether documents without a value stay."""


class KeptRecord(FrozenModel):
    """By which rules a source kept documents after deduplication; its ledger row `keep` counts what they dropped."""

    rules: tuple[KeptRule, ...]
    """In the order in which they were applied."""
    path: str
    """A Parquet of `file`, `record`, `id`, `reason`, `text_xxh128`, `text_bytes`: the documents that were dropped."""
    sha256: str
    """SHA-256 of its rows."""


class MatrixRow(FrozenModel):
    """What `source` lost to `lost_to`: texts that both had and that `lost_to` keeps."""

    source: str
    lost_to: str
    documents: NonNegativeInt
    bytes: NonNegativeInt


class Totals(FrozenModel):
    """Sums over all sources, training and held-out together."""

    documents: NonNegativeInt
    tokens: NonNegativeInt
    bytes: NonNegativeInt


class Manifest(FrozenModel):
    """The statement of a build."""

    schema_: Literal[1]
    mixproof: str
    spec: dict[str, Any]
    spec_sha256: str
    tokenizer: TokenizerRecord
    sources: dict[str, SourceRecord]
    dedup_matrix: tuple[MatrixRow, ...]
    cells: dict[str, CellsRecord] = Field(default={}, exclude_if=lambda cells: not cells)
    """By name of the source that was divided; absent from the file when there is none."""
    kept: dict[str, KeptRecord] = Field(default={}, exclude_if=lambda kept: not kept)
    """By name of the source, before it was divided; absent from the file when no source has `keep`."""
    classifiers: dict[str, ClassifierRecord] = Field(default={}, exclude_if=lambda classifiers: not classifiers)
    """By name of the label, or `source: label` of a label that one source declares; absent when there is none."""
    totals: Totals

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"), populate_by_name=True
    )

    def lost_outside(self, sources: Collection[str]) -> tuple[MatrixRow, ...]:
        """What `sources`, those of one mixture, lost to sources outside the mixture; the mixture has no copy of it."""
        return tuple(row for row in self.dedup_matrix if row.source in sources and row.lost_to not in sources)

    def to_bytes(self) -> bytes:
        """The manifest file's bytes; their SHA-256 is the build's id."""
        data = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()

    @property
    def build(self) -> str:
        """The build's id."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def write_manifest(store: Store, manifest: Manifest) -> Path:
    """Write the manifest to `builds/<id>/manifest.json` and return its path."""
    data = manifest.to_bytes()  # a manifest of thousands of sources takes seconds
    return store.write(f"{BUILDS}/{hashlib.sha256(data).hexdigest()}/{MANIFEST}", data)


def read_manifest(path: Path) -> Manifest:
    """Read and validate a manifest.

    Raises:
        RequestError: when the file does not exist or does not follow the schema.
    """
    return read_manifest_once(path)[0]


def read_manifest_once(path: Path) -> tuple[Manifest, str]:
    """Read and validate a manifest; also return the SHA-256 of the bytes that were read.

    Raises:
        RequestError: as `read_manifest`.
    """
    try:
        data = path.read_bytes()
        return Manifest.model_validate_json(data), hashlib.sha256(data).hexdigest()
    except FileNotFoundError:
        raise RequestError(f"{path}: no manifest found; `mixproof build` writes one") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RequestError(f"{path}: not a manifest of schema 1: {where}: {first['msg']}") from None


def store_of(manifest_path: Path) -> Store:
    """The store that contains the manifest `<store>/builds/<id>/manifest.json`."""
    return Store(manifest_path.resolve().parents[2])
