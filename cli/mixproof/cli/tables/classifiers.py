"""The classifiers that a build trained, or `inspect` on a sample: for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.cli.output import count, print_labelled
from mixproof.ledger.records.classifiers import ClassifierRecord

HIDDEN = ("heldout", "evaluation")
"""Reasons why a classifier must not see a document."""


def print_classifiers(classifiers: Mapping[str, ClassifierRecord]) -> None:
    """Print what each classifier was trained on and what it reaches."""
    for name, record in classifiers.items():
        print_labelled("trained", classifier_line(name, record))


def classifier_line(name: str, record: ClassifierRecord) -> str:
    """Say what a classifier was trained on, what was left out, and what it reaches."""
    sides = ", ".join(
        f"{count(sum(each.trained.documents for each in record.sources if each.side == side))} {side}"
        for side in ("positive", "negative")
    )
    hidden = sum(
        lost.documents for each in record.sources for reason, lost in each.left_out.items() if reason in HIDDEN
    )
    reached = [f"cross-validation AUC {record.mean_auc:.4f}"]
    reached += [f"AUC {each.auc:.4f} on {each.file} ({count(each.texts)} texts)" for each in record.evaluated]
    left = f"{count(hidden)} left out for held-out and evaluation texts"
    return f"{name} ({record.kind}) on {sides} texts, {left}: {', '.join(reached)}"


def classifiers_json(classifiers: Mapping[str, ClassifierRecord]) -> dict[str, object]:
    """The JSON form, without the paths of files."""
    hidden = {"model", "examples", "examples_sha256"}
    return {name: record.model_dump(exclude=hidden) for name, record in classifiers.items()}
