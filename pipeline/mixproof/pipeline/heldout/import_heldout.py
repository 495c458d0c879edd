"""Import the held-out sets of another build, so that steps, deduplication and sources are compared on the same texts.

The sets are copied from that build's store into this one and checked: the files against the manifest's checksums, and
every text against its hash. They are not documents of this build: nothing is taken from its sources, and documents that
overlap with the sets are dropped by decontamination.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import xxhash

from mixproof.ledger.content import content_sha256
from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.location import locate
from mixproof.ledger.manifest import MANIFEST, Manifest, read_manifest_once, store_of
from mixproof.ledger.objects.urls import is_remote
from mixproof.ledger.records.datasets import HeldoutTexts
from mixproof.ledger.records.source import SourceKind
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.columns import read_whole
from mixproof.pipeline.read.selection import Selection

from .heldout_set import CONVERSATIONS_SCHEMA, TEXTS_SCHEMA, Heldout, HeldoutSet, read_set, write_set


def import_heldout(selection: Selection, base: Path) -> Heldout:
    """Import every source's held-out set from the build that `heldout.from` names.

    Args:
        selection: the documents of this build, from which imported sets take nothing; `heldout.from` of its spec is
            the path or URL of a manifest in its store.
        base: the folder that a relative path starts from.

    Raises:
        RequestError: when there is no such manifest, it is not the one that its folder names, or it has no held-out
            set for a source.
        DamagedFileError: when a set is not what the manifest says.
    """
    spec = selection.spec
    assert spec.heldout.from_ is not None, "the spec does not import held-out sets"
    where = spec.where("heldout", "from")
    path, origin = _locate(spec.heldout.from_, base)
    manifest = _manifest(path, where)
    texts = {}
    for name in selection.sources:
        found = _texts_of(manifest, name, path, where)
        kind, imported = selection.sources[name].kind, manifest.sources[name].kind
        if kind != imported:
            raise RequestError(
                f"{where}: {name!r} is {kind or 'plain documents'} here and {imported or 'plain documents'} in {path}; "
                "import the held-out set of a source of the same format"
            )
        source = spec.sources[name]
        if kind is not None and manifest.spec["sources"][name]["template"] != source.template_text:
            raise RequestError(
                f"{where}: the held-out conversations of {name!r} in {path} were rendered with another template; use "
                "that template, or create held-out sets"
            )
        texts[name] = _import(name, kind, found, origin, selection.store, manifest.build, where)
    return Heldout(texts, {name: selection.keep[name] for name in selection.sources})


def imported_sets(spec: Spec, base: Path, store: Store) -> list[HeldoutSet]:
    """Copy all held-out sets of the build that `heldout.from` names, whichever sources they are of.

    Raises:
        RequestError: when there is no such manifest, or a set is missing.
        DamagedFileError: when a set is not what the manifest says.
    """
    assert spec.heldout.from_ is not None, "the spec does not import held-out sets"
    where = spec.where("heldout", "from")
    path, origin = _locate(spec.heldout.from_, base)
    manifest = _manifest(path, where)
    return [
        _import(name, record.kind, record.heldout.texts, origin, store, manifest.build, where)
        for name, record in sorted(manifest.sources.items())
        if record.heldout.texts is not None
    ]


def check_import(spec: Spec, base: Path) -> None:
    """Look for the held-out sets that a spec imports; a manifest at a URL is looked at only when it is imported.

    Raises:
        RequestError: as in `import_heldout`.
    """
    if spec.heldout.from_ is None or is_remote(spec.heldout.from_):
        return
    where = spec.where("heldout", "from")
    path, _ = _locate(spec.heldout.from_, base)
    manifest = _manifest(path, where)
    for name, source in spec.sources.items():
        if source.split_by is None and source.megatron is None:
            _texts_of(manifest, name, path, where)


def _locate(manifest: str, base: Path) -> tuple[Path, Store]:
    """Return a local path of the manifest, and its store."""
    if is_remote(manifest):
        location = locate(manifest)
        return location.fetch() / MANIFEST, location.store
    path = base / Path(manifest).expanduser()
    return path, store_of(path)


def _manifest(path: Path, where: str) -> Manifest:
    try:
        manifest, build = read_manifest_once(path)
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from error
    folder = path.resolve().parent.name
    if build != folder:
        raise RequestError(
            f"{where}: {path} is not the manifest of build {folder[:16]}: its SHA-256 is {build[:16]}; "
            "name a manifest inside its store, builds/<id>/manifest.json, as `mixproof build` wrote it"
        )
    return manifest


def _texts_of(manifest: Manifest, name: str, path: Path, where: str) -> HeldoutTexts:
    have = {source: record.heldout.texts for source, record in manifest.sources.items()}
    found = have.get(name)
    if found is None:
        available = ", ".join(sorted(source for source, texts in have.items() if texts is not None))
        raise RequestError(
            f"{where}: {path} has no held-out set of source {name!r}; it has {available or 'none'}; "
            "use the source names of that build, or remove the source"
        )
    return found


def _import(
    name: str, kind: SourceKind | None, texts: HeldoutTexts, origin: Store, store: Store, build: str, where: str
) -> HeldoutSet:
    path = origin.path(texts.path)
    if not path.is_file():
        raise RequestError(f"{where}: {path}, the held-out texts of source {name!r}, is missing")
    _check_bytes(path, texts, origin)
    found = content_sha256(path)
    if found != texts.sha256:
        raise DamagedFileError(str(path), "SHA-256 of its rows", f"{texts.sha256} in the manifest, {found} on disk")
    table = read_whole(path)
    schema = TEXTS_SCHEMA if kind is None else CONVERSATIONS_SCHEMA
    if not table.schema.equals(schema):
        raise DamagedFileError(str(path), "schema", f"expected the columns {', '.join(schema.names)}")
    _check_texts(path, table)
    copy, sha256 = write_set(store, name, table, copy_of=path)
    return read_set(store, name, copy, sha256, imported_from=build)


def _check_bytes(path: Path, texts: HeldoutTexts, origin: Store) -> None:
    """Check the file's bytes against the receipt of its output, if the origin has one; the manifest names its rows."""
    stage, key, name = texts.path.split("/", maxsplit=2)
    receipt = origin.receipt(stage, key)
    if receipt is not None and name in receipt.files:
        expected, found = receipt.files[name].sha256, sha256_of_file(path)
        if found != expected:
            raise DamagedFileError(str(path), "SHA-256", f"{expected} in its receipt, {found} on disk")


def _check_texts(path: Path, table: pa.Table) -> None:
    rows = zip(
        table["text"].to_pylist(), table["text_xxh128"].to_pylist(), table["text_bytes"].to_pylist(), strict=True
    )
    for number, (text, digest, size) in enumerate(rows):
        data = text.encode()
        if (xxhash.xxh3_128_hexdigest(data), len(data)) != (digest, size):
            raise DamagedFileError(str(path), f"row {number}", "the text does not match its hash and size")
