"""The labels of a spec's sources, refused before any work where they cannot be computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.labels import Label
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.classifiers.fasttext_file import check_model
from mixproof.pipeline.classifiers.inputs import ClassifierInputs, find_inputs
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.values import WITH_COLUMNS

from .labeler import Labeler, make_labeler

MOST_BYTES = 100_000_000
"""Size of a fastText model up to which it is loaded before any work, to look for the label."""


def check_labels(spec: Spec, base: Path) -> None:
    """Refuse labels that cannot be computed, before any work; large models are only known by their first bytes.

    Raises:
        RequestError: naming the label, when there is no such model, or a package is missing.
    """
    known: dict[str, ClassifierInputs] = {}
    for name, label, given in _labels(spec):
        path = None if given.fasttext is None else (base / given.fasttext.model).resolve()
        where = _where(spec, name, label)
        with _position(where):
            if path is not None:
                check_model(str(path))
            if path is None or path.stat().st_size <= MOST_BYTES:
                _labeler(spec, base, given, where, known).check()


def labelers_of(spec: Spec, base: Path) -> dict[str, dict[str, Labeler]]:
    """The labelers of every source that has labels.

    Args:
        spec: the spec.
        base: the folder to which its paths are relative.

    Raises:
        RequestError: naming the label, when there is no such model, or a package is missing.
    """
    found: dict[str, dict[str, Labeler]] = {}
    known: dict[str, ClassifierInputs] = {}
    for name, label, given in _labels(spec):
        where = _where(spec, name, label)
        with _position(where):
            labeler = _labeler(spec, base, given, where, known)
            labeler.check()
        found.setdefault(name, {})[label] = labeler
    return found


def _labels(spec: Spec) -> Iterator[tuple[str, str, Label]]:
    for name in spec.sources:
        for label, given in spec.labels_of(name).items():
            yield name, label, given


def _where(spec: Spec, name: str, label: str) -> str:
    """The key of a label: of its source, of all sources, or of the clusters of `split_by`."""
    own = spec.sources[name].labels
    if label not in {**spec.labels, **own}:
        return spec.where("sources", name, "split_by")
    return spec.where(*(("sources", name) if label in own else ()), "labels", label)


@contextmanager
def _position(where: str) -> Iterator[None]:
    """Name the label in front of errors."""
    try:
        yield
    except RequestError as error:
        raise RequestError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error


def _labeler(spec: Spec, base: Path, given: Label, where: str, known: dict[str, ClassifierInputs]) -> Labeler:
    """The labeler of a label; the inputs of a classifier are found once for all sources that it labels."""
    labeler = make_labeler(given, base)
    if given.classifier is None:
        return labeler
    if where not in known:
        known[where] = find_inputs(spec, base, given.classifier, where)
    return replace(labeler, inputs=known[where])


def check_fields(spec: Spec, sources: Mapping[str, SourceDocuments]) -> None:
    """Refuse labels that are fields of records in a format that has none.

    Raises:
        RequestError: naming the source and a file.
    """
    for name, source in sources.items():
        fields = [label.field.name for label in spec.labels_of(name).values() if label.field is not None]
        for task in source.tasks if fields else ():
            file = task.plan.files[0]
            if file.format not in WITH_COLUMNS:
                where = spec.where("sources", name, "labels")
                raise RequestError(f"{where}: {file.url}: {file.format} has no field {fields[0]!r}")
