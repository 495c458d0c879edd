"""Replay of clusters: documents are embedded again and assigned to the centroids that the manifest names.

As for steps, the embedding is the code that the build used, because nothing else defines it; the centroids, their names
and the assignments come from files whose checksums the manifest states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Source
from mixproof.pipeline.clusters.cluster_file import ClusterFile
from mixproof.pipeline.clusters.find_embedding import find_embedding
from mixproof.tokenize.audit.report import Checks

BATCH_TEXTS = 256


@dataclass
class Assignments:
    """Assigns texts in batches, and compares their clusters with the labels in the provenance."""

    store: Store
    clusters: ClusterFile
    column: str
    """Name of the label."""
    _texts: list[str] = field(default_factory=list)
    _expected: list[tuple[str | None, Checks]] = field(default_factory=list)

    def add(self, text: str, cluster: str | None, checks: Checks) -> None:
        """Take a document: its text, and its cluster by the provenance."""
        self._texts.append(text)
        self._expected.append((cluster, checks))
        if len(self._texts) == BATCH_TEXTS:
            self.flush()

    def flush(self) -> None:
        """Check what has been taken."""
        found = self.clusters.names_of(self.store, self._texts) if self._texts else []
        for name, (cluster, checks) in zip(found, self._expected, strict=True):
            checks.equal("E4", "as cluster of the document embedded again", cluster, name)
        self._texts, self._expected = [], []


def assignments_of(manifest: Manifest, source: str, spec: Source, base: Path, store: Store) -> Assignments | None:
    """The clusters by which a source was divided; None if it was not.

    Args:
        manifest: of the build.
        source: its name in the spec, before it was divided.
        spec: the source in the spec.
        base: the folder to which the spec's paths are relative.
        store: of the build.

    Raises:
        RequestError: when the token table is missing, or is not the one that the build used.
    """
    record = manifest.cells.get(source)
    for axis in spec.axes if record is not None else ():
        stated = next((each for each in record.axes if each.column == axis.column), None) if record else None
        if axis.clusters is None or stated is None or stated.clusters is None:
            continue
        folder = axis.clusters.embedding
        table = find_embedding(None if folder is None else base / folder)
        clusters = ClusterFile(stated.clusters.path, stated.clusters.sha256, table)
        if clusters.table_sha256(store) != table.sha256:
            raise RequestError(
                f"source {source}: its clusters were found with another token table or encoder than {table.table}; "
                "replay with that of the build, or audit with --depth bytes"
            )
        return Assignments(store, clusters, axis.column)
    return None
