"""The circumstances of a build: facts about how it was made that do not change its result.

`builds/<id>/circumstances.json`, beside the manifest and not part of the build's id, records when and where the build
ran, where its inputs were, its engines, the versions of its stages and of libraries, the duration of each stage, and
the files of the store that list rejected, dropped (with `keep_dropped`) and decontaminated documents with their
reasons. `removed` joins these and the duplicates. A build that reuses everything keeps the circumstances of the build
that did the work.
"""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from mixproof.ledger.manifest import BUILDS, CIRCUMSTANCES
from mixproof.ledger.shown_text import redacted
from mixproof.ledger.store import Store
from mixproof.pipeline.cells import keep_shards, survey
from mixproof.pipeline.clusters import cluster_file
from mixproof.pipeline.dedup import exact, fuzzy, signatures
from mixproof.pipeline.heldout import create_heldout, decontaminate, heldout_set, overlap_index, reserve
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.labels import label_shards
from mixproof.pipeline.paragraphs import paragraph_hashes
from mixproof.pipeline.read import identify, inputs, read_task, values
from mixproof.pipeline.read.documents import RemovalList
from mixproof.pipeline.semantic import documents, vectors
from mixproof.pipeline.substrings import anchor_tables

from . import encode
from .dataset import adopt, parts
from .job import Clock
from .shard_tokens import EncodedShard
from .tokenizer import tokenizer, train_tokenizer

VERSIONS_OF = ("gigatoken", "numpy", "pyarrow", "ray", "sentencepiece", "xxhash")
STAGE_VERSIONS = {
    "adopt": adopt.STAGE_VERSION,
    "cells": survey.VERSION,
    "clusters": cluster_file.VERSION,
    "decontaminate": decontaminate.VERSION,
    "embeddings": vectors.VERSION,
    "encode": encode.STAGE_VERSION,
    "exact": exact.VERSION,
    "fuzzy": fuzzy.VERSION,
    "heldout": create_heldout.VERSION,
    "heldout_set": heldout_set.VERSION,
    "identify": identify.VERSION,
    "inputs": inputs.INPUTS_VERSION,
    "keep": keep_shards.VERSION,
    "labels": label_shards.VERSION,
    "overlap_index": overlap_index.VERSION,
    "paragraphs": paragraph_hashes.VERSION,
    "parts": parts.STAGE_VERSION,
    "read": read_task.VERSION,
    "reserve": reserve.VERSION,
    "semantic": documents.VERSION,
    "signatures": signatures.VERSION,
    "split_by": values.VERSION,
    "substrings": anchor_tables.VERSION,
    "tokenizer": tokenizer.STAGE_VERSION,
    "train_tokenizer": train_tokenizer.STAGE_VERSION,
}
"""Versions of the stages whose outputs a manifest names or depends on; `mixproof diff` compares them."""


def write_circumstances(
    store: Store,
    build: str,
    files: Mapping[str, Sequence[InputFile]],
    shards: Sequence[EncodedShard],
    lists: Mapping[str, Sequence[RemovalList]],
    evaluation: Sequence[Mapping[str, object]],
    frequent: Mapping[str, int] | None,
    clock: Clock,
    stages: tuple[int, int],
    spec_name: str,
) -> None:
    """Write the circumstances, unless no stage was run and they exist already.

    Args:
        store: the store of the build.
        build: the build's id.
        files: the sources' files.
        shards: all encoded shards, training and held out.
        lists: files that list each source's rejected records and dropped documents.
        evaluation: what was read of each evaluation file.
        frequent: n-grams that decontamination ignored; None: all counted.
        clock: the duration of each stage.
        stages: number of stages run and reused.
        spec_name: of the spec, which is not part of a build.
    """
    name = f"{BUILDS}/{build}/{CIRCUMSTANCES}"
    if stages[0] == 0 and store.path(name).is_file():
        return
    circumstances = {
        "spec": spec_name,
        "started": clock.started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": clock.seconds,
        "stages_run": stages[0],
        "stages_reused": stages[1],
        "places": {name: folders_of(found) for name, found in files.items()},
        "lists": {name: _by_kind(found) for name, found in lists.items() if found},
        "evaluation_files": [dict(summary) for summary in evaluation],
        **({} if frequent is None else {"frequent_ngrams": dict(frequent)}),
        "engines": dict(Counter(shard.engine for shard in shards)),
        "rechecked_documents": sum(shard.rechecked for shard in shards),
        "machine": {"node": platform.node(), "system": platform.platform(), "processors": os.cpu_count()},
        "stage_versions": STAGE_VERSIONS,
        "code": str(Path(__file__).resolve().parent),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in VERSIONS_OF},
    }
    store.write(name, json.dumps(circumstances, indent=1, sort_keys=True).encode() + b"\n")


def _by_kind(lists: Sequence[RemovalList]) -> dict[str, list[dict[str, object]]]:
    by_kind: dict[str, list[dict[str, object]]] = {}
    for one in lists:
        entry: dict[str, object] = {
            "path": one.path,
            "file": one.file,
            "first_record": one.first_record,
            "rows": one.rows,
        }
        by_kind.setdefault(one.kind, []).append(entry)
    return by_kind


def folders_of(files: Sequence[InputFile]) -> list[str]:
    """The folders or URL prefixes of the files: prefix plus name is the URL of a file."""
    return sorted(map(redacted, {file.url.removesuffix(file.name) for file in files}))
