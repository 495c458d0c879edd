"""Fuzz: any damage to any file of a store is caught, and the file that was damaged is named.

Each try damages one file of a real build, draw or run (two, where files are swapped): a bit flips, bytes are cut off or
added, the file is gone, another one of its kind stands in its place, one value of its JSON, one cell of its Parquet
or one element of its array is another. What a manifest or a run's record names is the business of the audit; what
lies between raw files and manifest is that of `store verify` (`tests/judges.py`). A try is known by its number alone,
which a failure names. `make fuzz` makes 2,000 of them; MIXPROOF_FUZZ_TRIES asks for another number.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.random import Generator

from judges import another, judged_by, named_by, places
from mixproof.ledger.fingerprint import canonical_json

TRIES = int(os.environ.get("MIXPROOF_FUZZ_TRIES", "100"))
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
    found = list(places(value))
    if not found:
        return None
    holder, name = found[chance.integers(len(found))]
    holder[name] = another(holder[name], chance)
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
    cells[row] = "x" if cells[row] is None else another(cells[row], chance)
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


def _exact(value: Any) -> Any:  # noqa: ANN401  JSON
    """JSON without floats, as canonical JSON wants it."""
    if isinstance(value, dict):
        return {name: _exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return int(value) if isinstance(value, float) else value


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
