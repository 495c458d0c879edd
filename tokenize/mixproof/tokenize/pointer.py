"""Pointers: which build a spec gave, so that other commands find it without deriving it again.

`builds/by-spec/<key>.json` holds a build's id. The key is made of what the build depends on: the spec's identity,
mixproof's version, and every file by name, place, size and modification time. A pointer is a shortcut only:
where a file was touched there is none, and building again reuses every stage and writes it anew. It names itself and
ends with its own checksum, because one that is damaged or stands in another's place must not lead to another build.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import canonical_json, sha256_of
from mixproof.ledger.manifest import BUILDS, MANIFEST
from mixproof.ledger.objects import is_remote
from mixproof.ledger.receipt import seal, unseal
from mixproof.ledger.store import Store
from mixproof.ledger.version import VERSION
from mixproof.mixtures.identity import build_identity
from mixproof.mixtures.load import LoadedSpec
from mixproof.pipeline.read.files import InputFile, find_files, find_others

from .tokenizer.huggingface import CONFIGS
from .tokenizer.tokenizer import given_tokenizer

FOLDER = f"{BUILDS}/by-spec"


def find_build(loaded: LoadedSpec, store: Store) -> Path | None:
    """The manifest of a spec's finished build over its files as they are now; None where there is none.

    Raises:
        RequestError: when a file that the spec names is not there.
    """
    place = pointer(loaded, find_files(loaded.as_written, loaded.base))
    try:
        found = json.loads(unseal(store.path(place).read_bytes()))
    except (FileNotFoundError, ValueError):
        return None
    if found["pointer"] != place:
        return None
    manifest = store.path(f"{BUILDS}/{found['build']}/{MANIFEST}")
    return manifest if manifest.is_file() else None


def write_pointer(loaded: LoadedSpec, files: Mapping[str, tuple[InputFile, ...]], store: Store, build: str) -> None:
    """Remember that these files gave this build."""
    place = pointer(loaded, files)
    store.write(place, seal(canonical_json({"build": build, "pointer": place})))


def pointer(loaded: LoadedSpec, files: Mapping[str, tuple[InputFile, ...]]) -> str:
    """The place of a spec's pointer, relative to the store; `files` are those of the spec as it is written."""
    spec = loaded.as_written
    key = {
        "mixproof": VERSION,
        "spec": build_identity(spec),
        "inputs": {name: _seen(found) for name, found in files.items()},
        "tokenizer": _seen(_tokenizer(loaded)),
        "heldout": _heldout(loaded),
        "against": _seen(_against(loaded)),
    }
    return f"{FOLDER}/{sha256_of(key)}.json"


def _heldout(loaded: LoadedSpec) -> list[list[str | int]]:
    """The manifest that held-out sets come from; the URL of one ends in the SHA-256 of its content."""
    manifest = loaded.spec.heldout.from_
    if manifest is not None and is_remote(manifest):
        return [[manifest]]
    return _seen(_others(loaded, manifest, "heldout.from"))


def _tokenizer(loaded: LoadedSpec) -> tuple[Path, ...]:
    """The given tokenizer's file, and what stands beside a `tokenizer.json` and names its end of document."""
    given = given_tokenizer(loaded)
    if given is None:
        return ()
    kind = "sentencepiece" if loaded.spec.tokenizer.huggingface is None else "huggingface"
    beside = [given.with_name(name) for name in CONFIGS] if kind == "huggingface" else []
    return (*_others(loaded, str(given), f"tokenizer.{kind}"), *(path for path in beside if path.is_file()))


def _against(loaded: LoadedSpec) -> tuple[InputFile, ...]:
    decontaminate = loaded.spec.decontaminate
    where = loaded.spec.where("decontaminate", "against")
    return () if decontaminate is False else find_others(decontaminate.against, loaded.base, where=where)


def _others(loaded: LoadedSpec, path: str | None, where: str) -> tuple[Path, ...]:
    if path is None:
        return ()
    place = loaded.base / Path(path).expanduser()
    if not place.is_file():
        raise RequestError(f"{where}: there is no file {place}")
    return (place,)


def _seen(files: Iterable[InputFile | Path]) -> list[list[str | int]]:
    return [
        [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]
        if isinstance(file, Path)
        else [file.name, file.url, file.bytes, file.tag or file.mtime_ns]
        for file in files
    ]
