"""`audit_build`: checks a build's manifest against its equations and, at depth `bytes`, against every file it names.

The auditor shares only the manifest's schema with the code that wrote the build, so a bug in a writer is not a bug in
its auditor. Order: checksum and form of the manifest; E1 to E6 from its numbers and `inputs.parquet`; then the files.
Checksums come first: a file with a wrong checksum is reported and not opened again. The manifest is the exception; it
is read even then, because its equations show which figure was changed. Held-out sets are read before training parts,
because no training document may share a text with them. Held-out texts and a sample of the training documents are
encoded again (`parts/reencode.py`), except in parts in which another check failed.

Parts are checked in parallel: in threads (hashing and numpy release the GIL), or as Ray tasks if the build is large and
a cluster is given. Raw files are not read here; see `replay/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.task_progress import OnProgress
from mixproof.tokenize.audit.parts.audited_source import AuditedSource, AuditedTokenizer
from mixproof.tokenize.audit.parts.dataset import load_megatron
from mixproof.tokenize.audit.parts.heldout_sets import check_heldout_sets
from mixproof.tokenize.audit.parts.train_parts import check_train_parts

from .arithmetic import check_arithmetic
from .cells import CELLS, cells_of, labels_in
from .checksums import check_file
from .classifiers import check_classifiers
from .cuts import check_cuts
from .inputs import check_inputs
from .kept import check_dropped, check_kept, kept_bounds
from .manifest_file import check_manifest, named_files
from .receipts import check_receipts
from .report import AuditReport, Checks, Depth, Reencoded
from .spec import check_spec
from .twins import check_twins
from .vocabulary import check_tokenizer


def audit_build(
    manifest_path: Path, depth: Depth = "bytes", *, cluster: Cluster | None = None, progress: OnProgress | None = None
) -> AuditReport:
    """Audit the build of a manifest at `<store>/builds/<id>/manifest.json`.

    Args:
        manifest_path: the manifest; all other files are found in its store.
        depth: `arithmetic` opens only `inputs.parquet`, the other depths open every file.
        cluster: runs the checks of a large build's parts; it must see the store's folder. None: use threads.
        progress: called after each part.

    Returns:
        The report. A failed check is an entry of the report, never an exception.

    Raises:
        RequestError: when the manifest does not exist, is not in a store, or Megatron Core is not installed.
    """
    manifest_path = manifest_path.resolve()
    root = _store_root(manifest_path)
    checks = Checks()
    of_manifest = checks.at(file=str(manifest_path))
    manifest = check_manifest(manifest_path, of_manifest)
    if manifest is None:
        return checks.report(depth)
    check_spec(manifest, of_manifest)
    check_arithmetic(manifest, of_manifest)
    check_kept(manifest, of_manifest)
    sources = _audited_sources(root, manifest, checks)
    if depth == "arithmetic":
        return checks.report(depth)
    load_megatron()
    check_receipts(root, named_files(manifest), checks)
    tokenizer = AuditedTokenizer(manifest.tokenizer, check_tokenizer(root, manifest.tokenizer, checks))
    _check_lists(root, manifest, sources, checks)
    reencoded = Reencoded(without_texts=tuple(source.name for source in sources if source.is_adopted))
    reencoded += check_heldout_sets(root, tokenizer, sources, checks)
    is_decontaminated = manifest.spec.get("decontaminate") is not False
    reencoded += check_train_parts(root, tokenizer, sources, is_decontaminated, checks, cluster, progress)
    return replace(checks.report(depth), reencoded=reencoded)


def _store_root(manifest_path: Path) -> Path:
    """The folder of the store that contains the manifest."""
    if not manifest_path.is_file():
        raise RequestError(f"{manifest_path}: no manifest found; `mixproof build` writes one")
    if manifest_path.parent.parent.name != "builds":
        raise RequestError(f"{manifest_path}: not in builds/<id>/ of a store, so its files cannot be found")
    return manifest_path.parents[2]


def _audited_sources(root: Path, manifest: Manifest, checks: Checks) -> list[AuditedSource]:
    """Every source with its input files, which are checked, and with what its documents have in common."""
    cells, kept = cells_of(manifest), kept_bounds(manifest)
    return [
        AuditedSource(
            name,
            record,
            check_inputs(root, record.inputs, checks.at(source=name)),
            (*cells.get(name, ()), *kept.get(name, ())),
            labels_in(manifest.spec, name),
        )
        for name, record in manifest.sources.items()
    ]


def _check_lists(root: Path, manifest: Manifest, sources: Sequence[AuditedSource], checks: Checks) -> None:
    """Check the clusters, the classifiers, and the lists of what was dropped or cut."""
    for name, record in manifest.cells.items():
        for clusters in (axis.clusters for axis in record.axes):
            if clusters is not None:
                check_file(root, clusters.path, clusters.sha256, checks.at(source=name, stage=CELLS))
    check_classifiers(root, manifest, checks)
    check_dropped(root, manifest, checks)
    for source in sources:
        check_cuts(root, source.record, source.inputs, checks.at(source=source.name))
    check_twins(root, manifest, {source.name: source.inputs for source in sources}, checks)
