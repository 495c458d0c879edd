"""`audit_build`: checks a build's manifest against its equations and, at depth `bytes`, against every file it names.

The auditor shares only the manifest's schema with the code that wrote the build, so a bug in a writer is not a bug in
its auditor. Order: checksum and form of the manifest; E1 to E6 from its numbers and `inputs.parquet`; then the files.
Checksums come first: a file with a wrong checksum is reported and not opened again. The manifest is the exception; it
is read even then, because its equations show which figure was changed. Held-out sets are read before training parts,
because no training document may share a text with them. Held-out texts and a sample of the training documents are
encoded again (`reencode.py`), except in parts in which another check failed.

Parts are checked in parallel: in threads (hashing and numpy release the GIL), or as Ray tasks if the build is large and
a cluster is given. Raw files are not read here; see `replay.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import DatasetRecord, Manifest, SourceRecord, TokenizerRecord
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.task_progress import OnProgress, TaskProgress

from .arithmetic import ENCODE, check_arithmetic
from .cells import CELL, CELLS, Bounds, cells_of, check_labels, labels_in, outside_cell
from .checksums import check_file, is_inside
from .classifiers import check_classifiers
from .cuts import check_cuts
from .dataset import check_part, load_megatron, open_part
from .heldout import check_rows, check_set, check_texts, hashes_of, values_of
from .inputs import Inputs, check_inputs
from .kept import check_dropped, check_kept, kept_bounds
from .masks import PLAIN, Form, check_mask, form_of
from .provenance import Rows, Withheld, check_provenance
from .receipts import check_receipts, files_of
from .reencode import load_reference, reencode_heldout, reencode_sample, texts_by_hash
from .reencode_conversations import conversations_by_hash, load_conversation_ids, reencode_conversations
from .report import AuditReport, Checks, Depth, Location, Reencoded
from .rows import check_parquet
from .spec import check_spec
from .twins import check_twins
from .vocabulary import check_tokenizer

LARGE_BYTES = 8_000_000_000
"""Total `.bin` bytes from which starting a cluster pays off; one machine reads this much in a few seconds."""
T = TypeVar("T")
Reencode = Callable[[Any, Path, Checks], Reencoded]
"""Encodes documents of an open part again: the part, its provenance, and where the result goes."""
CheckedPart = tuple[Checks, Rows | None, Reencoded]


@dataclass
class _Source:
    """The state of the audit of one source."""

    name: str
    record: SourceRecord
    inputs: Inputs | None
    cell: tuple[Bounds, ...] = ()
    """What its documents have in common: bounds of its cell, and of the rules by which its source keeps documents."""
    labels: tuple[str, ...] = ()
    """The labels of its documents."""
    texts: pa.Table | None = None
    heldout_rows: list[pa.Table] = field(default_factory=list)
    heldout_positions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def is_adopted(self) -> bool:
        """Whether the source was adopted from `.bin/.idx`: nothing was encoded, and there are no texts."""
        return all(row.stage != ENCODE for row in self.record.ledger)


@dataclass(frozen=True)
class _Tokenizer:
    """The tokenizer of the build."""

    record: TokenizerRecord
    path: Path | None
    """Its file; None if that failed its checks, so that nothing can be encoded again."""


def audit_build(
    manifest_path: Path, depth: Depth = "bytes", *, cluster: Cluster | None = None, progress: OnProgress | None = None
) -> AuditReport:
    """Audit the build of a manifest at `<store>/builds/<id>/manifest.json`.

    Args:
        manifest_path: the manifest; all other files are found in its store.
        depth: `arithmetic` opens only `inputs.parquet`, the other depths open every file.
        cluster: runs the checks of a large build's parts; it must see the store's folder. None: use threads.
        progress: called after each part.

    Returns:
        The report. A failed check is an entry of the report, never an exception.

    Raises:
        RequestError: when the manifest does not exist, is not in a store, or Megatron Core is not installed.
    """
    manifest_path = manifest_path.resolve()
    if not manifest_path.is_file():
        raise RequestError(f"{manifest_path}: no manifest found; `mixproof build` writes one")
    if manifest_path.parent.parent.name != "builds":
        raise RequestError(f"{manifest_path}: not in builds/<id>/ of a store, so its files cannot be found")
    root = manifest_path.parents[2]
    checks = Checks()
    manifest = _check_manifest(manifest_path, checks.at(file=str(manifest_path)))
    if manifest is None:
        return checks.report(depth)
    check_spec(manifest, checks.at(file=str(manifest_path)))
    check_arithmetic(manifest, checks.at(file=str(manifest_path)))
    check_kept(manifest, checks.at(file=str(manifest_path)))
    cells, kept = cells_of(manifest), kept_bounds(manifest)
    sources = [
        _Source(
            name,
            record,
            check_inputs(root, record.inputs, checks.at(source=name)),
            (*cells.get(name, ()), *kept.get(name, ())),
            labels_in(manifest.spec, name),
        )
        for name, record in manifest.sources.items()
    ]
    if depth == "arithmetic":
        return checks.report(depth)
    load_megatron()
    check_receipts(root, _named_files(manifest), checks)
    tokenizer = _Tokenizer(manifest.tokenizer, check_tokenizer(root, manifest.tokenizer, checks))
    for name, record in manifest.cells.items():
        for clusters in (axis.clusters for axis in record.axes):
            if clusters is not None:
                check_file(root, clusters.path, clusters.sha256, checks.at(source=name, stage=CELLS))
    check_classifiers(root, manifest, checks)
    check_dropped(root, manifest, checks)
    for source in sources:
        check_cuts(root, source.record, source.inputs, checks.at(source=source.name))
    check_twins(root, manifest, {source.name: source.inputs for source in sources}, checks)
    reencoded = Reencoded(without_texts=tuple(source.name for source in sources if source.is_adopted))
    reencoded += _check_heldout(root, tokenizer, sources, checks)
    is_decontaminated = manifest.spec.get("decontaminate") is not False
    reencoded += _check_train(root, tokenizer, sources, is_decontaminated, checks, cluster, progress)
    return replace(checks.report(depth), reencoded=reencoded)


def _check_manifest(path: Path, checks: Checks) -> Manifest | None:
    """Check the manifest's checksum (its folder's name), schema, canonical form and the checksum of its spec."""
    raw = path.read_bytes()
    checks.equal("checksum", "as sha256, by the folder's name", path.parent.name, hashlib.sha256(raw).hexdigest())
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        checks.true("schema", False, "a manifest of schema 1", f"{where}: {first['msg']}")
        return None
    canonical = json.dumps(json.loads(raw), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    checks.true("schema", raw == canonical.encode(), "JSON with sorted keys and an indent of one", "another form")
    spec = json.dumps(manifest.spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    checks.equal("checksum", "as sha256 of the spec", manifest.spec_sha256, hashlib.sha256(spec.encode()).hexdigest())
    return manifest


def _named_files(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of every file that the manifest names, by file name relative to the store."""
    named = {manifest.tokenizer.path: manifest.tokenizer.sha256}
    for clusters in (axis.clusters for record in manifest.cells.values() for axis in record.axes):
        if clusters is not None:
            named[clusters.path] = clusters.sha256
    for classifier in manifest.classifiers.values():
        named |= {classifier.model: classifier.model_sha256, classifier.examples: classifier.examples_sha256}
    for kept in manifest.kept.values():
        named[kept.path] = kept.sha256
    for source in manifest.sources.values():
        named[source.inputs.path] = source.inputs.sha256
        named |= {part.path: part.sha256 for part in (*source.cuts, *source.substring_cuts)}
        named |= {} if source.twins is None else {source.twins.path: source.twins.sha256}
        if source.heldout.texts is not None:
            named[source.heldout.texts.path] = source.heldout.texts.sha256
        for part in (*source.train.datasets, *source.heldout.datasets):
            named |= files_of(part.prefix, part.bin_sha256, part.idx_sha256, part.provenance_sha256, part.mask_sha256)
    return named


def _check_heldout(root: Path, tokenizer: _Tokenizer, sources: Sequence[_Source], checks: Checks) -> Reencoded:
    """Check every held-out set: its texts, its parts, and both together."""
    reencoded = Reencoded()
    for source in sources:
        at = checks.at(source=source.name, stage="heldout")
        heldout = source.record.heldout
        form = form_of(source.record)
        source.texts = check_texts(root, heldout, at, is_marked=form.kind is not None)
        reencode = _reencode_heldout(tokenizer, source.texts, form)
        for part in heldout.datasets:
            here = at.at(shard=part.prefix)
            rows, done = _check_files(root, part, tokenizer.record, here, partial(check_rows, form=form), reencode)
            reencoded += done
            if rows is not None:
                _check_heldout_labels(source, rows, here)
                source.heldout_rows.append(rows)
        if len(source.heldout_rows) == len(heldout.datasets):
            source.heldout_positions = check_set(source.record, source.texts, source.heldout_rows, source.inputs, at)
    return reencoded


def _check_heldout_labels(source: _Source, rows: pa.Table, checks: Checks) -> None:
    """Check the labels of a held-out part; those of an imported set are not known."""
    if source.record.heldout.imported_from is not None:
        return
    if check_labels(rows.schema, source.labels, source.cell, checks) and source.cell:
        outside = int(outside_cell(rows, source.cell).sum())
        checks.equal("E4", f"documents without {CELL}", 0, outside)


def _reencode_heldout(tokenizer: _Tokenizer, texts: pa.Table | None, form: Form) -> Reencode | None:
    if tokenizer.path is None or texts is None:
        return None
    if form.kind is not None:
        conversation_ids = load_conversation_ids(tokenizer.path, tokenizer.record)
        return partial(reencode_conversations, conversation_ids, conversations_by_hash(texts))
    reference, before = load_reference(tokenizer.path, tokenizer.record), tokenizer.record.around - 1
    return partial(reencode_heldout, reference, texts_by_hash(texts), before=before)


def _check_train(
    root: Path,
    tokenizer: _Tokenizer,
    sources: Sequence[_Source],
    is_decontaminated: bool,
    checks: Checks,
    cluster: Cluster | None,
    progress: OnProgress | None,
) -> Reencoded:
    """Check all training parts in parallel, then the parts of each source together."""
    heldout = [table for source in sources for table in [source.texts, *source.heldout_rows] if table is not None]
    hashes = hashes_of(heldout) if is_decontaminated else None
    marked = [source for source in sources if source.record.kind is not None]
    prompts = {
        source.name: values_of(_prompts_of(marked if is_decontaminated else [source]), "prompt_xxh128")
        for source in marked
    }
    calls = [
        (
            str(root),
            part,
            _Tokenizer(tokenizer.record, None) if source.is_adopted else tokenizer,
            source.inputs,
            Withheld(source.heldout_positions, hashes, source.cell, source.labels, prompts.get(source.name)),
            checks.at(source=source.name, stage="train", shard=part.prefix).location,
            form_of(source.record),
        )
        for source in sources
        for part in source.record.train.datasets
    ]
    if cluster is not None and sum(_bin_bytes(root, part) for _, part, *_ in calls) >= LARGE_BYTES:
        done = cluster.run(check_train_part, calls, label="audit")
    else:
        done = _in_threads(calls, progress)
    checks.merge(found for found, _, _ in done)
    rows = iter([part_rows for _, part_rows, _ in done])
    for source in sources:
        of_source = [next(rows) for _ in source.record.train.datasets]
        _check_parts_together(source, of_source, checks.at(source=source.name, stage="train"))
    return sum((reencoded for _, _, reencoded in done), Reencoded())


def _prompts_of(sources: Sequence[_Source]) -> list[pa.Table]:
    """Tables with the hashes of the prompts that these sources hold out."""
    return [table for source in sources for table in [source.texts, *source.heldout_rows] if table is not None]


def _bin_bytes(root: Path, part: DatasetRecord) -> int:
    path = root / f"{part.prefix}.bin"
    return path.stat().st_size if is_inside(part.prefix) and path.is_file() else 0


def check_train_part(
    root: str,
    part: DatasetRecord,
    tokenizer: _Tokenizer,
    inputs: Inputs | None,
    withheld: Withheld,
    location: Location,
    form: Form = PLAIN,
) -> CheckedPart:
    """Check one training part (Ray task)."""
    checks = Checks(location)

    def check_rows_of(
        path: Path, part: DatasetRecord, lengths: NDArray[np.int32] | None, checks: Checks
    ) -> Rows | None:
        return check_provenance(path, part, lengths, inputs, withheld, checks, form)

    path = tokenizer.path
    before = tokenizer.record.around - 1
    reencode = None if path is None else partial(reencode_sample, load_reference(path, tokenizer.record), before=before)
    if reencode is not None and path is not None and form.kind is not None:
        reencode = partial(reencode, control=load_conversation_ids(path, tokenizer.record).control_ids)
    return checks, *_check_files(Path(root), part, tokenizer.record, checks, check_rows_of, reencode)


def _check_files(
    root: Path,
    part: DatasetRecord,
    tokenizer: TokenizerRecord,
    checks: Checks,
    check_rows_of: Callable[[Path, DatasetRecord, NDArray[np.int32] | None, Checks], T | None],
    reencode: Reencode | None,
) -> tuple[T | None, Reencoded]:
    """Check one part: checksums, the tokens if `.bin` and `.idx` are intact, the provenance, then ids of texts."""
    own = Checks(checks.location)
    bin_path = check_file(root, f"{part.prefix}.bin", part.bin_sha256, own)
    idx_path = check_file(root, f"{part.prefix}.idx", part.idx_sha256, own)
    path = check_parquet(root, part.provenance, part.provenance_sha256, own)
    mask = None
    if part.mask_sha256 is not None:
        mask = check_file(root, f"{part.prefix}.mask", part.mask_sha256, own)
    at = own.at(file=str(path))
    rows, reencoded = None, Reencoded()
    if bin_path is not None and idx_path is not None:
        with open_part(part, bin_path, tokenizer, own) as dataset:
            sound = dataset is not None and check_part(dataset, part, bin_path, tokenizer, own)
            if path is not None:
                rows = check_rows_of(path, part, dataset.index.sequence_lengths if sound else None, at)
            if mask is not None and sound:
                lengths = dataset.index.sequence_lengths
                check_mask(mask, part, lengths, None if rows is None else path, own.at(file=str(mask)))
            if path is not None and reencode is not None and not own.failures:
                reencoded = reencode(dataset, path, own.at(file=str(bin_path)))
    elif path is not None:
        rows = check_rows_of(path, part, None, at)
    checks.merge([own])
    return rows, reencoded


def _check_parts_together(source: _Source, parts: Sequence[Rows | None], checks: Checks) -> None:
    """Check the bytes of all parts, and that each part starts after the previous one, if all parts could be read."""
    rows = [part for part in parts if part is not None]
    if len(rows) < len(parts):
        return
    checks.equal("E6", "bytes in all parts", source.record.train.bytes, sum(part.text_bytes for part in rows))
    for number, (before, after) in enumerate(pairwise(rows), start=1):
        checks.at(shard=source.record.train.datasets[number].prefix).true(
            "E6",
            before.last_position < after.first_position or source.inputs is None,
            f"a part that starts after record {before.last_position} of the source",
            f"one that starts at record {after.first_position}",
        )


def _in_threads(calls: Sequence[tuple[Any, ...]], progress: OnProgress | None) -> list[CheckedPart]:
    """Check parts in one thread per CPU; results are in the order of the calls."""
    results: list[CheckedPart] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for future in [threads.submit(check_train_part, *call) for call in calls]:
            results.append(future.result())
            if progress is not None:
                progress(TaskProgress("audit", len(results), len(calls)))
    return results
