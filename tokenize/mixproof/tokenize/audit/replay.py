"""Replay, the third depth of an audit: raw files are read, filtered and encoded again.

The checksum of every raw file is compared with `inputs.parquet`. Each document of the datasets must come out of its
record with the same text, id and number of bytes, and the reference tokenizer must give the ids in the `.bin`. If all
documents are replayed, the ledger rows of `read` and of the steps are counted again, including drop reasons. A sample
takes documents by text hash: all raw bytes are still read, but only the sample goes through steps and tokenizer.

Ray tasks replay some hundred MB of raw bytes each. Unlike the other depths, replay uses the code that read and filtered
the build, because nothing else defines what a step does; a bug in a step is not found here. Encoding is independent
(`reference_ids.py`). Pairs of semantic duplicates are embedded again (`twins.py`). Not covered: deduplication and
decontamination are not decided again (their counts are checked by the other depths), removed paragraphs and substrings
are taken from the build's lists, and `megatron:` sources have no text to replay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow, sum_rows
from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.manifest import DatasetRecord, Manifest, SourceRecord, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Limits, Source
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import whole_of
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.labels.labeler import Labeler
from mixproof.pipeline.paragraphs.cutting import cut_text
from mixproof.pipeline.read.batches import share_tasks
from mixproof.pipeline.read.identify import hash_input
from mixproof.pipeline.read.read_task import read_task
from mixproof.pipeline.read.records import records_of
from mixproof.pipeline.read.shards import ShardPlan
from mixproof.pipeline.record import POISON, Raw, Reject
from mixproof.pipeline.semantic.vectors import Embedding
from mixproof.pipeline.steps import make_steps
from mixproof.pipeline.steps.apply import apply_steps
from mixproof.pipeline.steps.step import Counted
from mixproof.tokenize.audit.ids.conversation_ids import ConversationIds, Rendered, ends_supervised, rendered_of
from mixproof.tokenize.audit.ids.reference_ids import reference_ids
from mixproof.tokenize.audit.ids.rerender import differences

from .assignments import Assignments, assignments_of
from .cells import LABEL
from .classifiers import retrain_classifiers, tables_of
from .cuts import Cuts, read_cuts
from .dataset import UINT16_BELOW
from .kept_again import KeptAgain, kept_again, labelers_again
from .masks import PLAIN_COLUMNS as COLUMNS
from .report import AuditReport, Checks, Equation
from .substrings import Substrings
from .twins import Place, Reembedded, check_cosines, embedding_to_replay, pairs_to_replay, places_of

TASK_BYTES = 256 * 1000 * 1000
TASK_FILES = 2000
BATCH_TEXTS = 256
ALL = Fraction(1)
DOCUMENT_COLUMNS = [name for name in COLUMNS if name != "document"]


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


@dataclass(frozen=True)
class _Document:
    """A document of a dataset, from its provenance."""

    part: DatasetRecord
    first_token: int
    id: str
    text_xxh128: str
    text_bytes: int
    tokens: int
    cluster: str | None
    """Its cluster, where the source was divided by clusters."""


def replay_build(
    spec: Spec,
    files: Mapping[str, Sequence[InputFile]],
    store: Store,
    manifest_path: Path,
    cluster: Cluster,
    share: Fraction = ALL,
    base: Path = Path(),
) -> AuditReport:
    """Replay a build from its raw files. Audit its bytes first.

    Args:
        spec: the spec of the build.
        files: the raw files per source, as they are now.
        store: the store of the build.
        manifest_path: the manifest of the build.
        cluster: runs the tasks.
        share: share of the documents that go through steps, tokenizer and embedding.
        base: the folder to which the spec's paths are relative.

    Raises:
        RequestError: when a source contains documents that crash the process that reads them, or a token table is not
            that of the build.
    """
    manifest = read_manifest(manifest_path)
    checks = Checks()
    calls = []
    groups = _groups(spec, manifest)
    root = manifest_path.resolve().parents[2]
    tables = tables_of(spec, base, root, manifest)
    embedding = embedding_to_replay(spec, manifest, base)
    pairs = [] if embedding is None else pairs_to_replay(store, manifest)
    for name, parts in groups.items():
        source = manifest.sources[parts[0]]
        if spec.sources[parts[0]].megatron is not None:
            continue
        if any(POISON in row.dropped for row in source.ledger):
            raise RequestError(
                f"source {name}: some documents crashed the process that read them, so it cannot be replayed; "
                "audit this build with --depth bytes"
            )
        given = spec.sources[parts[0]]
        assignments_of(manifest, name, given, base, store)  # raises before any work
        labelers = labelers_again(spec, base, manifest, parts[0])
        twins = places_of(pairs, name)
        for batch in share_tasks(
            files[parts[0]], lambda file: file.bytes, most_bytes=TASK_BYTES, most_items=TASK_FILES
        ):
            names = {file.name for file in batch}
            here = {place: dropped for place, dropped in twins.items() if place[0] in names}
            task = Replay(
                store,
                str(manifest_path),
                name,
                parts,
                batch,
                given,
                spec.limits,
                share,
                base,
                labelers,
                embedding,
                here,
            )
            calls.append((task,))
    rows: dict[str, list[tuple[StageRow, ...]]] = {name: [] for name in groups}
    vectors: dict[str, dict[Place, NDArray[np.int16]]] = {name: {} for name in groups}
    for (call,), done in zip(calls, cluster.run(replay_files, calls, label="replay"), strict=True):
        checks.merge([done.checks])
        rows[call.source].append(done.rows)
        vectors[call.source] |= done.vectors
    check_cosines(pairs, vectors, checks.at(file=str(manifest_path)))
    if share == ALL:
        for name, parts in groups.items():
            for part in parts:
                _check_rows(manifest.sources[part], rows[name], checks.at(file=str(manifest_path), source=part))
    retrain_classifiers(root, manifest, tables, checks)
    return checks.report("replay")


def _groups(spec: Spec, manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """The sources that are read as one: each source alone, and all cells of a divided one, which share its account."""
    groups: dict[str, tuple[str, ...]] = {}
    for name in manifest.sources:
        whole = whole_of(spec, name) if spec.sources[name].axes else name
        groups[whole] = (*groups.get(whole, ()), name)
    return groups


def _check_rows(source: SourceRecord, found: Sequence[tuple[StageRow, ...]], checks: Checks) -> None:
    """Check the first rows of the ledger against the replayed counts, unless a file could not be read."""
    if any(not rows for rows in found):
        return
    for expected, rows in zip(source.ledger, zip(*found, strict=True), strict=False):
        equation: Equation = "E1" if expected.stage == "read" else "E2"
        counted = sum_rows(rows)
        at = checks.at(stage=expected.stage)
        at.true(equation, counted == expected, f"{_describe(expected)} in the ledger", f"{_describe(counted)} replayed")


def _describe(row: StageRow) -> str:
    dropped = ", ".join(f"{reason}: {count.documents} of {count.bytes} bytes" for reason, count in row.dropped.items())
    return f"{row.documents_in} documents in, {row.documents_out} out, {row.bytes_out} bytes out, dropped {{{dropped}}}"


def replay_files(task: Replay) -> Replayed:
    """Replay some raw files of a source (Ray task)."""
    store = task.store
    manifest = read_manifest(Path(task.manifest_path))
    sources = [manifest.sources[name] for name in task.parts]
    source = sources[0]
    checks = Checks()
    at = checks.at(source=task.source, stage="replay")
    recorded = _recorded_files(store, source)
    names = {file.name for file in task.files}
    assignments = assignments_of(manifest, task.source, task.spec, task.base, store)
    label = None if assignments is None else f"{LABEL}{assignments.column}"
    documents = {
        place: found for each in sources for place, found in _documents(store, each, names, task.share, label).items()
    }
    cuts = read_cuts(store, source, names)
    kept = kept_again(store, manifest, task.source, task.labelers, names, task.share)
    twins = Reembedded(task.embedding, task.twins)
    substrings = Substrings.of(store, manifest, source, task.source, names)
    steps = make_steps(task.spec.steps)
    counts = _Counts()
    encode = _Encoder(store, manifest, at)
    for file in task.files:
        here = at.at(file=file.url, shard=file.name)
        digest = hash_input(file.url, file.bytes)
        if not here.equal("checksum", "as sha256 of the raw file", recorded.get(file.name), digest):
            return Replayed(checks, ())
        try:
            _replay_file(file, task, documents, cuts, substrings, steps, counts, encode, assignments, kept, twins, here)
        except DamagedFileError as error:
            here.true("schema", False, "a readable raw file", str(error))
            return Replayed(checks, ())
    encode.flush()
    twins.flush()
    if assignments is not None:
        assignments.flush()
    if task.share == ALL:
        substrings.check_all_seen(at)
    for (name, record), (document, *_) in list(documents.items())[:1]:
        lost = f"{len(documents)} documents without one, the first is {name} record {record}"
        at.at(file=str(store.root / document.part.provenance)).true("E1", False, "a raw record of each document", lost)
    return Replayed(checks, (counts.row(), *(step.row() for step in steps)), twins.vectors)


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


def _replay_file(
    file: InputFile,
    task: Replay,
    documents: dict[tuple[str, int], list[_Document]],
    cuts: Cuts,
    substrings: Substrings,
    steps: Sequence[Counted],
    counts: _Counts,
    encode: _Encoder,
    assignments: Assignments | None,
    kept: KeptAgain | None,
    twins: Reembedded,
    checks: Checks,
) -> None:
    """Send every record of one file through the steps; documents that are found are removed from `documents`."""
    whole = read_task(ShardPlan(task.source, (file,), 0, file.bytes), task.spec, {file.url: ""}, task.limits)
    if kept is not None:
        kept.open_file(file, whole)
    for item in records_of(file, whole, lambda _: None):
        counts.records += 1
        if isinstance(item, Reject):
            counts.rejected[item.reason] += 1
            continue
        place = (file.name, item.record)
        expected = documents.pop(place, None)
        is_listed = kept is not None and place in kept.dropped
        if expected is None and task.share != ALL and not is_listed and place not in twins.places:
            continue
        data = item.text.encode()
        counts.text_bytes += len(data)
        text = apply_steps(item, data, steps)
        twins.add(place, text, expected is not None, checks.at(shard=f"{file.name} record {item.record}"))
        if text is not None and place in cuts:
            text = cut_text(text, cuts[place])
        if text is not None:
            text = substrings.cut(place, text, checks.at(shard=f"{file.name} record {item.record}"))
        if kept is not None and text is not None and (expected is not None or is_listed):
            kept.add(place, text.decode(), checks.at(shard=f"{file.name} record {item.record}"))
        if expected is None:
            continue
        record = f"{file.name} record {item.record}"
        at = checks.at(file=encode.path_of(expected[0].part.provenance), shard=record)
        if item.marks is not None and text is not None:
            _replay_conversation(item, expected, task.spec, encode, at)
            continue
        _check_text(item, text, expected[0], at)
        if text is not None:
            encode.add(text.decode(), expected[0], record)
            if assignments is not None:
                assignments.add(text.decode(), expected[0].cluster, at)
    if kept is not None:
        kept.flush()


def _replay_conversation(
    item: Raw, expected: Sequence[_Document], source: Source, encode: _Encoder, checks: Checks
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


def _check_text(item: Raw, text: bytes | None, expected: _Document, checks: Checks) -> None:
    if not checks.true("E2", text is not None, "a document that its steps keep", "a dropped document") or text is None:
        return
    checks.equal("checksum", "as text_xxh128", expected.text_xxh128, xxhash.xxh3_128_hexdigest(text))
    checks.equal("E2", "bytes of text", expected.text_bytes, len(text))
    if item.id is not None:
        checks.equal("schema", "as id", expected.id, item.id)


class _Encoder:
    """Encodes texts in batches with the reference and compares their ids with the `.bin`."""

    def __init__(self, store: Store, manifest: Manifest, checks: Checks) -> None:
        self._store, self._checks = store, checks
        self._reference = reference_ids(store.path(manifest.tokenizer.path), manifest.tokenizer)
        bos_id = manifest.tokenizer.bos_id
        self._before = [] if bos_id is None else [bos_id]
        self._tokenizer = manifest.tokenizer
        self._ids: ConversationIds | None = None
        self._masks: dict[str, NDArray[np.uint8]] = {}
        self._eod_id = manifest.tokenizer.eod_id
        self._dtype = np.uint16 if manifest.tokenizer.vocab_size < UINT16_BELOW else np.int32
        self._parts: dict[str, NDArray[np.integer]] = {}
        self._texts: list[str] = []
        self._expected: list[tuple[_Document, str]] = []

    def add(self, text: str, expected: _Document, record: str) -> None:
        self._texts.append(text)
        self._expected.append((expected, record))
        if len(self._texts) == BATCH_TEXTS:
            self.flush()

    def check_conversation(self, conversation: Rendered, document: _Document, checks: Checks) -> None:
        """Compare ids and mask of a conversation with the `.bin` and the `.mask`."""
        tokens = self._conversations().encode(conversation)
        if tokens is None:
            return
        stored = self._part(document.part)[document.first_token : document.first_token + document.tokens]
        path = self._store.path(f"{document.part.prefix}.mask")
        if document.part.prefix not in self._masks:
            self._masks[document.part.prefix] = np.memmap(path, np.uint8, mode="r")
        mask = self._masks[document.part.prefix][document.first_token : document.first_token + document.tokens]
        same = np.array_equal(stored, [*self._before, *tokens.ids, self._eod_id])
        found = f"other ids, {len(stored)} in all"
        checks.at(file=self.path_of(f"{document.part.prefix}.bin")).true(
            "E5", same, f"the {len(tokens.ids)} ids of the reference and an EOD", found
        )
        same = np.array_equal(mask, [*(0 for _ in self._before), *tokens.mask, ends_supervised(conversation)])
        supervised = f"{sum(tokens.mask)} supervised tokens as rendered"
        checks.at(file=str(path)).true("E5", same, supervised, f"another mask, {int(mask.sum())} supervised")

    def _conversations(self) -> ConversationIds:
        if self._ids is None:
            self._ids = ConversationIds(self._store.path(self._tokenizer.path), self._tokenizer)
        return self._ids

    def path_of(self, name: str) -> str:
        return str(self._store.root / name)

    def flush(self) -> None:
        if not self._texts:
            return
        for (document, record), ids in zip(self._expected, self._reference.encode(self._texts), strict=True):
            stored = self._part(document.part)[document.first_token : document.first_token + document.tokens]
            same = np.array_equal(stored, [*self._before, *ids, self._eod_id])
            at = self._checks.at(file=self.path_of(f"{document.part.prefix}.bin"), shard=record)
            at.true("E5", same, f"the {len(ids)} ids of the reference and an EOD", f"other ids, {len(stored)} in all")
        self._texts, self._expected = [], []

    def _part(self, part: DatasetRecord) -> NDArray[np.integer]:
        if part.prefix not in self._parts:
            self._parts[part.prefix] = np.memmap(self._store.path(f"{part.prefix}.bin"), self._dtype, mode="r")
        return self._parts[part.prefix]


def _recorded_files(store: Store, source: SourceRecord) -> dict[str, str]:
    table = pq.read_table(store.path(source.inputs.path), columns=["file", "sha256"], partitioning=None)
    return dict(zip(table["file"].to_pylist(), table["sha256"].to_pylist(), strict=True))


def _documents(
    store: Store, source: SourceRecord, names: set[str], share: Fraction, label: str | None
) -> dict[tuple[str, int], list[_Document]]:
    """The documents of a source in the sample that come from these files; those of an imported set do not count.

    `label` is the column of the cluster, or None. The two documents of a pair belong to one record; a sample takes
    pairs by the hash of the chosen conversation.
    """
    own = [*source.train.datasets, *(source.heldout.datasets if source.heldout.imported_from is None else ())]
    found: dict[tuple[str, int], list[_Document]] = {}
    for part in own:
        first_token = row = 0
        for rows in _batches_of(store.path(part.provenance), label):
            columns = [rows[name].to_pylist() for name in DOCUMENT_COLUMNS]
            columns.append([None] * len(rows) if label is None else rows[label].to_pylist())
            for file, record, id_, digest, text_bytes, tokens, cluster in zip(*columns, strict=True):
                is_second = row % source.documents_per_record > 0
                row += 1
                chosen = (file, record) in found if is_second else int(digest[:8], 16) < share * (1 << 32)
                if file in names and chosen:
                    document = _Document(part, first_token, id_, digest, text_bytes, tokens, cluster)
                    found.setdefault((file, record), []).append(document)
                first_token += tokens
    return found


def _batches_of(path: Path, label: str | None) -> Iterable[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(columns=[*DOCUMENT_COLUMNS, *([] if label is None else [label])])
