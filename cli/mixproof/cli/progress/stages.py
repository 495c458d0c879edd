"""The stages of a command as a user knows them, and the labels of the tasks that each consists of.

A spec says which stages there are, so a stage has a number from the start: `stage 5 of 11`. Stages whose outputs the
store has are passed over in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mixproof.mixtures.spec import Spec
from mixproof.mixtures.stage_checks import ON_PAIRS

CHECKSUMS = "checksums of the files"
VALUES = "values to split by"
READ = "reading and steps"
READING = (CHECKSUMS, VALUES, READ)
EXACT = "exact deduplication"
FUZZY = "fuzzy deduplication"
SEMANTIC = "semantic deduplication"
PARAGRAPHS = "paragraph deduplication"
SUBSTRINGS = "substring deduplication"
LABELS = "labels and cells"
TOKENIZER = "tokenizer"
HELDOUT = "held-out sets"
DECONTAMINATE = "decontamination"
ENCODE = "tokenization"
DATASETS = "datasets"
REMOVED = "lists of removed documents"
AUDIT = "audit"
REPLAY = "replay of the raw files"
DRAWS = "draws"
REFERENCES = "reference log-probabilities"
TRAIN = "training"
SCORES = "external sets and tasks"
PREDICTORS = "predictors"

STAGE_OF = {
    "identify": CHECKSUMS,
    "unpack": READ,
    "values": VALUES,
    "read": READ,
    "dedup": EXACT,
    "dedup bitmaps": EXACT,
    "minhash": FUZZY,
    "fuzzy dedup": FUZZY,
    "fuzzy components": FUZZY,
    "fuzzy keepers": FUZZY,
    "fuzzy dedup bitmaps": FUZZY,
    "embeddings": SEMANTIC,
    "centroids": SEMANTIC,
    "cells of embeddings": SEMANTIC,
    "semantic dedup": SEMANTIC,
    "semantic components": SEMANTIC,
    "semantic keepers": SEMANTIC,
    "semantic dedup bitmaps": SEMANTIC,
    "lists of semantic duplicates": SEMANTIC,
    "paragraphs": PARAGRAPHS,
    "copies of paragraphs": PARAGRAPHS,
    "cuts": PARAGRAPHS,
    "cut paragraphs": PARAGRAPHS,
    "lists of paragraphs": PARAGRAPHS,
    "anchors of substrings": SUBSTRINGS,
    "repeated anchors": SUBSTRINGS,
    "windows of substrings": SUBSTRINGS,
    "copies of windows": SUBSTRINGS,
    "matches of substrings": SUBSTRINGS,
    "cut substrings": SUBSTRINGS,
    "lists of substrings": SUBSTRINGS,
    "clusters": LABELS,
    "classifiers": LABELS,
    "labels": LABELS,
    "keep": LABELS,
    "values of labels": LABELS,
    "cells": LABELS,
    "measure sources": TOKENIZER,
    "sample": TOKENIZER,
    "train tokenizer": TOKENIZER,
    "held-out texts": HELDOUT,
    "index held-out texts": DECONTAMINATE,
    "frequent n-grams": DECONTAMINATE,
    "decontaminate": DECONTAMINATE,
    "encode": ENCODE,
    "adopt": DATASETS,
    "assemble": DATASETS,
    "removed documents": REMOVED,
    "audit": AUDIT,
    "replay": REPLAY,
    "draw": DRAWS,
    "reference": REFERENCES,
    "train": TRAIN,
    "external": SCORES,
    "predictors": PREDICTORS,
}
"""By the label of its tasks."""
BY_HASH = ": by hash"
"""End of the label of tasks that look for a source's held-out documents."""
UNITS = {TRAIN: "runs", DRAWS: "sources", PREDICTORS: "scores"}
"""What is counted in a stage whose bytes are not known, instead of tasks."""

Job = Literal["inspect", "build", "train", "run", "search"]


def stage_of(label: str) -> str:
    """The stage that tasks with this label belong to; the label itself if it belongs to none."""
    return HELDOUT if label.endswith(BY_HASH) else STAGE_OF.get(label, label)


def stages_of(spec: Spec, job: Job) -> tuple[str, ...]:
    """The stages of a command on a spec, in order."""
    if job == "train":
        return _training(spec, audit=False)
    split = VALUES if any(source.split_column for source in spec.sources.values()) else ""
    read = tuple(stage for stage in (CHECKSUMS, split, READ) if stage)
    if job == "inspect":
        return (*read, *_labels(spec))
    build = (*read, *_choosing(spec), ENCODE, DATASETS, REMOVED)
    if job == "build":
        return build
    return (*build, *_training(spec, audit=job == "run"))


def _choosing(spec: Spec) -> tuple[str, ...]:
    dedup, trains = spec.dedup, spec.tokenizer.train is not None
    heldout = (HELDOUT,) if spec.heldout.from_ is None else ()
    tokenizer = (TOKENIZER,) if trains else ()
    chosen = (
        EXACT if dedup is not None and dedup.exact else "",
        FUZZY if dedup is not None and dedup.fuzzy is not None else "",
        SEMANTIC if dedup is not None and dedup.semantic is not None else "",
        PARAGRAPHS if dedup is not None and dedup.paragraphs is not None else "",
        SUBSTRINGS if dedup is not None and dedup.substrings is not None else "",
    )
    clean = (DECONTAMINATE,) if spec.decontaminate is not False else ()
    rest = (*tokenizer, *heldout, *clean) if heldout else (*clean, *tokenizer)
    return (*(stage for stage in chosen if stage), *_labels(spec), *rest)


def _labels(spec: Spec) -> tuple[str, ...]:
    return (LABELS,) if any(spec.labels_of(name) for name in spec.sources) else ()


def _training(spec: Spec, *, audit: bool) -> tuple[str, ...]:
    external = (SCORES,) if spec.external is not None else ()
    shared = spec.train.stage in ON_PAIRS and len(spec.mixtures) * len(spec.train.seeds) > 1
    return (*((AUDIT,) if audit else ()), DRAWS, *((REFERENCES,) if shared else ()), TRAIN, *external)


def number_of(stages: Sequence[str], stage: str) -> int | None:
    """Number of a stage, from 1; None if it is not one of them."""
    return stages.index(stage) + 1 if stage in stages else None
