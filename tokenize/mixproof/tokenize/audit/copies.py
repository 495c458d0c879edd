"""Copies for an audit: what a record names, brought to this machine as it lies on an object store, whole or damaged.

An audit reads local files. Of a store on an object store it reads the copies, after each has been compared with its
object by size and tag, and copied anew where it is not the same; files that are only here are removed, since they are
not in the store. Nothing is held against a checksum on the way, because that is what the audit does. Every part that is
audited needs room on this machine.
"""

from __future__ import annotations

import re
from pathlib import Path

from mixproof.ledger.sealed import SEALED
from mixproof.ledger.store import Store

from .report import AuditReport, Depth

NAMED = re.compile(r"[a-z_]+/[0-9a-f]{64}(?=/)")
"""An output as a manifest names it: `<stage>/<key>/...`."""


def copy_build(store: Store, manifest_path: Path, depth: Depth) -> None:
    """Bring what an audit of a build reads: lists of inputs, at other depths every output that the manifest names."""
    if not store.is_remote:
        return
    store.fetch(store.relative(manifest_path))
    store.fetch(SEALED)
    names = sorted(set(NAMED.findall(manifest_path.read_text(errors="replace"))))
    for name in names:
        if depth != "arithmetic" or name.startswith("read/"):
            store.restore(name)


def copy_run(store: Store, key: str, depth: Depth) -> None:
    """Bring what an audit of a run reads: its records, at other depths its every file and draw; its build is there."""
    if not store.is_remote:
        return
    if depth == "arithmetic":
        store.fetch(f"train/{key}", without="checkpoints")
    else:
        store.fetch("runs.parquet")
        path = store.restore(f"train/{key}") / "run.json"
        keys = re.findall(r'"key": "([0-9a-f]{64})"', path.read_text(errors="replace")) if path.is_file() else []
        for draw in sorted(set(keys) - {key}):
            store.restore(f"draw/{draw}")


def in_store(report: AuditReport, store: Store) -> AuditReport:
    """The report with the places of an object store for those of its copies."""
    return report.moved(str(store.root), str(store)) if store.is_remote else report
