"""Every value of every record: another one, none, or a second one under the same key is caught, and its file named.

Of each JSON file, each line of a JSON-lines file and each column of a Parquet file of a store, every value is edited, a
value of each of many files at a time where they are checked independently of each other. `make fuzz` edits all of them,
other runs of the tests a few of each kind.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from judges import another, judged_by, named_by, places

TRIES = int(os.environ.get("MIXPROOF_FUZZ_TRIES", "100"))
ALL_FROM = 2000
"""Tries from which no value is left out."""
FEW = 3
"""Values of each kind of file else."""
ALONE = {"files.json", "identity.json", "index.json", "manifest.json", "receipts.parquet", "run.json", "shards.json"}
"""Records that lead to other files: damaged together with them, they would hide them."""
SECOND = "\ue000"
"""Marks the second of two equal keys until they are written."""
Edit = Callable[[], bytes]
"""Gives the edited file."""
STYLES: tuple[Callable[[Any], str], ...] = (
    lambda value: json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n",
    partial(json.dumps, separators=(",", ":"), ensure_ascii=False),
    partial(json.dumps, ensure_ascii=False),
)
"""How records are written; what is edited keeps the style."""


def edited_values(data: bytes) -> Iterator[Edit]:
    """A JSON file once for each value and way of editing it."""
    for number, (holder, _) in enumerate(places(json.loads(data))):
        for edit in (_changed, _deleted, *([_doubled] if isinstance(holder, dict) else [])):
            yield partial(_edited, data, number, edit)


def _edited(data: bytes, number: int, edit: Callable[[Any, Any, Any], None]) -> bytes:
    value = json.loads(data)
    write = next((style for style in STYLES if style(value).encode() == data), STYLES[-1])
    holder, name = list(places(value))[number]
    edit(holder, name, another(holder[name], np.random.default_rng(number)))
    return write(value).replace(SECOND, "").encode()


def _changed(holder: Any, name: Any, value: Any) -> None:  # noqa: ANN401  JSON
    holder[name] = value


def _deleted(holder: Any, name: Any, _: Any) -> None:  # noqa: ANN401  JSON
    del holder[name]


def _doubled(holder: dict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401  JSON
    following = {key: holder.pop(key) for key in list(holder)}
    for key, own in following.items():
        holder[key] = own
        if key == name:
            holder[f"{key}{SECOND}"] = value


def edited_lines(data: bytes) -> Iterator[Edit]:
    """A file of JSON lines once for each value of each line and way of editing it."""
    lines = data.splitlines()
    for number, line in enumerate(lines):
        for edit in edited_values(line):
            yield partial(_with_line, lines, number, edit)


def _with_line(lines: list[bytes], number: int, edit: Edit) -> bytes:
    return b"".join(line + b"\n" for line in [*lines[:number], edit(), *lines[number + 1 :]])


def edited_columns(data: bytes) -> Iterator[Edit]:
    """A Parquet file with another value in the first, then in the last row of each column, and without each column."""
    file = pq.read_metadata(io.BytesIO(data))
    for name in pq.read_schema(io.BytesIO(data)).names:
        for row in sorted({0, file.num_rows - 1}) if file.num_rows else ():
            yield partial(_with_cell, data, name, row)
        yield partial(_without_column, data, name)


def _with_cell(data: bytes, name: str, row: int) -> bytes:
    table = pq.read_table(io.BytesIO(data))
    field, cells = table.schema.field(name), table[name].to_pylist()
    cells[row] = "x" if cells[row] is None else another(cells[row], np.random.default_rng(row))
    place = table.schema.get_field_index(name)
    return _written(table.set_column(place, field, pa.array(cells, field.type)))


def _without_column(data: bytes, name: str) -> bytes:
    return _written(pq.read_table(io.BytesIO(data)).drop_columns([name]))


def _written(table: pa.Table) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd")
    return target.getvalue()


EDITS: dict[str, Callable[[bytes], Iterator[Edit]]] = {
    ".json": edited_values,
    ".jsonl": edited_lines,
    ".parquet": edited_columns,
}


def groups_of(victim: Any) -> dict[tuple[str, str], list[Path]]:  # noqa: ANN401  the Victim of the conftest
    """The files that can be edited at the same time, by their judge and what they have in common."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in victim.files:
        judge = "audit of the run" if path.name == "runs.parquet" else judged_by(victim, path)
        if path.suffix in EDITS and judge != "nobody":
            kind = path.name if path.name in ALONE else path.suffix
            found.setdefault((judge, kind), []).append(path)
    return found


def some_of(edits: list[Edit]) -> list[Edit]:
    """All of them, or as many as a short run of the tests has time for."""
    return edits if ALL_FROM <= TRIES else edits[:: max(1, len(edits) // FEW)][:FEW]


def test_every_value_of_every_record_is_held_to_something(victim: Any) -> None:  # noqa: ANN401  the Victim of the conftest
    escaped: list[tuple[str, str, int]] = []
    groups = groups_of(victim)
    assert {kind for _, kind in groups} == {*ALONE, *EDITS}
    for (judge, _), paths in groups.items():
        edits = {path: some_of(list(EDITS[path.suffix](path.read_bytes()))) for path in paths}
        for number in range(max(map(len, edits.values()))):
            changes: dict[Path, bytes | None] = {
                path: own[number]() for path, own in edits.items() if number < len(own)
            }
            with victim.damaged(changes):
                found = named_by(victim, judge)
            escaped += [(judge, str(path), number) for path in changes if str(path) not in found]
    if escaped:
        pytest.fail("\n".join(map(str, escaped)))
