"""How to reproduce the comparison: commands and versions; and the runs that do not count, with the reason."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from mixproof.train.model.layer_history import read_layer_history

from .evidence import SHORT, Evidence
from .table import Cell, Column, Table, columns, proof


def commands(evidence: Evidence) -> list[str]:
    """Commands that build, audit, train and compare; existing work in the store is reused."""
    across = f" --across {evidence.across}" if evidence.across else ""
    lines = [f"pip install mixproof[train]=={evidence.mixproof}"]
    specs, stores = dict[str, None](), dict[str, None]()
    for spec in evidence.specs:
        path, store = shlex.quote(spec.statement.path), f"--store {shlex.quote(spec.store)}"
        specs[path] = stores[store] = None
        lines += [f"mixproof {command} {path} {store}" for command in ("build", "audit", "train")]
    lines.append(f"mixproof compare {' '.join(specs)} {' '.join(stores)}{across} --html report.html")
    return lines


def versions_table(evidence: Evidence) -> Table:
    """Versions of the software that made the builds and runs, with machines and backends."""
    found: dict[str, set[str]] = {}
    for circumstances in [
        *(build.circumstances for build in evidence.builds),
        *(run.circumstances for run in evidence.runs),
    ]:
        for name, value in _stated(circumstances):
            found.setdefault(name, set()).add(value)
    for build in evidence.builds:
        found.setdefault("mixproof", set()).add(build.manifest.mixproof)
    rows = tuple((Cell(name), Cell(", ".join(sorted(values)))) for name, values in sorted(found.items()))
    return Table(
        "versions-table",
        "Versions, machines and engines",
        (Column("name", number=False, head=True), Column("value", number=False)),
        rows,
    )


def _stated(circumstances: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values in the circumstances of a build or run."""
    stated = [(name, str(version)) for name, version in circumstances.get("versions", {}).items()]
    if "device" in circumstances:
        stated.append(("device", str(circumstances["device"])))
    if (layers := read_layer_history(circumstances.get("layers"))) is not None:
        stated.append(("layer backend", layers.describe()))
    machine = circumstances.get("machine")
    if machine:
        system = machine.get("system", machine) if isinstance(machine, Mapping) else machine
        stated.append(("machine", str(system)))
    stated += [("tokenizer engine", str(engine)) for engine in circumstances.get("engines", {})]
    return stated


def failed_table(evidence: Evidence) -> Table:
    """Runs that do not count, with the reason."""
    rows = []
    for failed in evidence.comparison.failed:
        run = evidence.run(failed.run)
        reason = Cell(failed.reason, failed.reason, None if run is None else proof(run.anchor, "reason"))
        key = Cell(failed.run[:SHORT], failed.run, None if run is None else run.anchor)
        rows.append((Cell(failed.mixture), Cell(failed.proxy), Cell(str(failed.seed), failed.seed), reason, key))
    for missing in evidence.missing:
        seed = Cell(str(missing.seed), missing.seed)
        rows.append((Cell(missing.mixture), Cell(missing.proxy), seed, Cell(missing.reason), Cell("no record")))
    heads = (
        *columns("mixture", "proxy", text=2),
        Column("seed"),
        Column("reason", number=False),
        Column("run", number=False),
    )
    return Table("failed-table", "Runs that do not count", heads, tuple(rows))
