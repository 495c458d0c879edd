"""`audit_build`: checks a build's manifest against its equations and, at depth `bytes`, against every file it names.

The auditor shares only the manifest's schema with the code that wrote the build, so a bug in a writer is not a bug in
its auditor. Order: checksum and form of the manifest; E1 to E6 from its numbers and `inputs.parquet`; then the files.
Checksums come first: a file with a wrong checksum is reported and not opened again. The manifest is the exception; it
is read even then, because its equations show which figure was changed. Held-out sets are read before training parts,
because no training document may share a text with them.

Parts are checked in parallel: in threads (hashing and numpy release the GIL), or as Ray tasks if the build is large and
a cluster is given. Raw files are not read here; see `replay.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import sentencepiece
from numpy.typing import NDArray
from pydantic import ValidationError

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import DatasetRecord, Manifest, SourceRecord, TokenizerRecord
from mixproof.pipeline.cluster.cluster import Cluster

from .arithmetic import check_arithmetic
from .checksums import check_file, is_inside
from .cuts import check_cuts
from .dataset import check_part, load_megatron, open_part
from .heldout import check_rows, check_set, check_texts, hashes_of
from .inputs import Inputs, check_inputs
from .provenance import Rows, Withheld, check_provenance
from .receipts import check_receipts, files_of
from .report import AuditReport, Checks, Depth, Location
from .rows import check_parquet
from .spec import check_spec

LARGE_BYTES = 8_000_000_000
"""Total `.bin` bytes from which starting a cluster pays off; one machine reads this much in a few seconds."""
T = TypeVar("T")
Progress = Callable[[str, int, int], None]


@dataclass
class _Source:
    """The state of the audit of one source."""

    name: str
    record: SourceRecord
    inputs: Inputs | None
    texts: pa.Table | None = None
    heldout_rows: list[pa.Table] = field(default_factory=list)
    heldout_positions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def audit_build(
    manifest_path: Path, depth: Depth = "bytes", *, cluster: Cluster | None = None, progress: Progress | None = None
) -> AuditReport:
    """Audit the build of a manifest at `<store>/builds/<id>/manifest.json`.

    Args:
        manifest_path: the manifest; all other files are found in its store.
        depth: `arithmetic` opens only `inputs.parquet`, the other depths open every file.
        cluster: runs the checks of a large build's parts; it must see the store's folder. None: use threads.
        progress: called with ("audit", parts done, parts) after each part.

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
    sources = [
        _Source(name, record, check_inputs(root, record.inputs, checks.at(source=name)))
        for name, record in manifest.sources.items()
    ]
    if depth != "arithmetic":
        load_megatron()
        check_receipts(root, _named_files(manifest), checks)
        _check_tokenizer(root, manifest.tokenizer, checks)
        for source in sources:
            check_cuts(root, source.record, source.inputs, checks.at(source=source.name))
        _check_heldout(root, manifest, sources, checks)
        _check_train(root, manifest, sources, checks, cluster, progress)
    return checks.report(depth)


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
    for source in manifest.sources.values():
        named[source.inputs.path] = source.inputs.sha256
        named |= {part.path: part.sha256 for part in source.cuts}
        if source.heldout.texts is not None:
            named[source.heldout.texts.path] = source.heldout.texts.sha256
        for part in (*source.train.datasets, *source.heldout.datasets):
            named |= files_of(part.prefix, part.bin_sha256, part.idx_sha256, part.provenance_sha256)
    return named


def _check_tokenizer(root: Path, tokenizer: TokenizerRecord, checks: Checks) -> None:
    """Check the tokenizer's checksum and vocabulary size."""
    path = check_file(root, tokenizer.path, tokenizer.sha256, checks)
    at = checks.at(file=str(root / tokenizer.path))
    if path is None:
        return
    try:
        size = _ids_in(path) if tokenizer.kind == "huggingface" else _pieces_in(path)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        at.true("schema", False, f"a tokenizer of kind {tokenizer.kind}", str(error).splitlines()[0])
        return
    at.equal("E5", "ids in the vocabulary", size, tokenizer.vocab_size)


def _pieces_in(path: Path) -> int:
    return int(sentencepiece.SentencePieceProcessor(model_file=str(path)).get_piece_size())


def _ids_in(path: Path) -> int:
    """One more than the largest id of a `tokenizer.json`; its vocabulary is a map to ids or a list in order of ids."""
    form = json.loads(path.read_bytes())
    vocabulary = form["model"]["vocab"]
    ids: list[int] = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
    ids += [token["id"] for token in form.get("added_tokens") or []]
    return 1 + max(ids)


def _check_heldout(root: Path, manifest: Manifest, sources: Sequence[_Source], checks: Checks) -> None:
    """Check every held-out set: its texts, its parts, and both together."""
    for source in sources:
        at = checks.at(source=source.name, stage="heldout")
        heldout = source.record.heldout
        source.texts = check_texts(root, heldout, at)
        for part in heldout.datasets:
            rows = _check_files(root, part, manifest.tokenizer, at.at(shard=part.prefix), check_rows)
            if rows is not None:
                source.heldout_rows.append(rows)
        if len(source.heldout_rows) == len(heldout.datasets):
            source.heldout_positions = check_set(source.record, source.texts, source.heldout_rows, source.inputs, at)


def _check_train(
    root: Path,
    manifest: Manifest,
    sources: Sequence[_Source],
    checks: Checks,
    cluster: Cluster | None,
    progress: Progress | None,
) -> None:
    """Check all training parts in parallel, then the parts of each source together."""
    is_decontaminated = manifest.spec.get("decontaminate") is not False
    heldout = [table for source in sources for table in [source.texts, *source.heldout_rows] if table is not None]
    hashes = hashes_of(heldout) if is_decontaminated else None
    calls = [
        (str(root), part, manifest.tokenizer, source.inputs, Withheld(source.heldout_positions, hashes), at.location)
        for source in sources
        for part in source.record.train.datasets
        for at in [checks.at(source=source.name, stage="train", shard=part.prefix)]
    ]
    if cluster is not None and sum(_bin_bytes(root, part) for _, part, *_ in calls) >= LARGE_BYTES:
        done = cluster.run(check_train_part, calls, label="audit")
    else:
        done = _in_threads(calls, progress)
    checks.merge(found for found, _ in done)
    rows = iter([part_rows for _, part_rows in done])
    for source in sources:
        of_source = [next(rows) for _ in source.record.train.datasets]
        _check_parts_together(source, of_source, checks.at(source=source.name, stage="train"))


def _bin_bytes(root: Path, part: DatasetRecord) -> int:
    path = root / f"{part.prefix}.bin"
    return path.stat().st_size if is_inside(part.prefix) and path.is_file() else 0


def check_train_part(
    root: str,
    part: DatasetRecord,
    tokenizer: TokenizerRecord,
    inputs: Inputs | None,
    withheld: Withheld,
    location: Location,
) -> tuple[Checks, Rows | None]:
    """Check one training part (Ray task)."""
    checks = Checks(location)
    return checks, _check_files(Path(root), part, tokenizer, checks, partial(_check_train_provenance, inputs, withheld))


def _check_train_provenance(
    inputs: Inputs | None,
    withheld: Withheld,
    path: Path,
    part: DatasetRecord,
    lengths: NDArray[np.int32] | None,
    checks: Checks,
) -> Rows | None:
    return check_provenance(path, part, lengths, inputs, withheld, checks)


def _check_files(
    root: Path,
    part: DatasetRecord,
    tokenizer: TokenizerRecord,
    checks: Checks,
    check_rows_of: Callable[[Path, DatasetRecord, NDArray[np.int32] | None, Checks], T | None],
) -> T | None:
    """Check one part: checksums, then the tokens if `.bin` and `.idx` are intact, then its provenance."""
    bin_path = check_file(root, f"{part.prefix}.bin", part.bin_sha256, checks)
    idx_path = check_file(root, f"{part.prefix}.idx", part.idx_sha256, checks)
    path = check_parquet(root, part.provenance, part.provenance_sha256, checks)
    at = checks.at(file=str(path))
    if bin_path is None or idx_path is None:
        return check_rows_of(path, part, None, at) if path is not None else None
    with open_part(part, bin_path, tokenizer, checks) as dataset:
        sound = dataset is not None and check_part(dataset, part, bin_path, tokenizer, checks)
        if path is None:
            return None
        return check_rows_of(path, part, dataset.index.sequence_lengths if sound else None, at)


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


def _in_threads(calls: Sequence[tuple[Any, ...]], progress: Progress | None) -> list[tuple[Checks, Rows | None]]:
    """Check parts in one thread per CPU; results are in the order of the calls."""
    results: list[tuple[Checks, Rows | None]] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for future in [threads.submit(check_train_part, *call) for call in calls]:
            results.append(future.result())
            if progress is not None:
                progress("audit", len(results), len(calls))
    return results
