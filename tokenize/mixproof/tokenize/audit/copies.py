"""Local copies for the audit of a remote store: download what a record names, exactly as it is, damaged or not.

An audit reads local files. For a store on an object store it reads local copies. Each copy is first compared with its
object by size and ETag and downloaded again if they differ; local files that have no object are removed. Checksums are
not verified here, because the audit does that. All parts that are audited must fit on the local disk.
"""

from __future__ import annotations

import re
from pathlib import Path

from mixproof.ledger.store import Store
from mixproof.ledger.store.sealed import SEALED

from .report import AuditReport, Depth

NAMED = re.compile(r"[a-z_]+/[0-9a-f]{64}(?=/)")
"""An output in the form in which a manifest names it: `<stage>/<key>/...`."""


def copy_build(store: Store, manifest_path: Path, depth: Depth) -> None:
    """Download what an audit of a build reads: the input lists, and beyond depth `arithmetic` every named output."""
    if not store.is_remote:
        return
    store.fetch(store.relative(manifest_path))
    store.fetch(SEALED)
    names = sorted(set(NAMED.findall(manifest_path.read_text(errors="replace"))))
    for name in names:
        if depth != "arithmetic" or name.startswith("read/"):
            store.restore(name)


def copy_run(store: Store, key: str, depth: Depth) -> None:
    """Download what an audit of a run reads: its records, and beyond depth `arithmetic` all its files and draws.

    The build of the run must be here already.
    """
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
    """The report with the URLs of objects in place of the paths of their local copies."""
    return report.rebased(str(store.root), str(store)) if store.is_remote else report
