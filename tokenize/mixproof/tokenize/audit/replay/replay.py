"""Replay, the third depth of an audit: raw files are read, filtered and encoded again.

The checksum of every raw file is compared with `inputs.parquet`. Each document of the datasets must come out of its
record with the same text, id and number of bytes, and the reference tokenizer must give the ids in the `.bin`. If all
documents are replayed, the ledger rows of `read` and of the steps are counted again, including drop reasons. A sample
takes documents by text hash: all raw bytes are still read, but only the sample goes through steps and tokenizer.

Ray tasks replay some hundred MB of raw bytes each. Unlike the other depths, replay uses the code that read and filtered
the build, because nothing else defines what a step does; a bug in a step is not found here. Encoding is independent
(`ids/reference_ids.py`). Pairs of semantic duplicates are embedded again (`twins.py`). Removed paragraphs and
substrings are taken from the build's lists, and a sample of windows shows repeated substrings that are in none
(`missed_repeats.py`). Not covered: deduplication and decontamination are not decided again (their counts are checked by
the other depths), and `megatron:` sources have no text to replay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.account import StageRow, sum_rows
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import whole_of
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.read.batches import share_tasks
from mixproof.pipeline.record import POISON
from mixproof.pipeline.semantic.vectors import Embedding
from mixproof.tokenize.audit.classifiers import retrain_classifiers, tables_of
from mixproof.tokenize.audit.missed_repeats import WindowSample, check_missed, group_of
from mixproof.tokenize.audit.report import AuditReport, Checks, Equation
from mixproof.tokenize.audit.twins import (
    Pair,
    Place,
    check_cosines,
    embedding_to_replay,
    pairs_to_replay,
    places_of,
)

from .assignments import assignments_of
from .files import ALL, Replay, replay_files
from .kept_again import labelers_again

TASK_BYTES = 256 * 1000 * 1000
TASK_FILES = 2000


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
    groups = _groups(spec, manifest)
    root = manifest_path.resolve().parents[2]
    tables = tables_of(spec, base, root, manifest)
    embedding = embedding_to_replay(spec, manifest, base)
    pairs = [] if embedding is None else pairs_to_replay(store, manifest)
    tasks = [
        _with_twins(task, pairs, embedding)
        for name, parts in groups.items()
        if spec.sources[parts[0]].megatron is None
        for task in _tasks(name, parts, spec, files[parts[0]], store, manifest_path, manifest, share, base)
    ]
    calls = [(task,) for task in tasks]
    rows: dict[str, list[tuple[StageRow, ...]]] = {name: [] for name in groups}
    vectors: dict[str, dict[Place, NDArray[np.int16]]] = {name: {} for name in groups}
    samples: list[tuple[str, str, WindowSample | None]] = []
    for (call,), done in zip(calls, cluster.run(replay_files, calls, label="replay"), strict=True):
        checks.merge([done.checks])
        rows[call.source].append(done.rows)
        vectors[call.source] |= done.vectors
        if done.unmatched is not None:
            samples.append((group_of(manifest, call.source), call.source, done.unmatched))
    check_missed(samples, checks.at(file=str(manifest_path)))
    check_cosines(pairs, vectors, checks.at(file=str(manifest_path)))
    if share == ALL:
        for name, parts in groups.items():
            for part in parts:
                _check_rows(manifest.sources[part], rows[name], checks.at(file=str(manifest_path), source=part))
    retrain_classifiers(root, manifest, tables, checks)
    return checks.report("replay")


def _tasks(
    name: str,
    parts: tuple[str, ...],
    spec: Spec,
    files: Sequence[InputFile],
    store: Store,
    manifest_path: Path,
    manifest: Manifest,
    share: Fraction,
    base: Path,
) -> Iterator[Replay]:
    """Divide the files of a source among tasks."""
    if any(POISON in row.dropped for row in manifest.sources[parts[0]].ledger):
        raise RequestError(
            f"source {name}: some documents crashed the process that read them, so it cannot be replayed; "
            "audit this build with --depth bytes"
        )
    given = spec.sources[parts[0]]
    assignments_of(manifest, name, given, base, store)  # raises before any work
    labelers = labelers_again(spec, base, manifest, parts[0])
    for batch in share_tasks(files, lambda file: file.bytes, most_bytes=TASK_BYTES, most_items=TASK_FILES):
        yield Replay(store, str(manifest_path), name, parts, batch, given, spec.limits, share, base, labelers)


def _with_twins(task: Replay, pairs: Sequence[Pair], embedding: Embedding | None) -> Replay:
    """Add the semantic duplicates among the documents of a task's files."""
    names = {file.name for file in task.files}
    places = places_of(pairs, task.source)
    return replace(task, embedding=embedding, twins={place: places[place] for place in places if place[0] in names})


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
