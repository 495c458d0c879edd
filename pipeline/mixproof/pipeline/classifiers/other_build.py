"""The classifier of another build: used as it is, with the examples that it was trained on and its account."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from mixproof.ledger.content import rows_sha256
from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file, stage_key
from mixproof.ledger.manifest import read_manifest, store_of
from mixproof.ledger.records.classifiers import ClassifierRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.clusters.token_table import TableFiles

from .model import STAGE

VERSION = 1


@dataclass(frozen=True)
class OtherClassifier:
    """A classifier that another build trained."""

    manifest: Path
    record: ClassifierRecord


def find_other(manifest: Path, name: str | None) -> OtherClassifier:
    """Find a classifier of another build.

    Args:
        manifest: of the other build.
        name: of the classifier there; None: its only one.

    Raises:
        RequestError: when there is no such manifest or classifier.
    """
    known = read_manifest(manifest).classifiers
    if name is None and len(known) == 1:
        (name,) = known
    if name not in known:
        have = f"it has {', '.join(known)}" if known else "it has none"
        wanted = "which classifier to use is not stated" if name is None else f"has no classifier {name!r}"
        raise RequestError(f"{manifest}: {wanted}, {have}; set `name`" if known else f"{manifest}: {wanted}, {have}")
    record = known[name]
    for path, sha256, digest in (
        (record.model, record.model_sha256, sha256_of_file),
        (record.examples, record.examples_sha256, rows_sha256),
    ):
        origin = store_of(manifest).path(path)
        if not origin.is_file() or digest(origin) != sha256:
            raise DamagedFileError(
                str(origin), "content", "is not the file that the manifest states; build that spec again"
            )
    return OtherClassifier(manifest, record)


def check_table(other: OtherClassifier, table: TableFiles | None) -> None:
    """Refuse another token table than the one that a linear classifier was trained with.

    Raises:
        RequestError: naming the manifest.
    """
    if table is None:
        return
    model = store_of(other.manifest).path(other.record.model)
    if orjson.loads(model.read_bytes())["table_sha256"] != table.sha256:
        raise RequestError(
            f"{other.manifest}: its classifier was trained with another token table; name that one with `embedding`"
        )


def copy_other(other: OtherClassifier, store: Store) -> ClassifierRecord:
    """Copy model and examples to the store; returns the record with their paths there."""
    record = other.record
    model = _copied(other, record.model, record.model_sha256, store)
    examples = _copied(other, record.examples, record.examples_sha256, store)
    return record.model_copy(update={"model": model, "examples": examples})


def _copied(other: OtherClassifier, path: str, sha256: str, store: Store) -> str:
    origin = store_of(other.manifest).path(path)
    key = stage_key(STAGE, VERSION, {"copy": origin.name}, sha256)
    if store.receipt(STAGE, key) is None:
        with store.attempt(STAGE, key) as attempt:
            attempt.path(origin.name).write_bytes(origin.read_bytes())
            attempt.commit()
    return f"{STAGE}/{key}/{origin.name}"
