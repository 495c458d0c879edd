"""Audit of a run's scores on external evaluation sets and tasks: statements under `external/`, each with its losses.

A statement is not part of the run's record, which is written before it. It ends in its own checksum, is named by a
hash of what was scored, and has the checksum of a Parquet file with the loss of every document or the scores of every
question. Bits per byte and accuracies are computed again from it, with no code that scored. Not checked: the texts,
whose files are outside the store, the harness's own metrics, and whether a set is lossless.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixproof.ledger.fingerprint import sha256_of
from mixproof.tokenize.audit.checksums import check_file
from mixproof.tokenize.audit.receipts import unsealed
from mixproof.tokenize.audit.report import Checks
from mixproof.train.record import EVALUATION_PROTOCOL, EXTERNAL, EXTERNAL_VERSION

FIELDS = {"losses_sha256", "of", "run", "scores"}
RELATIVE_ERROR = 1e-12
"""Tolerance for float64 sums, whose last digits depend on the order of addition."""


def check_external(root: Path, key: str, checks: Checks) -> None:
    """Check every statement of the run `key` in the store at `root`, and that all losses have a statement."""
    folder = root / "train" / key / EXTERNAL
    for path in sorted({path.with_suffix(".json") for path in folder.glob("*")}):
        _check_statement(root, key, path, checks.at(file=str(path), stage="external"))


def _check_statement(root: Path, key: str, path: Path, checks: Checks) -> None:
    try:
        stated = unsealed(path.read_bytes())
    except OSError as error:
        checks.true("checksum", False, "the statement of the losses beside it", f"unreadable: {error.strerror}")
        return
    checks.true("checksum", stated is not None, "a statement that ends in its checksum", "another checksum")
    if stated is None or not checks.equal("schema", "as fields", sorted(FIELDS), sorted(stated)):
        return
    checks.equal("schema", "as run", key, stated["run"])
    checks.true("schema", path.stem in _names(stated["of"]), "a name that is the hash of what was scored", path.stem)
    losses = check_file(root, f"train/{key}/{EXTERNAL}/{path.stem}.parquet", stated["losses_sha256"], checks)
    if losses is None:
        return
    try:
        rows = pq.read_table(losses, partitioning=None)
        if "tasks" in stated["of"] or "questions" in stated["of"]:
            _check_tasks(rows, stated["scores"], checks)
        else:
            _check_set(rows, stated["scores"], checks)
    except (pa.ArrowException, KeyError) as error:
        checks.at(file=str(losses)).true("schema", False, "a table of losses", str(error).splitlines()[0])


def _names(scored_on: Mapping[str, Any]) -> set[str]:
    """Return the valid names of a statement; statements of earlier versions or protocols are kept but not used."""
    numbers = product(range(1, EXTERNAL_VERSION + 1), range(1, EVALUATION_PROTOCOL + 1))
    try:
        return {sha256_of({"version": version, "protocol": protocol, **scored_on}) for version, protocol in numbers}
    except TypeError:  # it has a float, which no identity has
        return set()


def _check_set(rows: pa.Table, scores: Mapping[str, Any], checks: Checks) -> None:
    checks.equal("E10", "documents", scores["documents"], rows.num_rows)
    checks.equal("E10", "scored targets", scores["tokens"], pc.sum(rows["tokens"]).as_py())
    checks.equal("E10", "bytes", scores["bytes"], pc.sum(rows["text_bytes"]).as_py())
    nats = math.fsum(rows["nll_nats"].to_pylist())
    _check_bits(nats, scores["bytes"], scores["bits_per_byte"], checks)
    loss = nats / scores["tokens"]
    same = math.isclose(loss, scores["loss"], rel_tol=RELATIVE_ERROR)
    checks.true("E10", same, f"{loss} nats per token from the documents' losses", str(scores["loss"]))


def _check_tasks(rows: pa.Table, scores: Mapping[str, Mapping[str, Any]], checks: Checks) -> None:
    checks.equal("E10", "as scored tasks", sorted(scores), sorted(pc.unique(rows["task"]).to_pylist()))
    for name, score in scores.items():
        answers = rows.filter(pc.equal(rows["task"], name))
        checks.equal("E10", f"questions of {name}", score["questions"], answers.num_rows)
        nats = math.fsum(answers["gold_nats"].to_pylist())
        _check_bits(nats, sum(answers["gold_bytes"].to_pylist()), score["bits_per_byte"], checks)
        for key, column in (("accuracy", "correct"), ("soft_accuracy", "gold_share")):
            if key in score:
                mean = math.fsum(answers[column].to_pylist()) / answers.num_rows
                same = math.isclose(mean, score[key], rel_tol=RELATIVE_ERROR)
                checks.true("E10", same, f"{key} {mean} of {name} from its questions", str(score[key]))


def _check_bits(nats: float, text_bytes: int, stated: float, checks: Checks) -> None:
    bits = nats / math.log(2) / text_bytes
    same = math.isclose(bits, stated, rel_tol=RELATIVE_ERROR)
    checks.true("E10", same, f"{bits} bits per byte from the losses", str(stated))
