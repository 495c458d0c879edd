"""Replay of `keep`: labels are computed again from the replayed texts, and the rules decide again.

As for steps, labels are computed by the code that the build used, because nothing else defines them. A document of the
datasets must meet all rules, and one on the list of dropped documents must fail with the reason that is listed. A value
within CLOSE of a bound may be on either side, because another machine may add up floats in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cells.divide_sources import classifier_name
from mixproof.pipeline.cells.keep_rules import KEPT, Rule, decide, reasons_of, rule_of
from mixproof.pipeline.classifiers.inputs import token_table
from mixproof.pipeline.classifiers.model import TrainedModel
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.labels.label_shards import field_values
from mixproof.pipeline.labels.labeler import CONFIDENCE, Labeler, Values, make_labeler
from mixproof.pipeline.read.read_task import ReadTask
from mixproof.tokenize.audit.report import Checks

BATCH_TEXTS = 256
CLOSE = 1e-6
Place = tuple[str, int]


def labelers_again(spec: Spec, base: Path, manifest: Manifest, source: str) -> dict[str, Labeler]:
    """The labelers of the labels that decide in a source, by name; classifiers are those that the manifest names.

    Args:
        spec: the spec of the build.
        base: the folder to which its paths are relative.
        manifest: of the build.
        source: a source of the spec, with parts in place of one that was divided.

    Raises:
        RequestError: when a model is missing.
    """
    columns = {rule.column for rule in spec.sources[source].keep or ()}
    found = {}
    for name, label in spec.labels_of(source).items():
        if not columns & {name, f"{name}.{CONFIDENCE}"}:
            continue
        if label.classifier is None:
            found[name] = make_labeler(label, base)
        else:
            record = manifest.classifiers[classifier_name(spec, source, name)]
            table = token_table(record.kind, label.classifier.embedding, base)
            found[name] = Labeler(label, trained=TrainedModel(record.model, record.model_sha256, record.chars, table))
    return found


@dataclass
class KeptAgain:
    """Decides in batches which documents a source keeps."""

    store: Store
    rules: tuple[Rule, ...]
    labelers: Mapping[str, Labeler]
    dropped: Mapping[Place, str]
    """The listed reason of each document that was dropped."""
    _fields: dict[str, dict[Place, Any]] = field(default_factory=dict)
    _computed: dict[str, Callable[[Sequence[str]], Values]] = field(default_factory=dict)
    _texts: list[str] = field(default_factory=list)
    _expected: list[tuple[Place, Checks]] = field(default_factory=list)

    def open_file(self, file: InputFile, read: ReadTask) -> None:
        """Read the labels that are fields of the records of a file."""
        for name, labeler in self.labelers.items():
            if labeler.label.field is not None:
                values = field_values(file, read, labeler.label.field)
                self._fields[name] = {(file.name, record): value for record, value in values}

    def add(self, place: Place, text: str, checks: Checks) -> None:
        """Take a document that is in the datasets, or on the list."""
        self._texts.append(text)
        self._expected.append((place, checks))
        if len(self._texts) == BATCH_TEXTS:
            self.flush()

    def flush(self) -> None:
        """Check what has been taken; to be called before the next file is opened."""
        if not self._texts:
            return
        columns = {name: column for label in self.labelers for name, column in self._columns(label).items()}
        reasons = reasons_of(self.rules)
        near = [decide(self._moved(by), columns, len(self._texts)).tolist() for by in (-CLOSE, 0.0, CLOSE)]
        for (place, checks), numbers in zip(self._expected, zip(*near, strict=True), strict=True):
            found = ["kept" if number == KEPT else reasons[number] for number in numbers]
            expected = self.dropped.get(place, "kept")
            checks.true("E2", expected in found, f"{expected} by its labels", f"{found[1]} by its labels found again")
        self._texts, self._expected = [], []

    def _columns(self, label: str) -> dict[str, pa.Array]:
        labeler = self.labelers[label]
        if label in self._fields:
            values: Values = [self._fields[label].get(place) for place, _ in self._expected], None
        else:
            if label not in self._computed:
                self._computed[label] = labeler.of_texts(self.store)
            values = self._computed[label](self._texts)
        schema = labeler.schema
        found = {label: pa.array(values[0], schema.field(0).type)}
        return found if values[1] is None else {**found, f"{label}.{CONFIDENCE}": pa.array(values[1], pa.float64())}

    def _moved(self, by: float) -> list[Rule]:
        return [
            replace(
                rule,
                low=None if rule.low is None else rule.low + by,
                high=None if rule.high is None else rule.high - by,
            )
            for rule in self.rules
        ]


def kept_again(
    store: Store, manifest: Manifest, source: str, labelers: Mapping[str, Labeler], files: set[str], share: Fraction
) -> KeptAgain | None:
    """What decides again for some files of a source, named as in `Manifest.kept`; None if it has no rules."""
    record = manifest.kept.get(source)
    if record is None:
        return None
    dropped: dict[Place, str] = {}
    with pq.ParquetFile(store.path(record.path)) as listed:
        for batch in listed.iter_batches(columns=["file", "record", "reason", "text_xxh128"]):
            for file, number, reason, digest in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if file in files and int(digest[:8], 16) < share * (1 << 32):
                    dropped[file, number] = reason
    return KeptAgain(store, tuple(rule_of(rule) for rule in record.rules), labelers, dropped)
