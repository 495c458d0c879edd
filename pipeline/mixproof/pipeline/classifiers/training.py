"""Train a classifier: its examples, a model for each fold and one on all of them, and what they reach.

Each is a separate output, so a killed build resumes with those that are missing, and folds are trained in
parallel. A fold is every FOLDS-th text of a side in hash order. All models are trained by one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.classifiers import ClassifierRecord, ExamplesRecord, LabelledRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.clusters.token_table import TableFiles
from mixproof.pipeline.columns import read_whole
from mixproof.pipeline.heldout.evaluation import EvaluationFile
from mixproof.pipeline.read.selection import Selection

from .collect import EXAMPLES, VERSION, collect_examples
from .fasttext_file import sha256_of_model
from .fasttext_training import VERSION as FASTTEXT_VERSION
from .fasttext_training import train_fasttext
from .inputs import ClassifierInputs
from .labelled_file import read_labelled
from .linear import PENALTY, train_linear
from .model import STAGE, Scores, TrainedModel, file_of, scorer_of
from .other_build import copy_other
from .roc import roc_auc

FOLDS = 5
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

    One from another build is copied instead.

    Raises:
        RequestError: when a side has too few texts.
        DamagedFileError: when a file cannot be read to its end.
    """
    store, classifier = selection.store, inputs.classifier
    if inputs.origin is not None:
        record = copy_other(inputs.origin, store)
        return TrainedClassifier(TrainedModel(record.model, record.model_sha256, record.chars, inputs.table), record)
    chosen = collect_examples(selection, inputs)
    examples = store.receipt(STAGE, str(chosen.facts["key"]))
    assert examples is not None, "it was found or made"
    path = f"{STAGE}/{examples.key}/{EXAMPLES}"
    sha256 = examples.files[EXAMPLES].content_sha256
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
        used = [texts[row] for row in np.flatnonzero(inside)]
        write_model(used, is_positive[inside], inputs.classifier.chars, inputs.table, path)
        if training.fold is None:
            attempt.commit()
            return
        scorer = scorer_of(path, sha256_of_model(str(path)), inputs.classifier.chars, inputs.table)
        outside = [texts[row] for row in np.flatnonzero(~inside)]
        auc = roc_auc(scores_of(scorer, outside), is_positive[~inside])
        path.unlink()
        attempt.commit(facts={"auc": str(auc)})


def write_model(
    texts: Sequence[str], is_positive: NDArray[np.bool_], chars: int, table: TableFiles | None, path: Path
) -> None:
    """Train a model on texts and write its file: a linear one if there is a token table, else fastText."""
    if table is None:
        path.write_bytes(train_fasttext(texts, is_positive))
    else:
        path.write_bytes(train_linear(texts, is_positive, chars, table).to_bytes())


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
        return {"kind": "fasttext", "version": FASTTEXT_VERSION}
    return {"kind": "linear", "chars": inputs.classifier.chars, "table": inputs.table.sha256, "penalty": str(PENALTY)}


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
