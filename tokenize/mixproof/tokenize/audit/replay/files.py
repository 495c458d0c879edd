"""Raw files of a source, replayed in one task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.manifest import read_manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Limits, Source
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.labels.labeler import Labeler
from mixproof.pipeline.paragraphs.cutting import cut_text
from mixproof.pipeline.read.identify import hash_input
from mixproof.pipeline.read.read_task import read_task
from mixproof.pipeline.read.records import records_of
from mixproof.pipeline.read.shards import ShardPlan
from mixproof.pipeline.record import Raw, Reject
from mixproof.pipeline.semantic.vectors import Embedding
from mixproof.pipeline.steps import make_steps
from mixproof.pipeline.steps.apply import apply_steps
from mixproof.tokenize.audit.cells import LABEL
from mixproof.tokenize.audit.cuts import read_cuts
from mixproof.tokenize.audit.ids.conversation_ids import rendered_of
from mixproof.tokenize.audit.ids.rerender import differences
from mixproof.tokenize.audit.missed_repeats import WindowSample
from mixproof.tokenize.audit.report import Checks
from mixproof.tokenize.audit.substrings import Substrings
from mixproof.tokenize.audit.twins import (
    Place,
    Reembedded,
)

from .assignments import assignments_of
from .documents import ReplayedDocument, documents_of
from .ids import ReplayedIds
from .kept_again import kept_again

ALL = Fraction(1)


@dataclass(frozen=True)
class Replay:
    """One task: some raw files of a source."""

    store: Store
    manifest_path: str
    source: str
    parts: tuple[str, ...]
    """Sources of the manifest whose documents come from these files: the source, or all of its cells."""
    files: tuple[InputFile, ...]
    spec: Source
    limits: Limits
    share: Fraction
    """Share of the documents to replay, chosen by text hash."""
    base: Path
    """The folder to which paths of the spec are relative."""
    labelers: Mapping[str, Labeler]
    """Of the labels by which the source keeps documents."""
    embedding: Embedding | None = None
    twins: Mapping[Place, bool] = field(default_factory=dict)
    """Documents of pairs of semantic duplicates to be embedded again, and whether each was dropped."""


@dataclass(frozen=True)
class Replayed:
    """The result of one task."""

    checks: Checks
    rows: tuple[StageRow, ...]
    """Ledger rows of `read` and of the steps over these files, counted again; empty if a file could not be read."""
    vectors: Mapping[Place, NDArray[np.int16]] = field(default_factory=dict)
    """Of the documents in `twins`."""
    unmatched: WindowSample | None = None
    """Windows of the documents that are in no match of repeated substrings."""


def replay_files(task: Replay) -> Replayed:
    """Replay some raw files of a source (Ray task)."""
    checks = Checks()
    replaying = _Replaying(task, checks.at(source=task.source, stage="replay"))
    if not all(replaying.replay(file) for file in task.files):
        return Replayed(checks, ())
    replaying.finish()
    return Replayed(checks, replaying.rows(), replaying.twins.vectors, replaying.substrings.unmatched)


class _Replaying:
    """What the files of one task are checked against."""

    def __init__(self, task: Replay, checks: Checks) -> None:
        store, manifest = task.store, read_manifest(Path(task.manifest_path))
        sources = [manifest.sources[name] for name in task.parts]
        names = {file.name for file in task.files}
        self._task, self._checks = task, checks
        self._recorded = _recorded_files(store, sources[0])
        self._assignments = assignments_of(manifest, task.source, task.spec, task.base, store)
        label = None if self._assignments is None else f"{LABEL}{self._assignments.column}"
        self._documents = {
            place: found
            for each in sources
            for place, found in documents_of(store, each, names, task.share, label).items()
        }
        self._cuts = read_cuts(store, sources[0], names)
        self._kept = kept_again(store, manifest, task.source, task.labelers, names, task.share)
        self.twins = Reembedded(task.embedding, task.twins)
        self.substrings = Substrings.of(store, manifest, sources[0], task.source, names)
        self._steps = make_steps(task.spec.steps)
        self._counts = _Counts()
        self._ids = ReplayedIds(store, manifest, checks)

    def rows(self) -> tuple[StageRow, ...]:
        """Ledger rows of `read` and of the steps, counted again."""
        return (self._counts.row(), *(step.row() for step in self._steps))

    def replay(self, file: InputFile) -> bool:
        """Send every record of a file through the steps; False if the file is another one or cannot be read."""
        checks = self._checks.at(file=file.url, shard=file.name)
        digest = hash_input(file.url, file.bytes)
        if not checks.equal("checksum", "as sha256 of the raw file", self._recorded.get(file.name), digest):
            return False
        task = self._task
        whole = read_task(ShardPlan(task.source, (file,), 0, file.bytes), task.spec, {file.url: ""}, task.limits)
        try:
            if self._kept is not None:
                self._kept.open_file(file, whole)
            for item in records_of(file, whole, lambda _: None):
                self._counts.records += 1
                if isinstance(item, Reject):
                    self._counts.rejected[item.reason] += 1
                else:
                    self._replay_record(file.name, item, checks)
            if self._kept is not None:
                self._kept.flush()
        except DamagedFileError as error:
            return checks.true("schema", False, "a readable raw file", str(error))
        return True

    def _replay_record(self, file: str, item: Raw, checks: Checks) -> None:
        """Check the documents of a record; they are removed from those that are expected."""
        place, record = (file, item.record), f"{file} record {item.record}"
        expected = self._documents.pop(place, None)
        is_listed = self._kept is not None and place in self._kept.dropped
        if expected is None and self._task.share != ALL and not is_listed and place not in self.twins.places:
            return
        data = item.text.encode()
        self._counts.text_bytes += len(data)
        text = apply_steps(item, data, self._steps)
        self.twins.add(place, text, expected is not None, checks.at(shard=record))
        if text is not None and place in self._cuts:
            text = cut_text(text, self._cuts[place])
        if text is not None:
            text = self.substrings.cut(place, text, checks.at(shard=record), is_in_dataset=expected is not None)
        if self._kept is not None and text is not None and (expected is not None or is_listed):
            self._kept.add(place, text.decode(), checks.at(shard=record))
        if expected is not None:
            at = checks.at(file=self._ids.path_of(expected[0].part.provenance), shard=record)
            self._check_documents(item, text, expected, record, at)

    def _check_documents(
        self, item: Raw, text: bytes | None, expected: Sequence[ReplayedDocument], record: str, checks: Checks
    ) -> None:
        if item.marks is not None and text is not None:
            _replay_conversation(item, expected, self._task.spec, self._ids, checks)
            return
        _check_text(item, text, expected[0], checks)
        if text is not None:
            self._ids.add(text.decode(), expected[0], record)
            if self._assignments is not None:
                self._assignments.add(text.decode(), expected[0].cluster, checks)

    def finish(self) -> None:
        """Check what is still in batches, and that every expected document had a record."""
        self._ids.flush()
        self.twins.flush()
        if self._assignments is not None:
            self._assignments.flush()
        if self._task.share == ALL:
            self.substrings.check_all_seen(self._checks)
        for (name, record), (document, *_) in list(self._documents.items())[:1]:
            lost = f"{len(self._documents)} documents without one, the first is {name} record {record}"
            at = self._checks.at(file=self._ids.path_of(document.part.provenance))
            at.true("E1", False, "a raw record of each document", lost)


@dataclass
class _Counts:
    """The ledger row of `read`, counted again."""

    records: int = 0
    text_bytes: int = 0

    def __post_init__(self) -> None:
        self.rejected: Counter[str] = Counter()

    def row(self) -> StageRow:
        return StageRow(
            stage="read",
            documents_in=self.records,
            documents_out=self.records - self.rejected.total(),
            bytes_in=self.text_bytes,
            bytes_out=self.text_bytes,
            dropped={name: Count(documents=n, bytes=0) for name, n in sorted(self.rejected.items())},
        )


def _replay_conversation(
    item: Raw, expected: Sequence[ReplayedDocument], source: Source, encode: ReplayedIds, checks: Checks
) -> None:
    """Render a record again, and check each of its documents: text, ids and mask."""
    marks = (item.marks or b"").decode()
    problems = differences(item.text, marks, item.fields or {}, source)
    checks.true("E2", not problems, "the rendering of the template", ", ".join(problems))
    conversations = rendered_of(item.text, marks)
    if checks.equal("E6", "documents of the record", len(conversations), len(expected)):
        for conversation, document in zip(conversations, expected, strict=True):
            _check_text(item, conversation.text.encode(), document, checks)
            encode.check_conversation(conversation, document, checks)


def _check_text(item: Raw, text: bytes | None, expected: ReplayedDocument, checks: Checks) -> None:
    if not checks.true("E2", text is not None, "a document that its steps keep", "a dropped document") or text is None:
        return
    checks.equal("checksum", "as text_xxh128", expected.text_xxh128, xxhash.xxh3_128_hexdigest(text))
    checks.equal("E2", "bytes of text", expected.text_bytes, len(text))
    if item.id is not None:
        checks.equal("schema", "as id", expected.id, item.id)


def _recorded_files(store: Store, source: SourceRecord) -> dict[str, str]:
    table = pq.read_table(store.path(source.inputs.path), columns=["file", "sha256"], partitioning=None)
    return dict(zip(table["file"].to_pylist(), table["sha256"].to_pylist(), strict=True))
