"""Held-out sets of another build, so that steps, dedup and sources can be compared by one yardstick.

The sets are copied from that build's store into this one, checked against the manifest's checksums and
every text against its own hash. They are no documents of this build: nothing is taken out of its sources,
and documents that overlap with them are dropped by decontamination.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import xxhash

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.location import locate
from mixproof.ledger.manifest import MANIFEST, HeldoutTexts, Manifest, read_manifest, store_of
from mixproof.ledger.objects import is_remote
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.columns import read_whole
from mixproof.pipeline.read.documents import SourceDocuments

from .heldout import TEXTS_SCHEMA, Heldout, HeldoutSet, read_set, write_set
from .split import KeepBitmaps


def import_heldout(
    spec: Spec, base: Path, sources: Mapping[str, SourceDocuments], keep: KeepBitmaps, store: Store
) -> Heldout:
    """Take every source's held-out set from the build that `heldout.from` names.

    Args:
        spec: its `heldout.from` is the path or the URL of a manifest in its store.
        base: the folder at which a relative path starts.
        sources: the sources of this build.
        keep: what the stages before kept; imported sets take nothing from it.
        store: the store to copy the sets into.

    Raises:
        RequestError: when there is no such manifest, it is not the one its folder names, or it has no
            held-out set for a source.
        DamagedFileError: when a set is not what the manifest says.
    """
    assert spec.heldout.from_ is not None, "the spec imports no held-out sets"
    where = spec.where("heldout", "from")
    path, there = _place(spec.heldout.from_, base)
    manifest = _manifest(path, where)
    texts = {}
    for name in sources:
        found = _texts_of(manifest, name, path, where)
        texts[name] = _import(name, found, there, store, manifest.build, where)
    return Heldout(texts, {name: keep[name] for name in sources})


def _place(manifest: str, base: Path) -> tuple[Path, Store]:
    """Where the manifest can be read on this machine, and its store."""
    if is_remote(manifest):
        place = locate(manifest)
        return place.fetch() / MANIFEST, place.store
    path = base / Path(manifest).expanduser()
    return path, store_of(path)


def _manifest(path: Path, where: str) -> Manifest:
    try:
        manifest = read_manifest(path)
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from error
    build, folder = hashlib.sha256(path.read_bytes()).hexdigest(), path.resolve().parent.name
    if build != folder:
        raise RequestError(
            f"{where}: {path} is not the manifest of build {folder[:16]}: its SHA-256 is {build[:16]}; "
            "give a manifest at its place in a store, builds/<id>/manifest.json, as `mixproof build` wrote it"
        )
    return manifest


def _texts_of(manifest: Manifest, name: str, path: Path, where: str) -> HeldoutTexts:
    have = {source: record.heldout.texts for source, record in manifest.sources.items()}
    found = have.get(name)
    if found is None:
        there = ", ".join(sorted(source for source, texts in have.items() if texts is not None))
        raise RequestError(
            f"{where}: {path} has no held-out set of source {name!r}; it has {there or 'none'}; "
            "name sources as that build does, or take the source out"
        )
    return found


def _import(name: str, texts: HeldoutTexts, there: Store, store: Store, build: str, where: str) -> HeldoutSet:
    path = there.path(texts.path)
    if not path.is_file():
        raise RequestError(f"{where}: {path}, the held-out texts of source {name!r}, is missing")
    found = sha256_of_file(path)
    if found != texts.sha256:
        raise DamagedFileError(str(path), "SHA-256", f"{texts.sha256} in the manifest, {found} on disk")
    table = read_whole(path)
    if not table.schema.equals(TEXTS_SCHEMA):
        raise DamagedFileError(str(path), "schema", f"held-out texts have {', '.join(TEXTS_SCHEMA.names)}")
    _check_texts(path, table)
    place, sha256 = write_set(store, name, table, source_file=path)
    return read_set(store, name, place, sha256, imported_from=build)


def _check_texts(path: Path, table: pa.Table) -> None:
    rows = zip(
        table["text"].to_pylist(), table["text_xxh128"].to_pylist(), table["text_bytes"].to_pylist(), strict=True
    )
    for number, (text, digest, size) in enumerate(rows):
        data = text.encode()
        if (xxhash.xxh3_128_hexdigest(data), len(data)) != (digest, size):
            raise DamagedFileError(str(path), f"row {number}", "the text is not the one its hash and size speak of")
