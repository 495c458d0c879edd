"""What a build knows of its documents' labels: parts of split sources, and documents dropped for their language."""

from __future__ import annotations

from collections.abc import Iterator

from mixproof.ledger.manifest import Manifest

from .account import losses
from .palette import Look
from .table import Cell, Table, columns, count, percent

LANGUAGE_REASON = "language_"
HIDDEN = ("heldout", "evaluation")
"""Reasons why a classifier is not trained on a document, shown each in a column."""
KEEP = "keep"
"""The ledger's row of the rules by which a source keeps documents; its reasons name labels, not languages."""
_NOT_LABELS = ("language_score", "language_missing")


def parts_table(manifest: Manifest, of_source: dict[str, Look]) -> Table:
    """One row per part of a split source: its label, documents, bytes and tokens, and its share of the source."""
    values = {name: source.get("split_value") for name, source in manifest.spec.get("sources", {}).items()}
    whole: dict[str, int] = {}
    for name, source in manifest.sources.items():
        parent = name.partition("/")[0]
        whole[parent] = whole.get(parent, 0) + source.train.tokens
    rows = []
    for name, source in sorted(manifest.sources.items()):
        parent, label = name.partition("/")[0], values.get(name)
        if label is not None:
            share = source.train.tokens / (whole[parent] or 1)
            numbers = (source.train.documents, source.train.bytes, source.train.tokens)
            cells = (
                Cell(parent, color=of_source[name].color),
                Cell(label if isinstance(label, str) else " · ".join(label)),
                *(count(number) for number in numbers),
            )
            rows.append((*cells, Cell(percent(share), share)))
    heads = columns("source", "label", "documents", "bytes", "tokens", "% of source tokens", text=2)
    return Table("parts-table", "Training text of split sources, by label", heads, tuple(rows))


def classifiers_table(manifest: Manifest) -> Table:
    """One row per classifier and source of its examples: what it was trained on, and what it reaches."""
    heads = columns(
        "classifier",
        "source",
        "side",
        "trained on",
        "bytes",
        "left out: held-out share",
        "left out: evaluation",
        text=3,
    )
    rows = []
    for name, record in sorted(manifest.classifiers.items()):
        measured = [f"cross-validation AUC {record.mean_auc:.4f}"]
        measured += [f"{each.file}: AUC {each.auc:.4f} on {each.texts:,} texts" for each in record.evaluated]
        for index, source in enumerate(record.sources):
            lost = [source.left_out[reason].documents if reason in source.left_out else 0 for reason in HIDDEN]
            note = f"{record.kind}; {'; '.join(measured)}" if index == 0 else None
            cells = (Cell(name, note=note), Cell(source.entry), Cell(source.side))
            numbers = (source.trained.documents, source.trained.bytes, *lost)
            rows.append((*cells, *(count(number) for number in numbers)))
    return Table(
        "classifiers-table", "Classifiers that the build trained, by source of their examples", heads, tuple(rows)
    )


def languages_table(manifest: Manifest) -> Table:
    """One row per source and language whose documents a `language` step dropped."""
    heads = columns("source", "language", "documents dropped", "bytes dropped", text=2)
    rows = tuple(
        (Cell(source), Cell(language), count(documents), count(size))
        for source, language, documents, size in _dropped_languages(manifest)
    )
    return Table("languages-table", "Documents dropped for their language", heads, rows)


def _dropped_languages(manifest: Manifest) -> Iterator[tuple[str, str, int, int]]:
    for loss in losses(manifest):
        if loss.stage != KEEP and loss.reason.startswith(LANGUAGE_REASON) and loss.reason not in _NOT_LABELS:
            yield loss.source, loss.reason.removeprefix(LANGUAGE_REASON), loss.documents, loss.bytes
