"""How to reproduce the comparison: commands and versions; and the runs that do not count, with the reason."""

from __future__ import annotations

import shlex

from mixproof.tokenize.page.build_evidence import SHORT
from mixproof.tokenize.page.environment import stated_versions, versions_table
from mixproof.tokenize.page.table import Cell, Column, Table, columns, proof
from mixproof.train.model.layer_history import read_layer_history

from .evidence import Evidence


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


def environment_table(evidence: Evidence) -> Table:
    """Versions of the software that made the builds and runs, with machines and backends."""
    found = [("mixproof", build.manifest.mixproof) for build in evidence.builds]
    builds = [build.circumstances for build in evidence.builds]
    for circumstances in (*builds, *(run.circumstances for run in evidence.runs)):
        found += stated_versions(circumstances)
        if "device" in circumstances:
            found.append(("device", str(circumstances["device"])))
        if (layers := read_layer_history(circumstances.get("layers"))) is not None:
            found.append(("layer backend", layers.describe()))
    return versions_table(found)


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
