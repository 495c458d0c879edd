"""The manifest as a file: its checksum and form, and the files that it names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mixproof.ledger.manifest import Manifest

from .parsed import parsed
from .receipts import files_of
from .report import Checks


def check_manifest(path: Path, checks: Checks) -> Manifest | None:
    """Check the manifest's checksum (its folder's name), schema, canonical form and the checksum of its spec."""
    raw = path.read_bytes()
    checks.equal("checksum", "as sha256, by the folder's name", path.parent.name, hashlib.sha256(raw).hexdigest())
    manifest = parsed(Manifest, raw, "a manifest of schema 1", checks)
    if manifest is None:
        return None
    canonical = json.dumps(json.loads(raw), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    checks.true("schema", raw == canonical.encode(), "JSON with sorted keys and an indent of one", "another form")
    spec = json.dumps(manifest.spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    checks.equal("checksum", "as sha256 of the spec", manifest.spec_sha256, hashlib.sha256(spec.encode()).hexdigest())
    return manifest


def named_files(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of every file that the manifest names, by file name relative to the store."""
    named = {manifest.tokenizer.path: manifest.tokenizer.sha256}
    for clusters in (axis.clusters for record in manifest.cells.values() for axis in record.axes):
        if clusters is not None:
            named[clusters.path] = clusters.sha256
    for classifier in manifest.classifiers.values():
        named |= {classifier.model: classifier.model_sha256, classifier.examples: classifier.examples_sha256}
    for kept in manifest.kept.values():
        named[kept.path] = kept.sha256
    for source in manifest.sources.values():
        named[source.inputs.path] = source.inputs.sha256
        named |= {part.path: part.sha256 for part in (*source.cuts, *source.substring_cuts)}
        named |= {} if source.twins is None else {source.twins.path: source.twins.sha256}
        if source.heldout.texts is not None:
            named[source.heldout.texts.path] = source.heldout.texts.sha256
        for part in (*source.train.datasets, *source.heldout.datasets):
            named |= files_of(part.prefix, part.bin_sha256, part.idx_sha256, part.provenance_sha256, part.mask_sha256)
    return named
