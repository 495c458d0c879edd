"""Audit of a run's measurements: its metrics, one line per step, and its per-document scores.

Sums and losses are computed again here; no code that trained or scored is used.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import derive_seed
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import HeldoutRecord
from mixproof.tokenize.audit.report import Checks
from mixproof.tokenize.audit.rows import check_parquet
from mixproof.train.delivered_record import DeliveredRecord
from mixproof.train.record import RunRecord
from mixproof.train.score_record import AttributeScore, HeldoutScore, PairScore

COLUMNS = ["file", "record", "text_bytes", "tokens"]
OF_PREFERENCES = ("reward", "kl_nats", "prompt_xxh128")
"""Columns of sets of pairs, and of all sets after preference optimization."""
OF_RATINGS = ("attribute.", "predicted.")
"""Start of the columns of sets of rated answers."""
OF_ANSWERS = ("supervised_tokens", "answer_bytes")
"""Columns of sets of which only the supervised tokens are scored."""
FLOAT32_ERROR = 1e-5
"""Tolerance for sums of losses that were computed in single precision."""
SLOPE_ERROR = 1e-6
"""Tolerance for a slope, whose last digits are lost where predictions hardly differ."""
RELATIVE_ERROR = 1e-12
"""Tolerance for float64 sums, whose last digits depend on the order of addition."""


def check_metrics(path: Path, run: RunRecord, checks: Checks) -> None:
    """Check E9: one line per step, each with one more batch than the previous one, up to the consumed samples.

    If every target counts, the targets of each source, summed over the steps, must equal the tokens delivered of it:
    what the optimizer saw is compared with the replay of the index.
    """
    at = checks.at(file=str(path))
    try:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        counts = [(line["step"], line["samples"], line["tokens"]) for line in lines]
        finite = all(math.isfinite(line["loss"]) for line in lines)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        at.true("schema", False, "one JSON object per line with step, samples, tokens and loss", repr(error))
        return
    batch, length = run.global_batch_size, run.sequence_length
    expected = [(step, step * batch, step * batch * length) for step in range(1, run.steps + 1)]
    wrong = next((i for i, pair in enumerate(zip(counts, expected, strict=False)) if pair[0] != pair[1]), None)
    at.equal("E9", "steps", len(expected), len(counts))
    at.true("E9", wrong is None, "step, samples and tokens in order", f"other numbers in line {(wrong or 0) + 1}")
    at.true("schema", finite, "finite losses", "a loss that is NaN or infinite")
    if all("targets_of" in line for line in lines):
        targets: Counter[str] = Counter()
        for line in lines:
            targets.update(line["targets_of"])
        planned = {source: _units(run, delivered) for source, delivered in run.delivered.items() if delivered.tokens}
        at.equal("E9", "targets trained on by source", planned, dict(targets))
        if run.loss_weights is not None:
            _check_weighted(lines, run.loss_weights, at)


def _check_weighted(lines: Sequence[Mapping[str, Any]], weights: Mapping[str, str], checks: Checks) -> None:
    """Check E9: the loss of each step is the mean of its sources' losses, weighted by targets and declared weights."""
    number = {source: float(Fraction(weight)) for source, weight in weights.items()}
    for line in lines:
        counts = {source: number[source] * targets for source, targets in line["targets_of"].items()}
        mean = sum(counts[source] * line["loss_of"][source] for source in counts) / sum(counts.values())
        if not math.isclose(mean, line["loss"], rel_tol=FLOAT32_ERROR):
            checks.true("E9", False, f"a loss of {mean} in step {line['step']} with these weights", str(line["loss"]))
            return
    checks.true("E9", True, "losses with the declared weights", "")


def _units(run: RunRecord, delivered: DeliveredRecord) -> int | None:
    """Return what the loss counted of a source: tokens, pairs, or rated answers."""
    trained = run.post_training
    if run.masks.pairs or (trained is not None and trained.reward is not None):
        return delivered.examples
    return delivered.tokens if delivered.targets is None else delivered.targets


def check_scores(root: Path, path: Path, run: RunRecord, manifest: Manifest, checks: Checks) -> None:
    """Check E10: one row per held-out document of every source, and sums that give the record's losses."""
    at = checks.at(file=str(path))
    try:
        masked = set(pq.read_schema(path).names) & {*OF_ANSWERS, *OF_PREFERENCES}
        rated = [name for name in pq.read_schema(path).names if name.startswith(OF_RATINGS)]
        scores = pq.read_table(path, columns=["source", "document", *COLUMNS, "nll_nats", *sorted(masked), *rated])
    except (pa.ArrowInvalid, KeyError) as error:
        at.true("schema", False, "per-document scores", str(error).splitlines()[0])
        return
    at.equal("E10", "as scored sources", sorted(run.heldout), sorted(pc.unique(scores["source"]).to_pylist()))
    for source, score in run.heldout.items():
        rows = scores.filter(pc.equal(scores["source"], source))
        here = at.at(source=source)
        _check_source(rows, score, here)
        if source in manifest.sources:
            _check_rows(root, rows, manifest.sources[source].heldout, here)


def _check_source(rows: pa.Table, score: HeldoutScore, checks: Checks) -> None:
    checks.equal("E10", "documents", score.documents, rows.num_rows)
    if score.pairs is not None:
        _check_pairs(rows, score.pairs, checks)
        rows = rows.take(pa.array(np.arange(0, rows.num_rows, 2)))
    for name, attribute in (score.attributes or {}).items():
        _check_attribute(rows, name, attribute, checks)
    _check_divergence(rows, score if score.pairs is None else score.pairs, checks)
    masked = OF_ANSWERS[0] in rows.column_names and not rows[OF_ANSWERS[0]].null_count
    tokens, text_bytes = OF_ANSWERS if masked else ("tokens", "text_bytes")
    if score.bits_per_byte is not None:
        checks.equal("E10", "scored targets", score.tokens, pc.sum(rows[tokens]).as_py() or 0)
    checks.equal("E10", "bytes", score.bytes, pc.sum(rows[text_bytes]).as_py() or 0)
    nll = rows["nll_nats"].to_numpy()
    loss = math.fsum(nll) / max(score.tokens, 1)
    same = math.isclose(loss, score.loss, rel_tol=RELATIVE_ERROR)
    checks.true("E10", same, f"{loss} nats per token from the documents' losses", str(score.loss))
    checks.true("E10", bool((nll >= 0).all()), "no negative losses", "negative losses")


def _check_attribute(rows: pa.Table, name: str, stated: AttributeScore, checks: Checks) -> None:
    """Check the errors of one attribute, from the given and the predicted ratings."""
    pairs = list(zip(rows[f"attribute.{name}"].to_pylist(), rows[f"predicted.{name}"].to_pylist(), strict=True))
    errors = [predicted - rated for rated, predicted in pairs if rated is not None and not math.isnan(rated)]
    checks.equal("E10", f"answers rated by {name}", len(errors), stated.answers)
    found = {
        "mean_squared_error": math.fsum(error * error for error in errors) / max(len(errors), 1),
        "mean_absolute_error": math.fsum(map(abs, errors)) / max(len(errors), 1),
    }
    if stated.calibration_slope is not None:
        known = [(predicted, rated) for rated, predicted in pairs if rated is not None and not math.isnan(rated)]
        slope = statistics.linear_regression(*zip(*known, strict=True)).slope
        same = math.isclose(slope, stated.calibration_slope, rel_tol=SLOPE_ERROR, abs_tol=SLOPE_ERROR)
        checks.true("E10", same, f"calibration_slope of {name} = {slope}", str(stated.calibration_slope))
    for key, value in found.items():
        same = math.isclose(value, getattr(stated, key), rel_tol=1e-9, abs_tol=1e-12)
        checks.true("E10", same, f"{key} of {name} = {value}", str(getattr(stated, key)))


def _check_pairs(rows: pa.Table, stated: PairScore, checks: Checks) -> None:
    """Check accuracy, margin and calibration of pairs, from the rewards of both answers."""
    reward = rows["reward"].to_pylist()
    differences = [one - other for one, other in zip(reward[::2], reward[1::2], strict=True)]
    checks.equal("E10", "pairs", len(differences), stated.pairs)
    right = math.fsum(1.0 if one > 0 else 0.5 if one == 0 else 0.0 for one in differences)
    found = {"pair_accuracy": right / len(differences), "margin": math.fsum(differences) / len(differences)}
    if stated.calibration_error is not None:
        found["calibration_error"] = _calibration_error(differences)
        listed = [(one.pairs, abs(one.accuracy - one.confidence)) for one in stated.reliability or ()]
        checks.equal("E10", "pairs in the bins of confidence", stated.pairs, sum(pairs for pairs, _ in listed))
        found_in_bins = sum(pairs * gap for pairs, gap in listed) / max(stated.pairs, 1)
        same = math.isclose(found_in_bins, stated.calibration_error, rel_tol=1e-9, abs_tol=1e-12)
        checks.true("E10", same, f"calibration_error of {found_in_bins} from its bins", str(stated.calibration_error))
    for name, value in found.items():
        same = math.isclose(value, getattr(stated, name), rel_tol=1e-9, abs_tol=1e-12)
        checks.true("E10", same, f"{name} of {value} from the rewards", str(getattr(stated, name)))


def _check_divergence(rows: pa.Table, stated: HeldoutScore | PairScore, checks: Checks) -> None:
    """Check the divergence from the start, of rows whose tokens count, and its interval over prompts."""
    if stated.kl is None:
        return
    sums: dict[str, NDArray[np.float64]] = {}
    columns = ("prompt_xxh128", "kl_nats", OF_ANSWERS[0])
    for prompt, nats, tokens in zip(*(rows[name].to_pylist() for name in columns), strict=True):
        sums[prompt] = sums.get(prompt, np.zeros(2)) + np.array([nats, tokens])
    of_prompts = np.array([sums[prompt] for prompt in sorted(sums)])
    found = float(of_prompts[:, 0].sum() / of_prompts[:, 1].sum())
    same = math.isclose(found, stated.kl, rel_tol=1e-9, abs_tol=1e-12)
    checks.true("E10", same, f"kl of {found} from the answers", str(stated.kl))
    if stated.kl_interval is not None:
        drawn = np.random.default_rng(derive_seed("kl")).integers(0, len(sums), (1000, len(sums)))
        replicates = of_prompts[drawn].sum(1)
        ends = np.quantile(replicates[:, 0] / replicates[:, 1], [0.025, 0.975])
        same = np.allclose(ends, stated.kl_interval, rtol=1e-9, atol=1e-12)
        checks.true("E10", bool(same), f"kl_interval of {ends.tolist()} from its prompts", str(stated.kl_interval))


def _calibration_error(differences: Sequence[float]) -> float:
    """Sum |hits - confidence| over ten equal bins of the confidence, from 0.5 to 1, per pair."""
    gaps: dict[int, list[float]] = {}
    for one in differences:
        confidence = 1 / (1 + math.exp(-abs(one)))
        right = 1.0 if one > 0 else 0.5 if one == 0 else 0.0
        gaps.setdefault(min(int((confidence - 0.5) * 20), 9), []).append(right - confidence)
    return sum(abs(math.fsum(part)) for part in gaps.values()) / len(differences)


def _check_rows(root: Path, rows: pa.Table, heldout: HeldoutRecord, checks: Checks) -> None:
    """Check that the rows are the held-out documents in order; `document` counts from 0."""
    numbers = rows["document"].to_numpy()
    in_order = np.array_equal(numbers, np.arange(len(numbers)))
    checks.true("E10", in_order, "documents numbered from 0 in order", "other numbers")
    paths = [check_parquet(root, part.provenance, part.provenance_sha256, checks) for part in heldout.datasets]
    intact = [path for path in paths if path is not None]
    if len(intact) < len(paths) or not intact:
        return
    provenance = pa.concat_tables(pq.read_table(path, columns=COLUMNS) for path in intact)
    for name in COLUMNS:
        same = rows[name].to_pylist() == provenance[name].to_pylist()
        checks.true("E10", same, f"{name} of each held-out document as in the provenance", "other values")
