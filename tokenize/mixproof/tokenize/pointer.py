"""Pointers: the build of a spec, so that other commands find it without computing it again.

`builds/by-spec/<key>.json` holds a build's id. The key is made of everything the build depends on: the spec's identity,
mixproof's version, and every file by name, path, size and modification time. A pointer is only a shortcut: after a file
was touched there is none, and building again reuses every stage and writes a new one. A pointer contains its own name
and checksum, so a damaged or swapped pointer cannot lead to another build.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import canonical_json, sha256_of
from mixproof.ledger.manifest import BUILDS, MANIFEST
from mixproof.ledger.objects.urls import is_remote
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import seal, unseal
from mixproof.ledger.version import VERSION
from mixproof.mixtures.blocks.labels import Classifier, Label
from mixproof.mixtures.blocks.tokenizer import Tokenizer
from mixproof.mixtures.checks import is_source
from mixproof.mixtures.identity import build_identity
from mixproof.mixtures.load import LoadedSpec
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.spec_paths import unset_variables
from mixproof.pipeline.clusters.find_embedding import find_embedding, find_static
from mixproof.pipeline.inputs.files import InputFile, find_files, find_others, with_their_attributes
from mixproof.pipeline.semantic.vectors import semantic_table
from mixproof.pipeline.steps.filters.fasttext_model import model_file

from .tokenizer.huggingface import CONFIGS
from .tokenizer.tokenizer import given_tokenizer

FOLDER = f"{BUILDS}/by-spec"
CONTENT_VERSION = 2
"""2: manifests name Parquet files by their rows; builds from before are built again."""


def find_build(
    loaded: LoadedSpec, store: Store, files: Mapping[str, tuple[InputFile, ...]] | None = None
) -> Path | None:
    """The manifest of the finished build of a spec and its files; None if there is none.

    Args:
        loaded: the spec.
        store: where its build would be.
        files: the files of the spec as written, where they have been listed; listed now if None.

    Raises:
        RequestError: when a file that the spec names does not exist.
    """
    name = pointer(loaded, find_files(loaded.as_written, loaded.base) if files is None else files)
    try:
        found = json.loads(unseal(store.path(name).read_bytes()))
        if found["pointer"] != name:
            return None
        build = str(found["build"])
    except (FileNotFoundError, ValueError, KeyError, RecursionError):
        return None
    manifest = store.path(f"{BUILDS}/{build}/{MANIFEST}")
    return manifest if manifest.is_file() else None


def write_pointer(loaded: LoadedSpec, files: Mapping[str, tuple[InputFile, ...]], store: Store, build: str) -> None:
    """Record that the spec and these files gave this build."""
    name = pointer(loaded, files)
    store.write(name, seal(canonical_json({"build": build, "pointer": name})))


def pointer(loaded: LoadedSpec, files: Mapping[str, tuple[InputFile, ...]]) -> str:
    """The file name of a spec's pointer, relative to the store; `files` are those of the spec as written."""
    spec = loaded.as_written
    key = {
        "mixproof": VERSION,
        "content": CONTENT_VERSION,
        "spec": build_identity(spec),
        "inputs": {name: _stats(with_their_attributes(found)) for name, found in files.items()},
        "tokenizer": [*_stats(_tokenizer(loaded)), *_encoding(spec.tokenizer)],
        "heldout": _heldout(loaded),
        "against": _against(loaded),
    }
    models = {
        f"{source}: {name}": _stats(_label_files(loaded, label, _where_label(spec, source, name)))
        for source in spec.sources
        for name, label in spec.labels_of(source).items()
        if label.fasttext is not None or label.clusters is not None or label.classifier is not None
    }
    if models:
        key["labels"] = models
    if (table := semantic_table(spec, loaded.base)) is not None:
        key["semantic"] = _stats(map(Path, table.paths))
    if filters := _step_models(spec):
        key["filters"] = _stats(filters)
    return f"{FOLDER}/{sha256_of(key)}.json"


def _step_models(spec: Spec) -> list[Path]:
    """The models of datatrove's fastText filter, in the steps of sources and in labels."""
    steps = [step for source in spec.sources.values() for step in source.steps]
    steps += [label.step for name in spec.sources for label in spec.labels_of(name).values() if label.step is not None]
    return [file for step in steps if (file := model_file(step.options)) is not None]


def _heldout(loaded: LoadedSpec) -> list[list[str | int]]:
    """The manifest from which held-out sets are imported; a URL of one contains the SHA-256 of its content."""
    manifest = loaded.spec.heldout.from_
    if manifest is not None and is_remote(manifest):
        return [[manifest]]
    return _stats(_existing(loaded, manifest, loaded.spec.where("heldout", "from")))


def _tokenizer(loaded: LoadedSpec) -> tuple[Path, ...]:
    """The given tokenizer's file, and the files beside a `tokenizer.json` that name its end of document."""
    given = given_tokenizer(loaded)
    if given is None:
        return ()
    kind = loaded.spec.tokenizer.kind
    beside = [given.with_name(name) for name in CONFIGS] if kind == "huggingface" else []
    return (
        *_existing(loaded, str(given), loaded.spec.where("tokenizer", kind)),
        *(path for path in beside if path.is_file()),
    )


def _encoding(declared: Tokenizer) -> list[object]:
    """What completes a tiktoken rank file; it is in the hash of the stored encoding, and not in the spec's identity."""
    return [] if declared.tiktoken is None else [declared.pattern, declared.special_tokens]


def _against(loaded: LoadedSpec) -> list[object]:
    """The evaluation files, with their fields where these are declared."""
    decontaminate = loaded.spec.decontaminate
    where = loaded.spec.where("decontaminate", "against")
    found: list[object] = []
    for entry in () if decontaminate is False else decontaminate.against:
        stats = _stats(find_others(entry.files, loaded.base, where=where))
        declared = [*(entry.fields or ()), entry.passages]
        found += stats if declared == [True] else [[*each, *declared] for each in stats]
    return found


def _where_label(spec: Spec, source: str, name: str) -> str:
    """Where a label of a source is declared: at the source, for all sources, or by the clusters of `split_by`."""
    if name in spec.sources[source].labels:
        return spec.where("sources", source, "labels", name)
    return spec.where("labels", name) if name in spec.labels else spec.where("sources", source, "split_by")


def _label_files(loaded: LoadedSpec, label: Label, where: str) -> list[InputFile | Path]:
    """The files that a label is computed with: its model, or its token table and the build whose clusters it uses."""
    if label.fasttext is not None:
        return list(_existing(loaded, label.fasttext.model, where))
    if label.classifier is not None:
        return _classifier_files(loaded, label.classifier, where)
    if label.clusters is None:
        return []
    folder = label.clusters.embedding
    try:
        table = find_embedding(None if folder is None else loaded.base / folder)
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from None
    return [*map(Path, table.paths), *_existing(loaded, label.clusters.from_, where)]


def _classifier_files(loaded: LoadedSpec, classifier: Classifier, where: str) -> list[InputFile | Path]:
    """The files that a classifier is trained and measured on, and its token table."""
    spec, base = loaded.as_written, loaded.base
    if classifier.from_ is not None:
        return list(_existing(loaded, classifier.from_, where))
    patterns = [entry for entry in classifier.examples if not is_source(spec, entry)]
    found: list[InputFile | Path] = []
    for entry in (*patterns, *classifier.evaluate):
        found += find_others((entry,), base, where=where)
    if classifier.kind == "linear":
        folder = classifier.embedding
        try:
            found += map(Path, find_static(None if folder is None else base / folder).paths)
        except RequestError as error:
            raise RequestError(f"{where}: {error}") from None
    return found


def _existing(loaded: LoadedSpec, name: str | None, where: str) -> tuple[Path, ...]:
    if name is None:
        return ()
    path = loaded.base / Path(name).expanduser()
    if not path.is_file():
        raise RequestError(f"{where}: there is no file {path}{unset_variables(name)}; correct the path in the spec")
    return (path,)


def _stats(files: Iterable[InputFile | Path]) -> list[list[str | int]]:
    return [
        [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns, file.stat().st_ctime_ns]
        if isinstance(file, Path)
        else [file.name, file.url, file.bytes, file.tag or file.mtime_ns, file.ctime_ns]
        for file in files
    ]
