"""Classifiers that a build trained: their account, that they saw no held-out text, and that they are what they claim.

From the files, at depth `bytes`: the examples are as many as each source's account says, each text once, and none is a
held-out text of the build. At depth `replay` a model is trained again on the examples and must have the same bytes, and
the held-out texts of each source are scored again and must have the labels that their provenance states.

A linear model can be trained again only with its token table: that of the spec.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.classifiers import ClassifierRecord
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cells.divide_sources import classifier_name
from mixproof.pipeline.classifiers.inputs import token_table
from mixproof.pipeline.classifiers.model import FILES, scorer_of
from mixproof.pipeline.classifiers.training import read_examples, write_model
from mixproof.pipeline.clusters.token_table import TableFiles

from .cells import LABEL
from .checksums import check_file
from .inputs import read_table
from .report import Checks
from .rows import check_parquet

STAGE = "classifiers"
COLUMNS = {
    "source": "string",
    "is_positive": "bool",
    "text_xxh128": "string",
    "text_bytes": "int64",
    "text": "string",
}
SCORED = 200
"""Held-out texts of a source that are scored again."""
CLOSE = 1e-5
"""Difference of two scores of a text; fastText's own, which older builds have, are rounded to 32 bits at every step."""


def check_classifiers(root: Path, manifest: Manifest, checks: Checks) -> None:
    """Check the files and accounts of all classifiers of a build."""
    if not manifest.classifiers:
        return
    heldout = _heldout_hashes(root, manifest)
    for name, record in manifest.classifiers.items():
        at = checks.at(source=name, stage=STAGE)
        check_file(root, record.model, record.model_sha256, at)
        path = check_parquet(root, record.examples, record.examples_sha256, at)
        examples = None if path is None else read_table(path, COLUMNS, at)
        _check_account(record, examples, at)
        if examples is not None:
            hashes = examples["text_xxh128"].to_pylist()
            at.equal("E6", "examples that occur twice", 0, len(hashes) - len(set(hashes)))
            at.equal("E6", "held-out texts among the examples", 0, len(heldout & set(hashes)))


def tables_of(spec: Spec, base: Path, root: Path, manifest: Manifest) -> dict[str, TableFiles | None]:
    """The token table of every classifier of a build, by its name in the manifest; None for fastText.

    Args:
        spec: the spec of the build.
        base: the folder to which its paths are relative.
        root: of the store.
        manifest: of the build.

    Raises:
        RequestError: when a table is missing, or is not the one that the build used.
    """
    found: dict[str, TableFiles | None] = {}
    for source in spec.sources:
        for label, given in spec.labels_of(source).items():
            name = classifier_name(spec, source, label)
            if given.classifier is None or name in found or name not in manifest.classifiers:
                continue
            record = manifest.classifiers[name]
            found[name] = table = token_table(record.kind, given.classifier.embedding, base)
            if table is not None and table.sha256 != json.loads((root / record.model).read_bytes())["table_sha256"]:
                raise RequestError(
                    f"{spec.where('labels', label)}: the classifier was trained with another token table than "
                    f"{table.table}; replay with the table of the build, or audit with --depth bytes"
                )
    return found


def retrain_classifiers(
    root: Path, manifest: Manifest, tables: Mapping[str, TableFiles | None], checks: Checks
) -> None:
    """Train every classifier again, and score held-out texts again; `tables` are those of linear ones, by name."""
    for name, record in manifest.classifiers.items():
        at = checks.at(source=name, stage=STAGE, file=str(root / record.model))
        table = tables.get(name)
        texts, is_positive = read_examples(root / record.examples)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILES[record.kind]
            write_model(texts, is_positive, record.chars, table, path)
            at.equal("checksum", "as sha256 of a model trained again", record.model_sha256, sha256_of_file(path))
        score = scorer_of(root / record.model, record.model_sha256, record.chars, table)
        for source, column, texts_of, stated in _labelled(root, manifest, record):
            pairs = zip(score(texts_of), stated, strict=True)
            wrong = sum(not _close(found, label) for found, label in pairs)
            at.at(source=source).equal("E6", f"held-out texts with another label {column}", 0, wrong)


def _check_account(record: ClassifierRecord, examples: pa.Table | None, checks: Checks) -> None:
    found: Counter[tuple[str, bool]] = Counter()
    sizes: Counter[tuple[str, bool]] = Counter()
    if examples is not None:
        columns = (examples[column].to_pylist() for column in ("source", "is_positive", "text_bytes"))
        for source, is_positive, size in zip(*columns, strict=True):
            found[source, is_positive] += 1
            sizes[source, is_positive] += size
    for each in record.sources:
        parts = (each.trained, *each.left_out.values())
        at = checks.at(shard=each.entry)
        at.equal("E3", "documents", each.total.documents, sum(part.documents for part in parts))
        at.equal("E3", "bytes", each.total.bytes, sum(part.bytes for part in parts))
        if examples is not None:
            key = (each.entry, each.side == "positive")
            at.equal("E3", "documents trained on", each.trained.documents, found.pop(key, 0))
            at.equal("E3", "bytes trained on", each.trained.bytes, sizes[key])
    checks.equal("E3", "examples of no source", 0, sum(found.values()))
    aucs = [*record.cross_validation, *(each.auc for each in record.evaluated)]
    checks.equal("schema", "areas outside 0 to 1", [], [auc for auc in aucs if not 0 <= auc <= 1])


def _heldout_hashes(root: Path, manifest: Manifest) -> set[str]:
    """The hashes of all held-out texts; a damaged file is reported elsewhere."""
    found: set[str] = set()
    for source in manifest.sources.values():
        texts = source.heldout.texts
        if texts is not None and (root / texts.path).is_file():
            try:
                table = pq.read_table(root / texts.path, columns=["text_xxh128"], partitioning=None)
            except (pa.ArrowException, OSError):
                continue
            found.update(table["text_xxh128"].to_pylist())
    return found


def _labelled(
    root: Path, manifest: Manifest, record: ClassifierRecord
) -> Iterator[tuple[str, str, list[str], list[float | None]]]:
    """Of each source that a classifier labels, and each such label: held-out texts and their stated scores."""
    for name, source in manifest.sources.items():
        texts = source.heldout.texts
        if texts is None or source.heldout.imported_from is not None:
            continue
        for label, given in manifest.spec["sources"][name].get("labels", {}).items():
            if given.get("classifier", {}).get("model") != record.model_sha256:
                continue
            columns = ["file", "record", f"{LABEL}{label}"]
            stated = {
                (row["file"], row["record"]): row[f"{LABEL}{label}"]
                for part in source.heldout.datasets
                for row in pq.read_table(root / part.provenance, columns=columns, partitioning=None).to_pylist()
            }
            rows = pq.read_table(root / texts.path, columns=["file", "record", "text"], partitioning=None)
            chosen = [row for row in rows.to_pylist() if (row["file"], row["record"]) in stated][:SCORED]
            yield name, label, [row["text"] for row in chosen], [stated[row["file"], row["record"]] for row in chosen]


def _close(found: float | None, stated: float | None) -> bool:
    if found is None or stated is None:
        return found is stated
    return math.isclose(found, stated, rel_tol=0, abs_tol=CLOSE)
