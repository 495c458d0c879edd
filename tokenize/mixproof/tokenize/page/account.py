"""The account of a build: every loss with its reason, and what each source's files became."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.pipeline.record import OTHER_PART

from .build_evidence import BuildEvidence
from .flow import CELLS
from .palette import Look
from .table import Cell, Table, columns, count, percent

NOTHING = Cell("–", -1)
"""What a row does not state."""


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


def losses(manifest: Manifest) -> Iterator[Loss]:
    """All losses, by source and in the order of its stages; documents of another part are not lost.

    What a source lost before it was divided into cells is stated once, under the name of the whole source.
    """
    wholes = {part: whole for whole, record in manifest.cells.items() for part in record.parts}
    stated = set[tuple[str, int]]()
    for part, source in sorted(manifest.sources.items()):
        stages = [row.stage for row in source.ledger]
        shared = stages.index(CELLS) + 1 if part in wholes else 0
        for index, row in enumerate(source.ledger):
            name = wholes[part] if index < shared else part
            if (name, index) not in stated:
                yield from _losses_of_stage(name, row, ("sources", part, "ledger", index))
            stated |= {(name, index)} if index < shared else set()


def _losses_of_stage(name: str, row: StageRow, at: tuple[str | int, ...]) -> Iterator[Loss]:
    lost: dict[str, Count] = {reason: count for reason, count in row.dropped.items() if reason != OTHER_PART}
    for reason, dropped in lost.items():
        path = (*at, "dropped", reason, "documents")
        yield Loss(name, row.stage, reason, dropped.documents, dropped.bytes, row.documents_in, path)
    if row.bytes_removed:
        path = (*at, "bytes_removed")
        yield Loss(name, row.stage, "removed from kept documents", 0, row.bytes_removed, row.documents_in, path)


def loss_table(build: BuildEvidence, of_source: dict[str, Look], number: int) -> Table:
    """One row per loss."""
    looks = of_source | {whole: of_source[part] for whole, part in build.first_parts.items()}
    rows = [
        (
            Cell(loss.source, color=looks[loss.source].color),
            Cell(loss.stage),
            Cell(loss.reason.replace("_", " ")),
            count(loss.documents, build.anchor if loss.documents else None, *loss.path),
            Cell(percent(loss.documents / loss.into_stage), loss.documents / loss.into_stage),
            count(loss.bytes, build.anchor, *loss.path[:-1], "bytes" if "dropped" in loss.path else loss.path[-1]),
        )
        for loss in losses(build.manifest)
    ]
    heads = columns("source", "stage", "reason", "documents", "% of stage input", "bytes", text=3)
    return Table(f"loss-table-{number}", "Losses by source, stage and reason", heads, tuple(rows))


def account_table(build: BuildEvidence, of_source: dict[str, Look], number: int) -> Table:
    """One row per source: files and records read, training and held-out text; supervised tokens of conversations.

    A source that was divided into cells has a row for its files and records, and a row per cell for the text.
    """
    sources = build.manifest.sources
    masked = any(source.train.supervised_tokens is not None for source in sources.values())
    parts = {part for record in build.manifest.cells.values() for part in record.parts}
    rows = {name: _account_row(build, of_source[name], name, name in parts, masked=masked) for name in sources}
    for whole in build.manifest.cells:
        part = build.first_parts[whole]
        name = Cell(whole, color=of_source[part].color)
        rows[whole] = (name, *_read(build, part), *[NOTHING] * (6 if masked else 5))
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
    return Table(
        f"account-table-{number}", "Account of the build, by source", heads, tuple(rows[name] for name in sorted(rows))
    )


def _account_row(build: BuildEvidence, look: Look, name: str, is_part: bool, *, masked: bool) -> tuple[Cell, ...]:
    source, at = build.manifest.sources[name], (build.anchor, "sources", name)
    return (
        Cell(name, color=look.color),
        *((NOTHING, NOTHING) if is_part else _read(build, name)),
        count(source.train.documents, *at, "train", "documents"),
        count(source.train.bytes, *at, "train", "bytes"),
        count(source.train.tokens, *at, "train", "tokens"),
        *([_supervised(source, build.anchor, name)] if masked else ()),
        count(source.heldout.documents, *at, "heldout", "documents"),
        count(source.heldout.tokens, *at, "heldout", "tokens"),
    )


def _read(build: BuildEvidence, name: str) -> tuple[Cell, Cell]:
    """Files and records."""
    inputs, at = build.manifest.sources[name].inputs, (build.anchor, "sources", name, "inputs")
    return count(inputs.files, *at, "files"), count(inputs.records, *at, "records")


def _supervised(source: SourceRecord, anchor: str, name: str) -> Cell:
    """The training tokens that the loss counts at `stage: sft`: of plain text, all."""
    found = source.train.supervised_tokens
    key = "tokens" if found is None else "supervised_tokens"
    return count(source.train.tokens if found is None else found, anchor, "sources", name, "train", key)
