"""`audit_run`: a finished run's record against its equations and, at depth `bytes`, against every byte it names.

As in the audit of a build, nothing is shared with the code that trained but the schemas of the records. In order:
`run.json` and `index.json`, E7 to E10 and the record's own arithmetic (weights by shape, tokens by samples, epochs,
bits per byte) with the build's manifest beside them; then the files: draws, index arrays (checksums, then derived
again), checkpoint, metrics and scores. A file that fails its checksum is named and not opened further.

Not covered: that training on these samples gives these weights, and the build itself, which `audit_build` checks.
What the record states freely (recipe, names, seed, masks) is bound to the folder's name by `audit_identity.py`, its
bytes to the receipt beside it.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import CHECKPOINTS
from mixproof.ledger.manifest import Manifest
from mixproof.tokenize.audit.checksums import check_file
from mixproof.tokenize.audit.receipts import sealed_files
from mixproof.tokenize.audit.report import AuditReport, Checks, Depth
from mixproof.train.data.saved_index import INDEX, IndexRecord
from mixproof.train.record import RunRecord

from .checkpoints import check_checkpoints
from .draws import check_draw
from .external import check_external
from .identity import check_identity
from .index import check_index_arrays, check_index_numbers, named_arrays
from .runs_table import check_runs_table
from .scores import check_metrics, check_scores

RELATIVE_ERROR = 1e-12
"""Allowed where a float of the record is computed again."""
SHARE_ERROR = 1e-9
"""Allowed where declared shares are summed as floats."""


def audit_run(run_path: Path, depth: Depth = "bytes", *, compared: bool = False) -> AuditReport:
    """Audit the run whose record is `<store>/train/<key>/run.json`.

    Args:
        run_path: the record or its folder; every other file is found in its store.
        depth: `arithmetic` opens the records only, the others every file.
        compared: with `arithmetic`, hash index, metrics and scores as well: what a comparison is read from. Its
            checkpoints and draws, which it does not read, are a hundred times as large.

    Returns:
        The report; a check that fails is in it and never an exception.

    Raises:
        RequestError: when there is no such record, or it stands in no store.
    """
    path = (run_path / "run.json" if run_path.is_dir() else run_path).resolve()
    if not path.is_file():
        raise RequestError(f"{path}: no run record there; `mixproof train` writes one")
    if path.parent.parent.name != "train":
        raise RequestError(f"{path}: not in a store's train/<key>/, so its files cannot be found")
    root = path.parents[2]
    checks = Checks()
    at = checks.at(file=str(path))
    run = _parse_run(path, at)
    _check_seal(root, path, checks)
    if run is None:
        return checks.report(depth)
    at.equal("schema", "as key, by the folder's name", path.parent.name, run.key)
    check_identity(root, path.parent.name, run, checks)
    manifest = _parse_manifest(root, run, checks)
    _check_counts(run, at)
    if manifest is not None:
        _check_heldout_counts(run, manifest, at)
    index = _parse_index(root, run, checks)
    if index is not None:
        check_index_numbers(run, index, checks.at(file=str(path.parent / "index" / INDEX)))
        _check_delivered(run, index, at)
    if depth != "arithmetic":
        _check_bytes(root, run, index, manifest, checks)
    elif compared:
        for name, sha256 in {**run.index, **run.files}.items():
            if not name.startswith(f"{CHECKPOINTS}/"):
                check_file(root, f"train/{run.key}/{name}", sha256, checks)
    return checks.report(depth)


def _parse_run(path: Path, checks: Checks) -> RunRecord | None:
    raw = path.read_bytes()
    try:
        run = RunRecord.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        checks.true("schema", False, "a run record of schema 1", f"{where}: {first['msg']}")
        return None
    checks.true("schema", run.to_bytes() == raw, "JSON with sorted keys and an indent of one", "another form")
    checks.equal("schema", "as status", "done", run.status)
    return run


def _check_seal(root: Path, path: Path, checks: Checks) -> None:
    """The record's bytes against the receipt beside it: labels and last digits stand in no equation.

    A record that fails is read on all the same: the equations tell which figure was changed.
    """
    sealed = sealed_files(root, f"train/{path.parent.name}", checks)
    if sealed is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        checks.at(file=str(path)).equal("checksum", "as sha256, by the receipt", sealed.get(path.name), found)


def _parse_manifest(root: Path, run: RunRecord, checks: Checks) -> Manifest | None:
    path = check_file(root, f"builds/{run.build}/manifest.json", run.build, checks)
    try:
        return Manifest.model_validate_json(path.read_bytes()) if path is not None else None
    except ValidationError:
        checks.at(file=str(path)).true("schema", False, "a manifest of schema 1", "another form")
        return None


def _parse_index(root: Path, run: RunRecord, checks: Checks) -> IndexRecord | None:
    """The index, where its checksum holds; and that it names the arrays that the record names."""
    name = f"train/{run.key}/index/{INDEX}"
    own = {file.removeprefix("index/"): sha256 for file, sha256 in run.index.items()}
    path = check_file(root, name, own.pop(INDEX, "of index.json, which the record does not name"), checks)
    if path is None:
        return None
    at = checks.at(file=str(path))
    try:
        index = IndexRecord.model_validate_json(path.read_bytes())
    except ValidationError:
        at.true("schema", False, "an index of schema 1", "another form")
        return None
    named = named_arrays(index)
    differ = sorted(file for file in {*named, *own} if named.get(file) != own.get(file))
    at.equal("checksum", "as arrays whose checksum the record does not share", [], differ)
    return index


def _check_counts(run: RunRecord, checks: Checks) -> None:
    """E8 and E9 by the record's own numbers, and the weights by the shape."""
    length = run.sequence_length
    planned: dict[str, int] = {}
    for number, phase in enumerate(run.phases):
        at = checks.at(stage="blend", shard=f"phase {number}")
        at.equal("E8", "samples of all sources", phase.samples, sum(phase.samples_of.values()))
        for source, samples in phase.samples_of.items():
            planned[source] = planned.get(source, 0) + samples
    at = checks.at(stage="train")
    samples = sum(phase.samples for phase in run.phases)
    at.equal("E8", "samples of all phases", run.steps * run.global_batch_size, samples)
    at.equal("E9", "tokens planned", samples * length, run.tokens_planned)
    declared = -(-run.tokens_declared // (length * run.global_batch_size))
    at.equal("E9", "steps for the declared tokens", declared, run.steps)
    at.equal("E9", "samples consumed", run.steps * run.global_batch_size, run.consumed_samples)
    at.equal("E9", "tokens consumed", run.consumed_samples * length, run.consumed_tokens)
    at.equal("E9", "prior tokens", run.init_from.prior_tokens if run.init_from else 0, run.prior_tokens)
    at.equal("E9", "samples delivered", run.consumed_samples, sum(d.samples for d in run.delivered.values()))
    shares = sum(delivered.declared for delivered in run.delivered.values())
    at.true("E8", abs(shares - 1) < SHARE_ERROR, "declared shares that sum to 1", str(shares))
    for source, delivered in run.delivered.items():
        here = at.at(source=source)
        here.equal("E9", "tokens", delivered.samples * length, delivered.tokens)
        here.equal("E8", "tokens planned", planned.get(source, 0) * length, delivered.planned)
    missing = sorted(set(planned) - set(run.delivered))
    at.equal("E9", "as planned sources that are not delivered", [], missing)
    shape, vocabulary = run.architecture, run.tokenizer.vocab_size
    heads = shape.heads + 2 * shape.kv_heads
    matrices = shape.hidden * shape.head_dim * (heads + shape.heads) + 3 * shape.hidden * shape.ffn
    weights = shape.layers * (matrices + 2 * shape.hidden) + shape.hidden
    at.equal("schema", "weights without the embedding, by the shape", weights, run.parameters.non_embedding)
    at.equal("schema", "weights, by the shape", weights + vocabulary * shape.hidden, run.parameters.total)
    multiplied = (
        shape.layers * matrices + vocabulary * shape.hidden + shape.layers * shape.heads * shape.head_dim * length
    )
    at.equal("schema", "FLOPs, by the shape", 6 * multiplied * run.consumed_tokens, run.flops)


def _check_delivered(run: RunRecord, index: IndexRecord, checks: Checks) -> None:
    """Epochs and unique tokens of each source, by the windows of draw and dataset."""
    length = index.sequence_length
    streams = {stream.source: stream for stream in index.streams}
    for source, delivered in run.delivered.items():
        at = checks.at(source=source, stage="train")
        stream = streams.get(source)
        if stream is None or stream.dataset_tokens <= length:
            at.equal("E9", "samples of a source without a stream", 0, delivered.samples)
            continue
        if stream.draw.cut_tokens is not None:
            at.equal("E6", "tokens of the cut source", stream.draw.tokens, stream.dataset_tokens)
        epochs = delivered.samples / ((stream.dataset_tokens - 1) // length)
        at.true("E9", math.isclose(epochs, delivered.epochs), f"{epochs} epochs", str(delivered.epochs))
        unique = min(delivered.samples, stream.windows) * length
        at.equal("E9", "unique tokens", unique, delivered.unique_tokens)


def _check_heldout_counts(run: RunRecord, manifest: Manifest, checks: Checks) -> None:
    """E10 by the numbers of record and manifest."""
    tokenizer = manifest.tokenizer
    own = (run.tokenizer.sha256, run.tokenizer.vocab_size, run.tokenizer.eod_id)
    expected = (tokenizer.sha256, tokenizer.vocab_size, tokenizer.eod_id)
    checks.equal("E5", "as the build's tokenizer", expected, own)
    held = sorted(name for name, source in manifest.sources.items() if source.heldout.documents)
    checks.equal("E10", "as scored sources", held, sorted(run.heldout))
    checks.equal("E10", "as sequence length of the evaluation", run.sequence_length, run.evaluation.sequence_length)
    for source, score in run.heldout.items():
        if source not in manifest.sources:
            continue
        at = checks.at(source=source, stage="evaluate")
        heldout = manifest.sources[source].heldout
        at.equal("E10", "scored targets", heldout.tokens, score.tokens)
        at.equal("E10", "documents", heldout.documents, score.documents)
        at.equal("E10", "bytes", heldout.bytes, score.bytes)
        parts = [[part.bin_sha256, part.idx_sha256, part.provenance_sha256] for part in heldout.datasets]
        datasets = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
        at.equal("checksum", "as sha256 of the held-out parts", datasets, score.datasets_sha256)
        if heldout.texts is not None:
            at.equal("checksum", "as sha256 of the held-out texts", heldout.texts.sha256, score.texts_sha256)
        if score.bytes:
            bits = score.loss * score.tokens / math.log(2) / score.bytes
            same = math.isclose(bits, score.bits_per_byte, rel_tol=RELATIVE_ERROR)
            at.true("E10", same, f"{bits} bits per byte by the loss", str(score.bits_per_byte))


def _check_bytes(
    root: Path, run: RunRecord, index: IndexRecord | None, manifest: Manifest | None, checks: Checks
) -> None:
    """Every file of the run: draws, index arrays, checkpoint, metrics, scores."""
    lengths: dict[str, NDArray[np.int32]] = {}
    for source, draw in run.draws.items():
        found = check_draw(root, source, draw, manifest, checks)
        if found is not None:
            lengths[source] = found
    if index is not None:
        check_index_arrays(root, run, index, lengths, checks)
    whole: dict[str, Path] = {}
    for name, sha256 in run.files.items():
        path = check_file(root, f"train/{run.key}/{name}", sha256, checks.at(stage="train"))
        if path is not None:
            whole[name] = path
    at = checks.at(file=str(root / "train" / run.key), stage="train")
    for name in ("metrics.jsonl", "scores.parquet"):
        at.true("schema", name in run.files, f"{name} in the record", "no such file")
    checkpoint = f"checkpoints/iter_{run.consumed_samples:012d}/"
    at.true("E9", any(n.startswith(checkpoint) for n in run.files), f"a checkpoint at {checkpoint}", "none")
    check_checkpoints(root, run, checks.at(stage="train"))
    check_external(root, run.key, checks)
    check_runs_table(root, run, checks.at(stage="train"))
    if "metrics.jsonl" in whole:
        check_metrics(whole["metrics.jsonl"], run, checks.at(stage="train"))
    if "scores.parquet" in whole and manifest is not None:
        check_scores(root, whole["scores.parquet"], run, manifest, checks.at(stage="evaluate"))
