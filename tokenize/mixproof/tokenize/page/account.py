"""The account of a build: every loss with its reason, and what each source's files became."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mixproof.ledger.manifest import SourceRecord

from .build_evidence import BuildEvidence
from .palette import Look
from .table import Cell, Table, columns, count, percent


@dataclass(frozen=True)
class Loss:
    """Documents and bytes that one stage dropped from one source for one reason."""

    source: str
    stage: str
    reason: str
    documents: int
    bytes: int
    into_stage: int
    """Documents that entered the stage."""
    path: tuple[str | int, ...]
    """Path of the number in the manifest."""


def losses(source_name: str, source: SourceRecord) -> Iterator[Loss]:
    """All losses of a source, in the order of its stages."""
    for index, row in enumerate(source.ledger):
        at = ("sources", source_name, "ledger", index)
        for reason, dropped in row.dropped.items():
            yield Loss(
                source_name,
                row.stage,
                reason,
                dropped.documents,
                dropped.bytes,
                row.documents_in,
                (*at, "dropped", reason, "documents"),
            )
        if row.bytes_removed:
            yield Loss(
                source_name,
                row.stage,
                "removed from kept documents",
                0,
                row.bytes_removed,
                row.documents_in,
                (*at, "bytes_removed"),
            )


def loss_table(build: BuildEvidence, of_source: dict[str, Look], number: int) -> Table:
    """One row per loss."""
    rows = [
        (
            Cell(loss.source, color=of_source[loss.source].color),
            Cell(loss.stage),
            Cell(loss.reason.replace("_", " ")),
            count(loss.documents, build.anchor if loss.documents else None, *loss.path),
            Cell(percent(loss.documents / loss.into_stage), loss.documents / loss.into_stage),
            count(loss.bytes, build.anchor, *loss.path[:-1], "bytes" if "dropped" in loss.path else loss.path[-1]),
        )
        for name, source in sorted(build.manifest.sources.items())
        for loss in losses(name, source)
    ]
    heads = columns("source", "stage", "reason", "documents", "% of stage input", "bytes", text=3)
    return Table(f"loss-table-{number}", "Losses by source, stage and reason", heads, tuple(rows))


def account_table(build: BuildEvidence, of_source: dict[str, Look], number: int) -> Table:
    """One row per source: files and records read, training and held-out text; supervised tokens of conversations."""
    rows = []
    masked = any(source.train.supervised_tokens is not None for source in build.manifest.sources.values())
    for name, source in sorted(build.manifest.sources.items()):
        at = (build.anchor, "sources", name)
        rows.append(
            (
                Cell(name, color=of_source[name].color),
                count(source.inputs.files, *at, "inputs", "files"),
                count(source.inputs.records, *at, "inputs", "records"),
                count(source.train.documents, *at, "train", "documents"),
                count(source.train.bytes, *at, "train", "bytes"),
                count(source.train.tokens, *at, "train", "tokens"),
                *([_supervised(source, build.anchor, name)] if masked else ()),
                count(source.heldout.documents, *at, "heldout", "documents"),
                count(source.heldout.tokens, *at, "heldout", "tokens"),
            )
        )
    heads = columns(
        "source",
        "files",
        "records read",
        "training documents",
        "training bytes",
        "training tokens",
        *(("supervised tokens",) if masked else ()),
        "held-out documents",
        "held-out tokens",
    )
    return Table(f"account-table-{number}", "Account of the build, by source", heads, tuple(rows))


def _supervised(source: SourceRecord, anchor: str, name: str) -> Cell:
    """The training tokens that the loss counts at `stage: sft`: of plain text, all."""
    found = source.train.supervised_tokens
    key = "tokens" if found is None else "supervised_tokens"
    return count(source.train.tokens if found is None else found, anchor, "sources", name, "train", key)
