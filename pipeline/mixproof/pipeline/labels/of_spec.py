"""The labels of a spec's sources, refused before any work where they cannot be computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.labels import Classifier
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.classifiers.inputs import ClassifierInputs, find_inputs
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.values import WITH_COLUMNS

from .labeler import Labeler, make_labeler


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
    for name in spec.sources:
        for label, given in spec.labels_of(name).items():
            where = spec.where(*(("sources", name) if label in spec.sources[name].labels else ()), "labels", label)
            try:
                labeler = make_labeler(given, base)
                if given.classifier is not None:
                    labeler = replace(labeler, inputs=_inputs(spec, base, given.classifier, where, known))
                labeler.check()
            except RequestError as error:
                raise RequestError(f"{where}: {error}") from error
            found.setdefault(name, {})[label] = labeler
    return found


def _inputs(
    spec: Spec, base: Path, classifier: Classifier, where: str, known: dict[str, ClassifierInputs]
) -> ClassifierInputs:
    """The inputs of a classifier, found once for all sources that it labels."""
    if where not in known:
        known[where] = find_inputs(spec, base, classifier, where)
    return known[where]


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
