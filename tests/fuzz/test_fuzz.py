"""Fuzz: any damage to any file of a store is caught, and the file that was damaged is named.

Each try damages one file of a real build, draw or run (two, where files are swapped): a bit flips, bytes are cut off or
added, the file is gone, another one of its kind stands in its place, one value of its JSON, one cell of its Parquet
or one element of its array is another. What a manifest or a run's record names is the business of the audit; what
lies between raw files and manifest is that of `store verify`. A try is known by its number alone, which a failure
names. `make fuzz` makes 2,000 of them; MIXPROOF_FUZZ_TRIES asks for another number.
"""

from __future__ import annotations

import copy
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.random import Generator

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import canonical_json
from mixproof.ledger.verify import verify_store
from mixproof.tokenize.audit import audit_build
from mixproof.train.audit_run import audit_run

TRIES = int(os.environ.get("MIXPROOF_FUZZ_TRIES", "100"))
NO_INFORMATION = {
    "builds/*/circumstances.json": "when and where a build was made: no part of what it is",
    "builds/by-spec/*.json": "a shortcut: where it does not hold, the spec counts as not built and is built again",
    "train/*/circumstances.json": "when and where a run was trained: no part of what it is",
    "train/*/throughput.jsonl": "how fast a run was trained: no part of what it is",
    "train/*/tensorboard/*": "curves of the metrics for TensorBoard, drawn from them",
    "train/*/attempt.json": "who may write while a run is trained; read by nobody afterwards",
}
"""Places whose bytes carry nothing that an audit could hold them to, and why."""
SHARE_OF_RECORDS = 0.2
"""Tries at the manifest and the run's record, which hold most figures and would else be one file in a hundred."""
Damage = Callable[[Path, list[Path], Generator], dict[Path, bytes | None] | None]
"""From a file, all files and a source of chance to the bytes that files get; None where it does not apply."""


def flipped(path: Path, _: list[Path], chance: Generator) -> dict[Path, bytes | None] | None:
    """One bit."""
    data = bytearray(path.read_bytes())
    if not data:
        return None
    data[chance.integers(len(data))] ^= 1 << int(chance.integers(8))
    return {path: bytes(data)}


def truncated(path: Path, _: list[Path], chance: Generator) -> dict[Path, bytes | None] | None:
    """The end is missing, from anywhere on."""
    data = path.read_bytes()
    return {path: data[: chance.integers(len(data))]} if data else None


def extended(path: Path, _: list[Path], chance: Generator) -> dict[Path, bytes | None]:
    """A few bytes too many."""
    return {path: path.read_bytes() + chance.bytes(int(chance.integers(1, 9)))}


def deleted(path: Path, _: list[Path], __: Generator) -> dict[Path, bytes | None]:
    """The file is gone."""
    return {path: None}


def swapped(path: Path, files: list[Path], chance: Generator) -> dict[Path, bytes | None] | None:
    """It and another one stand in each other's place: two parts, two receipts."""
    other = _other(path, [p for p in files if p.name == path.name or p.suffix != ".json"], chance)
    return None if other is None else {path: other.read_bytes(), other: path.read_bytes()}


def stale(path: Path, files: list[Path], chance: Generator) -> dict[Path, bytes | None] | None:
    """Another one of its kind stands in its place, as an index or a cache of an earlier dataset would."""
    other = _other(path, files, chance)
    return None if other is None else {path: other.read_bytes()}


def _other(path: Path, files: list[Path], chance: Generator) -> Path | None:
    """Another file with the same ending and other bytes."""
    data = path.read_bytes()
    others = [p for p in files if p.suffix == path.suffix and p.stat().st_size and p.read_bytes() != data]
    return others[chance.integers(len(others))] if others else None


def edited_json(path: Path, _: list[Path], chance: Generator) -> dict[Path, bytes | None] | None:
    """One name, number, checksum or list of a record is another; the form is as it was."""
    if path.suffix != ".json":
        return None
    raw = path.read_bytes()
    value = json.loads(raw)
    places = list(_places(value))
    if not places:
        return None
    holder, name = places[chance.integers(len(places))]
    holder[name] = _another(holder[name], chance)
    if isinstance(holder, dict) and chance.random() < 0.15:
        holder[f"{name}x"] = holder.pop(name)
    indented = (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()
    return {path: indented if raw.startswith(b"{\n") else canonical_json(_exact(value))}


def edited_table(path: Path, _: list[Path], chance: Generator) -> dict[Path, bytes | None] | None:
    """One cell of a Parquet is another: provenance, texts, inputs, scores."""
    if path.suffix != ".parquet":
        return None
    table = pq.read_table(path, partitioning=None)
    columns = [name for name in table.schema.names if table.num_rows]
    if not columns:
        return None
    name = columns[chance.integers(len(columns))]
    cells = table[name].to_pylist()
    row = int(chance.integers(len(cells)))
    cells[row] = "x" if cells[row] is None else _another(cells[row], chance)
    place = table.schema.get_field_index(name)
    table = table.set_column(place, table.schema.field(name), pa.array(cells, table.schema.field(name).type))
    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd")
    return {path: target.getvalue()}


def edited_array(path: Path, _: list[Path], chance: Generator) -> dict[Path, bytes | None] | None:
    """One element of an array is another: an index, a bitmap."""
    if path.suffix != ".npy":
        return None
    array = np.load(path)
    if not array.size:
        return None
    array.reshape(-1).view(np.uint8)[chance.integers(array.nbytes)] ^= 1
    target = io.BytesIO()
    np.save(target, array)
    return {path: target.getvalue()}


DAMAGES: tuple[Damage, ...] = (
    flipped,
    truncated,
    extended,
    deleted,
    swapped,
    stale,
    edited_json,
    edited_table,
    edited_array,
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401  JSON
    """Every place of a JSON value at which another value could stand, by holder and name."""
    names = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in list(names):
        yield value, name
        yield from _places(value[name])


def _another(value: Any, chance: Generator) -> Any:  # noqa: ANN401  JSON
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


def _exact(value: Any) -> Any:  # noqa: ANN401  JSON
    """JSON without floats, as canonical JSON wants it."""
    if isinstance(value, dict):
        return {name: _exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return int(value) if isinstance(value, float) else value


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


def test_the_store_is_clean_before_it_is_damaged(victim: Any) -> None:  # noqa: ANN401  the Victim of the conftest
    for judge in ("audit of the build", "audit of the run", "store verify"):
        assert named_by(victim, judge) == set(), judge


def test_every_file_of_the_store_has_a_judge(victim: Any) -> None:  # noqa: ANN401  the Victim of the conftest
    judges = Counter(judged_by(victim, path) for path in victim.files)
    assert set(judges) == {"audit of the build", "audit of the run", "store verify", "nobody"}
    stages = {path.relative_to(victim.store.root).parts[0] for path in victim.files}
    assert {"builds", "draw", "encode", "heldout", "read", "tokenizer", "tokens", "train"} <= stages


def test_any_damage_is_caught_and_the_damaged_file_named(victim: Any) -> None:  # noqa: ANN401  the Victim of the conftest
    files = victim.files
    judge_of = {path: judged_by(victim, path) for path in files}
    judged = [path for path in files if judge_of[path] != "nobody"]
    records = [victim.manifest_path, victim.run_path]
    escaped: list[tuple[object, ...]] = []
    caught: Counter[tuple[str, str]] = Counter()
    number = 0
    while sum(caught.values()) + len(escaped) < TRIES:
        number += 1
        chance = np.random.default_rng(number)
        among = records if chance.random() < SHARE_OF_RECORDS else judged
        path = among[chance.integers(len(among))]
        damage = DAMAGES[chance.integers(len(DAMAGES))]
        changes = damage(path, files, chance)
        if changes is None or all(data == changed.read_bytes() for changed, data in changes.items()):
            continue
        with victim.damaged(changes):
            for changed in changes:
                judge = judge_of[changed]
                if judge == "nobody":
                    continue
                try:
                    found = named_by(victim, judge)
                except Exception as error:  # noqa: BLE001  a fault of the auditor is an escape like any other
                    found = {repr(error)}
                if str(changed) not in found:
                    escaped.append((number, damage.__name__, judge, str(changed), sorted(found)))
                caught[judge, damage.__name__] += str(changed) in found
    if escaped:
        pytest.fail("\n".join(map(str, escaped)))
    assert {damage for _, damage in caught} == {damage.__name__ for damage in DAMAGES}
