"""What a classifier is made of besides the sources of its spec: found and checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.labels import Classifier
from mixproof.mixtures.blocks.source import Source
from mixproof.mixtures.checks import is_source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.clusters.find_embedding import find_static
from mixproof.pipeline.clusters.token_table import TableFiles
from mixproof.pipeline.heldout.evaluation import EvaluationFile, find_evaluation_files
from mixproof.pipeline.heldout.evaluation_forms import FieldRule
from mixproof.pipeline.inputs.files import InputFile, find_others
from mixproof.pipeline.inputs.first_records import check_texts_of
from mixproof.pipeline.readers.unchanged import hash_file

from .fasttext_file import check_installed
from .labelled_file import read_labelled
from .other_build import OtherClassifier, check_table, find_other


@dataclass(frozen=True)
class ClassifierInputs:
    """The files of a classifier."""

    classifier: Classifier
    where: str
    """Its key in the spec."""
    base: Path
    """The folder to which paths in the spec are relative."""
    files: Mapping[str, tuple[InputFile, ...]] = field(default_factory=dict)
    """Of each entry that is not a source."""
    labelled: tuple[EvaluationFile, ...] = ()
    """Files to measure it on."""
    against: tuple[EvaluationFile, ...] = ()
    """Evaluation files whose texts it must not be trained on."""
    table: TableFiles | None = None
    """The token table of a linear classifier."""
    origin: OtherClassifier | None = None
    """The classifier of another build, which is used instead of training one."""


def find_inputs(spec: Spec, base: Path, classifier: Classifier, where: str) -> ClassifierInputs:
    """Find the files of a classifier, and read its labelled files.

    Raises:
        RequestError: when a file or a package is missing, or a labelled file has no usable labels.
        DamagedFileError: when a labelled file cannot be read to its end.
    """
    if classifier.from_ is not None:
        origin = find_other(base / classifier.from_, classifier.name)
        table = token_table(origin.record.kind, classifier.embedding, base)
        check_table(origin, table)
        return ClassifierInputs(classifier, where, base, table=table, origin=origin)
    if classifier.kind == "fasttext":
        check_installed(where)
    table = token_table(classifier.kind, classifier.embedding, base)
    files = {
        entry: tuple(replace(file, source=entry) for file in find_others((entry,), base, where=where))
        for entry in classifier.examples
        if not is_source(spec, entry)
    }
    labelled = tuple(
        EvaluationFile(file, hash_file(file.url)[1], FieldRule((classifier.text,)))
        for file in (find_others(classifier.evaluate, base, where=where) if classifier.evaluate else ())
    )
    _refuse_shared(files, labelled, where)
    for entry, found in files.items():
        check_texts_of(Source(files=(entry,), text=classifier.text), found, spec)
    for file in labelled:
        read_labelled(file, classifier.text)
    return ClassifierInputs(classifier, where, base, files, labelled, find_evaluation_files(spec, base), table)


def token_table(kind: str, folder: str | None, base: Path) -> TableFiles | None:
    """The token table of a linear classifier; None for another kind.

    Raises:
        RequestError: when there is none.
    """
    return find_static(None if folder is None else base / folder) if kind == "linear" else None


def _refuse_shared(
    files: Mapping[str, tuple[InputFile, ...]], labelled: tuple[EvaluationFile, ...], where: str
) -> None:
    """Refuse a file that two entries name, or that is also an evaluation file.

    Raises:
        RequestError: naming the file.
    """
    taken: dict[str, str] = {}
    for entry, found in [*files.items(), ("evaluate", tuple(each.file for each in labelled))]:
        for file in found:
            if file.url in taken:
                raise RequestError(f"{where}: {file.url} is in both {taken[file.url]!r} and {entry!r}; list it once")
            taken[file.url] = entry
