"""Train a classifier: its examples, a model for each fold and one on all of them, and what they reach.

Each is an output of its own, so a build that is killed goes on with what is missing, and folds are trained beside each
other. A fold is every FOLDS-th text of a side in hash order. All models are trained by one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.manifest import ClassifierRecord, ExamplesRecord, LabelledRecord
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.blocks.source import Source
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.stage import make_missing, run_missing
from mixproof.pipeline.columns import read_whole
from mixproof.pipeline.heldout.evaluation import EvaluationFile
from mixproof.pipeline.heldout.import_heldout import imported_sets
from mixproof.pipeline.heldout.overlap_index import INDEX, index_key, load_index, make_index
from mixproof.pipeline.heldout.split import identity
from mixproof.pipeline.read.documents import SourceDocuments, read_sources
from mixproof.pipeline.read.selection import Selection

from .examples import Protected, Side, SideAccount, choose_examples, protection_of
from .fasttext_file import sha256_of_model
from .fasttext_training import PACKAGE, SETTINGS, train_fasttext
from .inputs import ClassifierInputs
from .labelled_file import read_labelled
from .linear import PENALTY, train_linear
from .model import STAGE, Scores, TrainedModel, file_of, scorer_of
from .roc import roc_auc

VERSION = 1
EXAMPLES = "examples.parquet"
FOLDS = 5
MIN_SIDE = 10
"""Fewest texts of a side that a classifier is trained on."""
UNSCORED = 0.5
"""The score of a text without a known word."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier of a build."""

    model: TrainedModel
    record: ClassifierRecord
    """What the manifest states of it."""


@dataclass(frozen=True)
class Training:
    """One model to train."""

    examples: str
    """Path of `examples.parquet` in the store."""
    inputs: ClassifierInputs
    fold: int | None
    """The fold that is measured instead of trained on; None: the model is trained on all texts and kept."""


def train_classifier(selection: Selection, inputs: ClassifierInputs) -> TrainedClassifier:
    """Train the classifier of a label on the documents that deduplication kept, unless the store has it.

    Raises:
        RequestError: when a side has too few texts.
        DamagedFileError: when a file cannot be read to its end.
    """
    store, classifier = selection.store, inputs.classifier
    chosen = _examples(selection, inputs)
    path = f"{STAGE}/{chosen.key}/{EXAMPLES}"
    sha256 = chosen.files[EXAMPLES].content_sha256
    work = {
        stage_key(STAGE, VERSION, {**_settings(inputs), "fold": fold}, sha256): Training(path, inputs, fold)
        for fold in (None, *range(FOLDS))
    }

    def calls(missing: Mapping[str, Training]) -> list[tuple[object, ...]]:
        return [(store, key, each) for key, each in missing.items()]

    done = run_missing(store, STAGE, work, calls, train_model, selection.cluster, "classifiers")
    (final, *folds) = (done[key] for key in work)
    name = file_of(classifier)
    model = TrainedModel(f"{STAGE}/{final.key}/{name}", final.files[name].sha256, classifier.chars, inputs.table)
    record = ClassifierRecord(
        kind=classifier.kind,
        chars=classifier.chars,
        model=model.path,
        model_sha256=model.sha256,
        examples=path,
        examples_sha256=sha256,
        sources=tuple(ExamplesRecord.model_validate(each) for each in chosen.facts["accounts"]),
        cross_validation=tuple(float(fold.facts["auc"]) for fold in folds),
        evaluated=_evaluate(selection, inputs, model),
    )
    return TrainedClassifier(model, record)


def train_model(store: Store, key: str, training: Training) -> None:
    """Train one model; of a fold, measure it on the texts that it was not trained on (Ray task)."""
    inputs = training.inputs
    texts, is_positive = read_examples(store.path(training.examples))
    inside = np.ones(len(texts), np.bool_) if training.fold is None else folds_of(is_positive) != training.fold
    with store.attempt(STAGE, key) as attempt:
        path = attempt.path(file_of(inputs.classifier))
        write_model([texts[row] for row in np.flatnonzero(inside)], is_positive[inside], inputs, path)
        if training.fold is None:
            attempt.commit()
            return
        scorer = scorer_of(path, sha256_of_model(str(path)), inputs.classifier.chars, inputs.table)
        outside = [texts[row] for row in np.flatnonzero(~inside)]
        auc = roc_auc(scores_of(scorer, outside), is_positive[~inside])
        path.unlink()
        attempt.commit(facts={"auc": str(auc)})


def write_model(texts: Sequence[str], is_positive: NDArray[np.bool_], inputs: ClassifierInputs, path: Path) -> None:
    """Train a model on texts and write its file."""
    if inputs.table is None:
        train_fasttext(texts, is_positive, path)
    else:
        path.write_bytes(train_linear(texts, is_positive, inputs.classifier.chars, inputs.table).to_bytes())


def read_examples(path: Path) -> tuple[list[str], NDArray[np.bool_]]:
    """The texts of `examples.parquet`, and whether each is positive."""
    table = read_whole(path, ["text", "is_positive"])
    return table["text"].to_pylist(), np.array(table["is_positive"].to_pylist(), np.bool_)


def folds_of(is_positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The fold of each text: texts of each side in turn."""
    rank = np.where(is_positive, np.cumsum(is_positive), np.cumsum(~is_positive)) - 1
    return (rank % FOLDS).astype(np.int64)


def scores_of(scorer: Scores, texts: Sequence[str]) -> NDArray[np.float64]:
    """The scores of texts: float64 [texts]."""
    return np.array([UNSCORED if score is None else score for score in scorer(texts)], np.float64)


def _settings(inputs: ClassifierInputs) -> dict[str, object]:
    """What decides a model besides its texts."""
    if inputs.table is None:
        return {"kind": "fasttext", **SETTINGS, "version": version(PACKAGE)}
    return {"kind": "linear", "chars": inputs.classifier.chars, "table": inputs.table.sha256, "penalty": str(PENALTY)}


def _examples(selection: Selection, inputs: ClassifierInputs) -> Receipt:
    """Choose the examples, unless the store has them."""
    store, classifier = selection.store, inputs.classifier
    sides = _sides(selection, inputs)
    spec = selection.spec
    sets = [] if spec.heldout.from_ is None else imported_sets(spec, inputs.base, store)
    against = (*inputs.against, *inputs.labelled)
    options = protection_of(spec)
    index = index_key(options.ngram, sets, against)
    config = {
        "documents": classifier.documents,
        "chars": classifier.chars,
        "reserve": classifier.reserve,
        "overlap": options.overlap,
        "protected": index if sets or against else None,
    }
    shards = [
        [side.entry, side.is_positive, [identity(*each) for each in zip(side.documents, side.keep, strict=True)]]
        for side in sides
    ]
    key = stage_key(STAGE, VERSION, config, shards)

    def make() -> Receipt:
        protected = Protected(None, None, options.overlap)
        if sets or against:
            calls = [(store, index, options.ngram, sets, list(against))]
            run_missing(store, INDEX, {index: None}, lambda _: calls, make_index, selection.cluster, "classifiers")
            protected = Protected(*load_index(store, index), options.overlap)
        table, accounts = choose_examples(selection, classifier, sides, protected)
        _refuse_few(table, accounts, inputs.where)
        with store.attempt(STAGE, key) as attempt:
            pq.write_table(table, attempt.path(EXAMPLES), compression="zstd")
            return attempt.commit(facts={"accounts": [_plain(each) for each in accounts]})

    return make_missing(store, STAGE, key, make, selection.cluster)


def _plain(account: SideAccount) -> dict[str, object]:
    """The account of an entry as the manifest states it."""
    return {
        "entry": account.side.entry,
        "side": "positive" if account.side.is_positive else "negative",
        "total": account.total.model_dump(),
        "trained": account.trained.model_dump(),
        "left_out": {reason: count.model_dump() for reason, count in account.left_out.items()},
        "inputs_sha256": account.side.inputs_sha256,
    }


def _refuse_few(table: pa.Table, accounts: Sequence[SideAccount], where: str) -> None:
    """Refuse a side with too few texts.

    Raises:
        RequestError: naming the side and what it lost.
    """
    for is_positive, side in ((True, "positive"), (False, "negative")):
        number = table["is_positive"].to_pylist().count(is_positive)
        if number < MIN_SIDE:
            lost: dict[str, int] = {}
            for each in accounts:
                if each.side.is_positive == is_positive:
                    for reason, count in each.left_out.items():
                        lost[reason] = lost.get(reason, 0) + count.documents
            reasons = ", ".join(f"{reason} {documents}" for reason, documents in lost.items())
            raise RequestError(
                f"{where}: the {side} side has {number} texts to train on, fewer than {MIN_SIDE}; left out: "
                f"{reasons or 'none'}; add sources or files to `{side}`, or lower `reserve`"
            )


def _sides(selection: Selection, inputs: ClassifierInputs) -> list[Side]:
    """The documents of every entry: sources of the build, or files that are read here."""
    spec, classifier = selection.spec, inputs.classifier
    given = {name: Source(files=(name,), text=classifier.text) for name in inputs.files}
    read: dict[str, SourceDocuments] = {}
    if given:
        others = spec.model_copy(update={"sources": given}).with_positions(spec.positions)
        read = read_sources(others, inputs.files, selection.store, selection.cluster)
    sides = []
    for side, entries in (("positive", classifier.positive), ("negative", classifier.negative)):
        for index, entry in enumerate(entries):
            keep: tuple[tuple[Bitmap | None, ...], ...]
            documents: tuple[SourceDocuments, ...]
            if entry in read:
                name, documents = f"{side}[{index}]", (read[entry],)
                keep = ((None,) * len(read[entry].shards),)
            else:
                names = [each for each in selection.sources if each == entry or each.startswith(f"{entry}/")]
                name, documents = entry, tuple(selection.sources[each] for each in names)
                keep = tuple(selection.keep[each] for each in names)
            if not documents:
                raise RequestError(f"{inputs.where}: there is no part {entry!r}; check the name")
            inputs_sha256 = read[entry].inputs.sha256 if entry in read else None
            sides.append(Side(name, side == "positive", documents, keep, inputs_sha256))
    return sides


def _evaluate(selection: Selection, inputs: ClassifierInputs, model: TrainedModel) -> tuple[LabelledRecord, ...]:
    """Measure a model on its labelled files, unless the store knows the result."""
    store = selection.store
    work = {
        stage_key(STAGE, VERSION, {"evaluate": inputs.classifier.text}, [model.sha256, file.sha256]): file
        for file in inputs.labelled
    }

    def calls(missing: Mapping[str, EvaluationFile]) -> list[tuple[object, ...]]:
        return [(store, key, model, file, inputs.classifier.text) for key, file in missing.items()]

    done = run_missing(store, STAGE, work, calls, evaluate_model, selection.cluster, "classifiers")
    return tuple(
        LabelledRecord(
            file=file.file.name,
            sha256=file.sha256,
            texts=int(done[key].facts["texts"]),
            positive=int(done[key].facts["positive"]),
            auc=float(done[key].facts["auc"]),
        )
        for key, file in work.items()
    )


def evaluate_model(store: Store, key: str, model: TrainedModel, file: EvaluationFile, text: str) -> None:
    """Measure a model on a labelled file (Ray task)."""
    texts, labels = read_labelled(file, text)
    is_positive = np.array(labels, np.bool_)
    auc = roc_auc(scores_of(model.scorer(store), texts), is_positive)
    with store.attempt(STAGE, key) as attempt:
        attempt.commit(facts={"texts": len(texts), "positive": int(is_positive.sum()), "auc": str(auc)})
