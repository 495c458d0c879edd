"""Held-out sets of another build: copied as they are, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.content import content_sha256
from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.manifest import Manifest, Totals, write_manifest
from mixproof.ledger.records.datasets import HeldoutRecord, HeldoutTexts, SplitRecord
from mixproof.ledger.records.inputs import InputsRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.mixtures.blocks.heldout import HeldoutSpec
from mixproof.pipeline.heldout.import_heldout import import_heldout
from object_store import ObjectStore

ReadRoom = Callable[..., Any]
TEXTS = [" ".join(f"w{number * 50 + k}" for k in range(40)) for number in range(60)]
NOTHING = {"documents": 0, "tokens": 0, "eod_tokens": 0, "bytes": 0, "datasets": ()}


def manifest_of(room: Any, heldout: Any) -> Path:  # noqa: ANN401  classes of conftest
    """Write a manifest that holds nothing but the held-out texts."""
    sources = {
        name: SourceRecord(
            inputs=InputsRecord(path="", sha256="", files=0, records=0, bytes=0),
            train=SplitRecord(**NOTHING),
            heldout=HeldoutRecord(**NOTHING, texts=HeldoutTexts(path=made.path, sha256=made.sha256)),
            ledger=(),
        )
        for name, made in heldout.texts.items()
    }
    manifest = Manifest(
        schema_=1,
        mixproof="0",
        spec={},
        spec_sha256="",
        tokenizer=TokenizerRecord(kind="sentencepiece", path="", sha256="", vocab_size=1, eod_id=0),
        sources=sources,
        dedup_matrix=(),
        totals=Totals(documents=0, tokens=0, bytes=0),
    )
    return write_manifest(room.store, manifest)


@pytest.fixture
def built(read_room: ReadRoom) -> tuple[Any, Any, Path]:
    """A room, its held-out sets and its manifest."""
    room = read_room({"a": [TEXTS], "b": [[f"b {text}" for text in TEXTS]]}, store="there")
    heldout = room.create(tokens=100, min_documents=3)
    return room, heldout, manifest_of(room, heldout)


def take(room: Any, manifest: str | Path) -> Any:  # noqa: ANN401  classes of conftest
    spec = room.spec.model_copy(update={"heldout": HeldoutSpec.model_validate({"from": str(manifest)})})
    return import_heldout(replace(room.selection(), spec=spec), room.folder)


def test_sets_are_copied_byte_for_byte_and_take_nothing_from_the_sources(
    built: tuple[Any, Any, Path], read_room: ReadRoom
) -> None:
    there, heldout, manifest = built
    room = read_room({"a": [TEXTS[:40]]}, store="here")
    made = take(room, manifest.relative_to(room.folder))
    imported, original = made.texts["a"], heldout.texts["a"]
    assert (imported.path, imported.sha256, imported.hashes) == (original.path, original.sha256, original.hashes)
    assert room.store.path(imported.path).read_bytes() == there.store.path(original.path).read_bytes()
    assert imported.imported_from == manifest.parent.name
    assert imported.taken.documents == 0
    assert made.train == {"a": (None,)}
    assert list(made.texts) == ["a"]


def test_sets_are_taken_from_a_bucket_by_the_url_of_the_manifest(
    built: tuple[Any, Any, Path],
    read_room: ReadRoom,
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "copies"))
    there, heldout, manifest = built
    bucket = object_store.bucket("heldout-sets")
    object_store.filesystem().put(f"{there.store}/", f"{bucket}/store/", recursive=True)
    made = take(read_room({"a": [TEXTS[:40]]}, store="here"), f"{bucket}/store/builds/{manifest.parent.name}")
    assert made.texts["a"].sha256 == heldout.texts["a"].sha256
    with pytest.raises(RequestError, match="heldout-sets/store/builds/0+: neither a build nor a finished run"):
        take(read_room({"a": [TEXTS[:40]]}, store="here"), f"{bucket}/store/builds/{'0' * 64}")


def test_the_imported_texts_leave_training_by_decontamination(
    built: tuple[Any, Any, Path], read_room: ReadRoom
) -> None:
    _, heldout, manifest = built
    room = read_room({"a": [TEXTS]}, store="here")
    made = room.decontaminate(take(room, manifest))
    assert made.rows["a"].documents_in == 60
    assert made.rows["a"].dropped["heldout_overlap"].documents == heldout.texts["a"].documents == 3


def test_a_source_that_the_build_lacks_is_an_error_that_says_what_there_is(
    built: tuple[Any, Any, Path], read_room: ReadRoom
) -> None:
    room = read_room({"c": [TEXTS]}, store="here")
    with pytest.raises(RequestError, match="no held-out set of source 'c'; it has a, b"):
        take(room, built[2])


def test_texts_that_are_not_those_of_the_manifest_are_an_error_that_names_the_file(
    built: tuple[Any, Any, Path], read_room: ReadRoom
) -> None:
    there, heldout, manifest = built
    path = there.store.path(heldout.texts["a"].path)
    room = read_room({"a": [TEXTS]}, store="here")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DamagedFileError, match=r"a\.parquet: SHA-256"):
        take(room, manifest)
    path.unlink()
    with pytest.raises(RequestError, match=r"a\.parquet, the held-out texts of source 'a', is missing"):
        take(room, manifest)


def test_a_text_that_is_not_what_its_hash_says_is_an_error_even_where_the_file_is_as_recorded(
    built: tuple[Any, Any, Path], read_room: ReadRoom
) -> None:
    there, heldout, _ = built
    path = there.store.path(heldout.texts["a"].path)
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[1]["text"] += "!"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    heldout.texts["a"] = replace(heldout.texts["a"], sha256=content_sha256(path))
    room = read_room({"a": [TEXTS]}, store="here")
    with pytest.raises(DamagedFileError, match="row 1: the text does not match its hash"):
        take(room, manifest_of(there, heldout))


def test_a_manifest_that_is_not_at_its_place_or_was_edited_is_refused(
    built: tuple[Any, Any, Path], read_room: ReadRoom
) -> None:
    room = read_room({"a": [TEXTS]}, store="here")
    with pytest.raises(RequestError, match="no manifest found"):
        take(room, "nowhere/manifest.json")
    copy = room.folder / "copy.json"
    copy.write_bytes(built[2].read_bytes())
    with pytest.raises(RequestError, match="is not the manifest of build"):
        take(room, copy)
    built[2].write_bytes(built[2].read_bytes().replace(b'"mixproof": "0"', b'"mixproof": "1"'))
    with pytest.raises(RequestError, match="is not the manifest of build"):
        take(room, built[2])
