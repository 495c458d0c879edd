"""`audit_run`: check a finished run's record against the equations and, at depth `bytes`, every file that it names.

As in the audit of a build, only the schemas of the records are shared with the code that trained; an import contract
forbids the rest, and every value is computed again here. The order: `run.json` and `index.json`, E7 to E10 and the
record's own arithmetic (parameters from the shape, tokens from samples, epochs, bits per byte) together with the
build's manifest; then the files: draws, index arrays (checksums, then derived again), checkpoints, metrics, scores,
external scores and the row in `runs.parquet`. A file whose checksum is wrong is named and not read further.

Not checked: that training on these samples gives these weights, and the build itself, which `audit_build` checks. What
the record declares (recipe, names, seed, masks) is bound to the folder's name by `identity.py`, its bytes to the
receipt beside it.
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
from mixproof.ledger.records.datasets import HeldoutRecord
from mixproof.mixtures.stage_checks import STAGE_KINDS
from mixproof.tokenize.audit.checksums import check_file
from mixproof.tokenize.audit.parsed import parsed
from mixproof.tokenize.audit.receipts import sealed_files
from mixproof.tokenize.audit.report import AuditReport, Checks, Depth
from mixproof.train.data.saved_index import INDEX, IndexRecord
from mixproof.train.delivered_record import DeliveredRecord
from mixproof.train.record import RunRecord
from mixproof.train.score_record import HeldoutScore
from mixproof.train.stage_record import PlannedSource, PostTraining

from .checkpoints import check_checkpoints
from .delivered import check_delivered
from .draws import check_draw
from .external import check_external
from .identity import check_identity
from .index import check_index_arrays, check_index_numbers, named_arrays
from .phases import check_phase_settings, tokens_by_length
from .runs_table import check_runs_table
from .scores import check_metrics, check_scores

RELATIVE_ERROR = 1e-12
"""Tolerance where a float of the record is computed again."""
SHARE_ERROR = 1e-9
"""Tolerance of the sum of declared shares."""


def audit_run(run_path: Path, depth: Depth = "bytes", *, compared: bool = False) -> AuditReport:
    """Audit the run whose record is `<store>/train/<key>/run.json`.

    Args:
        run_path: the record or its folder; all other files are found in its store.
        depth: `arithmetic` opens only the records, the others every file.
        compared: with `arithmetic`, also hash index, metrics and scores, which a comparison reads. Checkpoints and
            draws, which it does not read, are a hundred times as large.

    Returns:
        The report; a failed check is in the report and never an exception.

    Raises:
        RequestError: when there is no such record, or it is not in a store.
    """
    path = (run_path / "run.json" if run_path.is_dir() else run_path).resolve()
    if not path.is_file():
        raise RequestError(f"{path}: no run record; `mixproof train` writes one when a run ends")
    if path.parent.parent.name != "train":
        raise RequestError(
            f"{path}: not in the folder train/<key>/ of a store, so its files cannot be found; audit the run where its "
            "store is"
        )
    root = path.parents[2]
    checks = Checks()
    at = checks.at(file=str(path))
    run = _parse_run(path, at)
    _check_seal(root, path, checks)
    if run is None:
        return checks.report(depth)
    at.equal("schema", "as key, from the folder's name", path.parent.name, run.key)
    check_identity(root, path.parent.name, run, checks)
    manifest = _parse_manifest(root, run, checks)
    _check_counts(run, at)
    if run.fim is not None:
        at.equal("E9", "as sources with fill-in-the-middle", [], sorted(set(run.fim) - set(run.delivered)))
    if run.loss_weights is not None:
        at.equal("E9", "as sources with a weight in the loss", sorted(run.delivered), sorted(run.loss_weights))
    _check_model_counts(run, at.at(stage="train"))
    check_phase_settings(run, at)
    if manifest is not None:
        _check_heldout_counts(run, manifest, at)
    index = _parse_index(root, run, checks)
    if index is not None:
        check_index_numbers(run, index, checks.at(file=str(path.parent / "index" / INDEX)))
        check_delivered(run, index, at)
    if depth != "arithmetic":
        _check_bytes(root, run, index, manifest, checks)
    elif compared:
        for name, sha256 in {**run.index, **run.files}.items():
            if not name.startswith(f"{CHECKPOINTS}/"):
                check_file(root, f"train/{run.key}/{name}", sha256, checks)
    return checks.report(depth)


def _parse_run(path: Path, checks: Checks) -> RunRecord | None:
    raw = path.read_bytes()
    run = parsed(RunRecord, raw, "a run record of schema 1", checks)
    if run is None:
        return None
    checks.true("schema", run.to_bytes() == raw, "JSON with sorted keys and an indent of one", "other formatting")
    checks.equal("schema", "as status", "done", run.status)
    return run


def _check_seal(root: Path, path: Path, checks: Checks) -> None:
    """Check the record's bytes against the receipt beside it; no equation covers labels and last digits.

    A record that fails is still checked further: the equations show which number was changed.
    """
    sealed = sealed_files(root, f"train/{path.parent.name}", checks)
    if sealed is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        checks.at(file=str(path)).equal("checksum", "as SHA-256, from the receipt", sealed.get(path.name), found)


def _parse_manifest(root: Path, run: RunRecord, checks: Checks) -> Manifest | None:
    path = check_file(root, f"builds/{run.build}/manifest.json", run.build, checks)
    try:
        return Manifest.model_validate_json(path.read_bytes()) if path is not None else None
    except ValidationError:
        checks.at(file=str(path)).true("schema", False, "a manifest of schema 1", "a file that does not follow it")
        return None


def _parse_index(root: Path, run: RunRecord, checks: Checks) -> IndexRecord | None:
    """Read the index if its checksum holds, and check that it names the same arrays as the record."""
    name = f"train/{run.key}/index/{INDEX}"
    recorded = {file.removeprefix("index/"): sha256 for file, sha256 in run.index.items()}
    path = check_file(root, name, recorded.pop(INDEX, "of index.json, which the record does not name"), checks)
    if path is None:
        return None
    at = checks.at(file=str(path))
    try:
        index = IndexRecord.model_validate_json(path.read_bytes())
    except ValidationError:
        at.true("schema", False, "an index of schema 1", "a file that does not follow it")
        return None
    named = named_arrays(index)
    differ = sorted(file for file in {*named, *recorded} if named.get(file) != recorded.get(file))
    at.equal("checksum", "as arrays with other checksums in the record", [], differ)
    return index


def _check_counts(run: RunRecord, checks: Checks) -> None:
    """Check E8 and E9 on the record's own numbers."""
    length = run.sequence_length
    planned: dict[str, int] = {}
    for number, phase in enumerate(run.phases):
        at = checks.at(stage="blend", shard=f"phase {number}")
        of_phase = phase.sequence_length or length
        at.equal("E8", "tokens of all sources", phase.samples * length, sum(phase.samples_of.values()) * of_phase)
        for source, samples in phase.samples_of.items():
            planned[source] = planned.get(source, 0) + samples * of_phase
    at = checks.at(stage="train")
    samples = sum(phase.samples for phase in run.phases)
    at.equal("E8", "samples of all phases", run.steps * run.global_batch_size, samples)
    at.equal("E9", "tokens planned", samples * length, run.tokens_planned)
    declared = -(-run.tokens_declared // (length * run.global_batch_size))
    at.equal("E9", "steps for the declared tokens", declared, run.steps)
    at.equal("E9", "samples consumed", run.steps * run.global_batch_size, run.consumed_samples)
    at.equal("E9", "tokens consumed", run.consumed_samples * length, run.consumed_tokens)
    at.equal("E9", "prior tokens", run.init_from.prior_tokens if run.init_from else 0, run.prior_tokens)
    at.equal("E9", "tokens delivered", run.consumed_tokens, sum(d.tokens for d in run.delivered.values()))
    shares = sum(delivered.declared for delivered in run.delivered.values())
    at.true("E8", abs(shares - 1) < SHARE_ERROR, "declared shares that sum to 1", str(shares))
    for source, delivered in run.delivered.items():
        here = at.at(source=source)
        if all(phase.sequence_length is None for phase in run.phases):
            here.equal("E9", "tokens", delivered.samples * length, delivered.tokens)
        if run.post_training is None:
            here.equal("E8", "tokens planned", planned.get(source, 0), delivered.planned)
        else:
            _check_supervised(delivered, run.post_training.planned.get(source), here)
    missing = sorted(set(planned) - set(run.delivered))
    at.equal("E9", "as planned sources that are not delivered", [], missing)


def _check_supervised(delivered: DeliveredRecord, planned: PlannedSource | None, checks: Checks) -> None:
    """Check E9 after pretraining: supervised + context + padding = positions, all of them as planned."""
    names = list(PlannedSource.model_fields)
    found = {name: getattr(delivered, name) for name in names}
    checks.equal("E9", "as planned", None if planned is None else planned.model_dump(), found)
    checks.equal("E9", "supervised tokens planned", delivered.supervised_tokens, delivered.planned)
    checks.equal("E9", "supervised tokens, counted in the loss", delivered.supervised_tokens, delivered.targets)
    held = sum(found[name] or 0 for name in names if name != "examples")
    checks.equal("E9", "supervised + context + padding", delivered.tokens, held)


def _check_model_counts(run: RunRecord, checks: Checks) -> None:
    """Check parameters and FLOPs, counted again from the shape."""
    shape, vocabulary = run.architecture, run.tokenizer.vocab_size
    heads = shape.heads + 2 * shape.kv_heads
    matrices = shape.hidden * shape.head_dim * (heads + shape.heads) + 3 * shape.hidden * shape.ffn
    parameters = shape.layers * (matrices + 2 * shape.hidden) + shape.hidden
    checks.equal("schema", "non-embedding parameters, from the shape", parameters, run.parameters.non_embedding)
    total = parameters + vocabulary * shape.hidden
    checks.equal("schema", "parameters, from the shape", total, run.parameters.total)
    matrix_weights = shape.layers * matrices + vocabulary * shape.hidden
    flops = sum(
        6 * (matrix_weights + shape.layers * shape.heads * shape.head_dim * length) * tokens
        for length, tokens in tokens_by_length(run).items()
    )
    checks.equal("schema", "FLOPs, from the shape", flops, run.flops)


def _check_heldout_counts(run: RunRecord, manifest: Manifest, checks: Checks) -> None:
    """Check E10 on the numbers of record and manifest."""
    tokenizer = manifest.tokenizer
    found = (run.tokenizer.sha256, run.tokenizer.vocab_size, run.tokenizer.eod_id, run.tokenizer.bos_id)
    expected = (tokenizer.sha256, tokenizer.vocab_size, tokenizer.eod_id, tokenizer.bos_id)
    checks.equal("E5", "as the build's tokenizer", expected, found)
    kinds = None if run.post_training is None else _scored_kinds(run.post_training)
    held_out = sorted(
        name
        for name, source in manifest.sources.items()
        if source.heldout.documents and (kinds is None or source.kind in kinds)
    )
    checks.equal("E10", "as scored sources", held_out, sorted(run.heldout))
    checks.equal("E10", "as sequence length of the evaluation", run.sequence_length, run.evaluation.sequence_length)
    for source, score in run.heldout.items():
        if source in manifest.sources:
            at = checks.at(source=source, stage="evaluate")
            _check_heldout_score(score, manifest.sources[source].heldout, at, supervised=kinds is not None)


def _scored_kinds(trained: PostTraining) -> tuple[str | None, ...]:
    """Kinds of sources whose held-out sets a run is scored on."""
    if trained.reward is None:
        return (*STAGE_KINDS[trained.stage], *(("chat",) if trained.answers_scored else ()))
    return ("preferences",) if trained.reward.loss == "bradley_terry" else ("ratings",)


def _check_heldout_score(score: HeldoutScore, heldout: HeldoutRecord, checks: Checks, *, supervised: bool) -> None:
    """Check one set; with a mask only its supervised tokens are scored, and `scores.py` adds up the answers' bytes."""
    masked = supervised and heldout.supervised_tokens is not None
    if score.attributes is not None:
        rated = sum(attribute.answers for attribute in score.attributes.values())
        checks.equal("E10", "rated attributes", rated, score.tokens)
    elif score.pairs is None:
        checks.equal("E10", "scored targets", heldout.supervised_tokens if masked else heldout.tokens, score.tokens)
    else:
        checks.equal("E10", "answers", score.documents, 2 * score.pairs.pairs)
    checks.equal("E10", "documents", heldout.documents, score.documents)
    if not masked:
        checks.equal("E10", "bytes", heldout.bytes, score.bytes)
    parts = [
        [part.bin_sha256, part.idx_sha256, part.provenance_sha256, *([part.mask_sha256] if part.mask_sha256 else [])]
        for part in heldout.datasets
    ]
    datasets = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
    checks.equal("checksum", "as SHA-256 of the held-out parts", datasets, score.datasets_sha256)
    if heldout.texts is not None:
        checks.equal("checksum", "as SHA-256 of the held-out texts", heldout.texts.sha256, score.texts_sha256)
    if score.bytes and score.bits_per_byte is not None:
        bits = score.loss * score.tokens / math.log(2) / score.bytes
        same = math.isclose(bits, score.bits_per_byte, rel_tol=RELATIVE_ERROR)
        checks.true("E10", same, f"{bits} bits per byte from the loss", str(score.bits_per_byte))


def _check_bytes(
    root: Path, run: RunRecord, index: IndexRecord | None, manifest: Manifest | None, checks: Checks
) -> None:
    """Check every file of the run: draws, index arrays, checkpoints, metrics, scores."""
    lengths: dict[str, NDArray[np.int32]] = {}
    for name, draw in run.draws.items():
        found = check_draw(root, name.partition(">")[0].partition("@")[0], draw, manifest, checks)
        if found is not None:
            lengths[name] = found
    if index is not None:
        check_index_arrays(root, run, index, lengths, checks)
    for name, sha256 in (run.references or {}).items():
        check_file(root, name, sha256, checks.at(stage="reference"))
    intact: dict[str, Path] = {}
    for name, sha256 in run.files.items():
        path = check_file(root, f"train/{run.key}/{name}", sha256, checks.at(stage="train"))
        if path is not None:
            intact[name] = path
    at = checks.at(file=str(root / "train" / run.key), stage="train")
    for name in ("metrics.jsonl", "scores.parquet"):
        at.true("schema", name in run.files, f"{name} in the record", "no such file")
    checkpoint = f"checkpoints/iter_{run.consumed_samples:012d}/"
    at.true("E9", any(n.startswith(checkpoint) for n in run.files), f"a checkpoint at {checkpoint}", "none")
    check_checkpoints(root, run, checks.at(stage="train"))
    check_external(root, run.key, checks)
    check_runs_table(root, run, checks.at(stage="train"))
    if "metrics.jsonl" in intact:
        check_metrics(intact["metrics.jsonl"], run, checks.at(stage="train"))
    if "scores.parquet" in intact and manifest is not None:
        check_scores(root, intact["scores.parquet"], run, manifest, checks.at(stage="evaluate"))
