"""Audit of a run's identity: the record agrees with the identity whose hash names the run's folder.

The folder's name is the SHA-256 of `identity.json` beside the record, so the identity cannot change without the name.
Every fact in both is compared, including names and recipe, so an edited record is noticed. Facts that only the identity
has (its stage's version) are bound by the folder's name; fields that only the record has (the results) are covered by
the other checks; `spec_name` is a label that only the receipt's checksum binds.
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
"""Keys in the identity's budget and in the record's recipe."""
OF_THE_BUDGET = ("tokens_declared", "steps", "global_batch_size", "sequence_length", "tokens_planned")
"""Keys in the identity's budget and at the top level of the record."""


def check_identity(root: Path, key: str, run: RunRecord, checks: Checks) -> None:
    """Compare a record with the identity that names its folder.

    Args:
        root: the store's folder.
        key: the name of the run's folder.
        run: the record in it.
        checks: receives the results.
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
        at.true("schema", found == value, f"{name} = {value}, as in the run's identity", f"{found} in the record")


def _stated(config: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what the record must state: the path of keys in it, and the value."""
    for name, value in config.items():
        if name not in ("budget", "recipe", "evaluation") and name in RunRecord.model_fields:
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
    for name, value in zip(("sha256", "vocab_size", "eod_id", "bos_id"), inputs["tokenizer"], strict=False):
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
