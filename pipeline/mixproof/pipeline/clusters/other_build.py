"""The clusters of another build: a new dump is assigned to them, and what was assigned before stays where it is."""

from __future__ import annotations

from pathlib import Path

import orjson

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file, stage_key
from mixproof.ledger.manifest import read_manifest, store_of
from mixproof.ledger.records.cells import ClustersRecord
from mixproof.ledger.store import Store

from .cluster_file import CLUSTERS, STAGE, VERSION, ClusterFile
from .token_table import TableFiles


def clusters_of_build(source: str, manifest_path: Path, table: TableFiles, store: Store) -> ClusterFile:
    """Copy the clusters of another build to the store.

    Args:
        source: whose clusters are used if the build has several; else those of its only one.
        manifest_path: of the other build.
        table: the token table.
        store: where they go.

    Raises:
        RequestError: when the build has no clusters, or they were found with another token table.
        DamagedFileError: when their file is missing or damaged.
    """
    cells = read_manifest(manifest_path).cells
    known: dict[str, ClustersRecord] = {
        name: axis.clusters for name, record in cells.items() for axis in record.axes if axis.clusters is not None
    }
    record = known.get(source) or (next(iter(known.values())) if len(known) == 1 else None)
    if record is None:
        have = f"only of {', '.join(known)}" if known else "none"
        raise RequestError(f"{manifest_path}: has no clusters of a source {source!r}, {have}; name another build")
    origin = store_of(manifest_path).path(record.path)
    if not origin.is_file() or sha256_of_file(origin) != record.sha256:
        raise DamagedFileError(
            str(origin), "content", "is not the file that the manifest states; build that spec again"
        )
    if orjson.loads(origin.read_bytes())["table_sha256"] != table.sha256:
        raise RequestError(
            f"{manifest_path}: its clusters were found with another token table or encoder; name the same one "
            "with `embedding`"
        )
    key = stage_key(STAGE, VERSION, {"copy": True}, record.sha256)
    if store.receipt(STAGE, key) is None:
        with store.attempt(STAGE, key) as attempt:
            attempt.path(CLUSTERS).write_bytes(origin.read_bytes())
            attempt.commit()
    return ClusterFile(f"{STAGE}/{key}/{CLUSTERS}", record.sha256, table)
