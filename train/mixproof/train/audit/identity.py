"""Audit of a run's identity: what the record states is what the run's folder is named after.

A run's folder is named by the SHA-256 of `identity.json` beside the record, so that file cannot be changed without
its folder. Every fact that stands in both is compared, names and recipe as well, so that no statement of a record
can be edited unnoticed. A fact that the identity has and the record has not (its stage's version) is bound by the
name alone; a field of the record that the identity has not (what came out) is the other checks' business, and
`spec_name` is a label that nothing binds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from mixproof.tokenize.audit.checksums import check_file
from mixproof.tokenize.audit.report import Checks
from mixproof.train.record import IDENTITY, RunRecord

OF_THE_RECIPE = ("warmup_steps", "decay_steps")
"""Stand in the identity's budget and in the record's recipe."""
OF_THE_BUDGET = ("tokens_declared", "steps", "global_batch_size", "sequence_length", "tokens_planned")
"""Stand in the identity's budget and at the top of the record."""


def check_identity(root: Path, key: str, run: RunRecord, checks: Checks) -> None:
    """Compare a record with the identity that its folder is named after.

    Args:
        root: the store's folder.
        key: the folder's name.
        run: the record in it.
        checks: where the outcome goes.
    """
    path = check_file(root, f"train/{key}/{IDENTITY}", key, checks)
    if path is None:
        return
    at = checks.at(file=str(path))
    try:
        identity = json.loads(path.read_bytes())
        expected = dict(_stated(identity["config"], identity["inputs"]))
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        at.true("schema", False, "a run's stage, version, config and inputs", repr(error))
        return
    at.equal("schema", "as stage", "train", identity.get("stage"))
    recorded = run.model_dump(mode="json", by_alias=True)
    for keys, value in sorted(expected.items()):
        name, found = ".".join(keys), _find(recorded, keys)
        at.true("schema", found == value, f"{name} = {value}, by which the run is named", f"{found} in the record")


def _stated(config: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What the record must say, by the path of its keys."""
    rest = {name: value for name, value in config.items() if name not in ("budget", "recipe", "evaluation")}
    for name, value in rest.items():
        if name in RunRecord.model_fields:
            yield (name,), value
    recipe, budget = config["recipe"], config["budget"]
    for name, value in recipe.items():
        yield ("recipe", name), " ".join(value) if isinstance(value, list) else value
    for name in OF_THE_RECIPE:
        yield ("recipe", name), str(budget[name])
    for name in OF_THE_BUDGET:
        yield (name,), budget[name]
    yield ("consumed_samples",), budget["samples"]
    yield ("phases",), budget["phases"]
    for source, share in budget["declared"].items():
        yield ("delivered", source, "declared"), float(Fraction(share))
    yield ("evaluation", "protocol"), config["evaluation"]
    for name, value in zip(("sha256", "vocab_size", "eod_id"), inputs["tokenizer"], strict=True):
        yield ("tokenizer", name), value
    yield ("draws",), inputs["draws"]
    for source, parts in inputs["heldout"].items():
        digest = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
        yield ("heldout", source, "datasets_sha256"), digest


def _find(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:  # noqa: ANN401  JSON
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
