"""Who finds damage in a store, whom it is the business of, and values that are not those that stand there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.random import Generator

from mixproof.ledger.errors import RequestError
from mixproof.ledger.maintenance.verify import verify_store
from mixproof.tokenize.audit import audit_build
from mixproof.train.audit.run import audit_run

NO_INFORMATION = {
    "builds/*/circumstances.json": "when and where a build was made: no part of what it is",
    "builds/by-spec/*.json": "a shortcut: where it does not hold, the spec counts as not built and is built again",
    "train/*/circumstances.json": "when and where a run was trained: no part of what it is",
    "train/*/throughput.jsonl": "how fast a run was trained: no part of what it is",
    "train/*/tensorboard/*": "curves of the metrics for TensorBoard, drawn from them",
    "train/*/attempt.json": "who may write while a run is trained; read by nobody afterwards",
    "runs.parquet": "made from the records, which count; what it says of a run is held to them value by value",
}
"""Places whose bytes carry nothing that an audit could hold them to, and why."""


def judged_by(victim: Any, path: Path) -> str:  # noqa: ANN401  the Victim of the conftest
    """Who has to catch damage at a place: the build's audit, the run's audit, `store verify`, or nobody."""
    store = victim.store
    if any(path.relative_to(store.root).match(pattern) for pattern in NO_INFORMATION):
        return "nobody"
    stage, key, *_ = path.relative_to(store.root).parts
    if stage in ("train", "draw"):
        return "audit of the run"
    manifest = victim.manifest_path.read_text()
    return "audit of the build" if stage == "builds" or f"{stage}/{key}/" in manifest else "store verify"


def named_by(victim: Any, judge: str) -> set[str]:  # noqa: ANN401  the Victim of the conftest
    """Files that a judge finds wrong."""
    if judge == "store verify":
        verified = verify_store(victim.store)
        return {*(wrong.file for wrong in verified.wrong), *verified.unfinished}
    try:
        audited = audit_build(victim.manifest_path) if judge == "audit of the build" else audit_run(victim.run_path)
    except RequestError as error:
        return {str(error).partition(":")[0]}
    return {failure.file for failure in audited.failures}


def places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401  JSON
    """Every place of a JSON value at which another value could stand, by holder and name."""
    names = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in list(names):
        yield value, name
        yield from places(value[name])


def another(value: Any, chance: Generator) -> Any:  # noqa: ANN401  JSON
    """A value of the same type that is not this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + int(chance.choice([-1, 1])) if value else 1
    if isinstance(value, float):
        return value + 0.5
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:] if value else b"x"
    if isinstance(value, str):
        place = int(chance.integers(len(value))) if value else 0
        return value[:place] + ("0" if value[place : place + 1] != "0" else "1") + value[place + 1 :]
    if isinstance(value, list):
        return value[:-1] if value else [0]
    if isinstance(value, dict):
        return dict(list(copy.deepcopy(value).items())[:-1]) if value else {"x": 0}
    return 0
