"""Divide sources into cells: after deduplication, each cell takes the place of its source.

A source is read and deduplicated as one, because exact quantiles are those of the documents that are left, and a
document must not change its cell with the copy of it that stays. Then a cell is the source's shards with the bitmap of
its documents, so no text is written again. Its account starts with the rows of its source; the row `cells` drops what
is in other cells, as `of_another_part`, and what was pruned with its fine cluster, as `pruned`. So it closes from the
raw records on, and the cells of a source and what was pruned add up to what came into that row. Labels are those of the
texts as they are encoded: after paragraphs have been cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import AccountError, RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.cells import AxisRecord, CellsRecord, ClustersRecord
from mixproof.ledger.store import Receipt
from mixproof.mixtures.blocks.heldout import HeldoutCreate
from mixproof.mixtures.blocks.split import PRUNED
from mixproof.mixtures.split_sources import Value, part_name
from mixproof.pipeline.bitmap import Bitmap, bitmap_of
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches
from mixproof.pipeline.read.documents import RemovalList, SourceDocuments
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import DOCUMENTS
from mixproof.pipeline.record import OTHER_PART

from .assign import PRUNED_LIST, Assignment, assign_shards, bitmap_file, names_of
from .axis import Axis, category_axis, number_axis
from .survey import STAGE, VERSION, LabelPaths, numbers_file, survey

SHOWN_CELLS = 10
"""Cells that an error names."""


@dataclass(frozen=True)
class Divided:
    """A source in cells."""

    values: tuple[Value, ...]
    """What its parts are named by; only cells with documents are parts."""
    sources: dict[str, SourceDocuments]
    """By name of the part."""
    keep: dict[str, tuple[Bitmap | None, ...]]
    rows: dict[str, StageRow]
    """The ledger row `cells` of each part."""
    record: CellsRecord
    lists: tuple[RemovalList, ...]
    """Lists of the documents that were pruned, one for each shard that lost any."""


def divide(selection: Selection, name: str, labels: LabelPaths, clusters: Mapping[str, ClustersRecord]) -> Divided:
    """Divide one source.

    Args:
        selection: the documents that deduplication kept.
        name: of the source.
        labels: of its shards.
        clusters: by name of the label that is made of them.

    Raises:
        RequestError: when documents have no value and the spec wants that to be an error, or none has one; when cells
            are too small for their held-out sets.
        AccountError: E4, when the cells do not add up to the source.
    """
    axes, missing = _axes(selection, name, labels)
    source, before = selection.sources[name], selection.last_rows[name]
    assigned = _assign(selection, name, labels, axes)
    parts: dict[int, list[tuple[int, Bitmap, Count]]] = {}
    pruned, lists = _pruned(source, assigned)
    for index, receipt in enumerate(assigned):
        for cell, documents, size in receipt.facts["cells"]:
            bitmap = bitmap_of(receipt, documents, bitmap_file(cell))
            parts.setdefault(cell, []).append((index, bitmap, Count(documents=documents, bytes=size)))
    values: list[Value] = []
    sources, rows, counts = {}, {}, {}
    keep: dict[str, tuple[Bitmap | None, ...]] = {}
    for cell in sorted(parts):
        names = names_of(axes, cell)
        value: Value = names if len(names) > 1 else names[0]
        part = part_name(name, value)
        total = sum((count for _, _, count in parts[cell]), Count(documents=0, bytes=0))
        shards = tuple(
            replace(source.shards[index], source=part, text_bytes=count.bytes) for index, _, count in parts[cell]
        )
        tasks = tuple(source.tasks[index] for index, _, _ in parts[cell])
        values.append(value)
        sources[part] = replace(source, name=part, shards=shards, tasks=tasks, lists=())
        keep[part] = tuple(bitmap for _, bitmap, _ in parts[cell])
        rows[part] = _row(part, before, total, pruned)
        counts[part] = total
    record = CellsRecord(
        axes=tuple(
            AxisRecord(
                column=axis.column,
                cells=axis.cells,
                edges=axis.edge_texts(),
                unlabelled=without,
                clusters=clusters.get(axis.column),
            )
            for axis, without in zip(axes, missing, strict=True)
        ),
        documents=before.documents_out,
        bytes=before.bytes_out,
        parts=counts,
        pruned=pruned if pruned.documents else None,
    )
    _check_sum(name, record)
    _check_supply(selection, name, counts)
    return Divided(tuple(values), sources, keep, rows, record, lists)


def _pruned(source: SourceDocuments, assigned: Sequence[Receipt]) -> tuple[Count, tuple[RemovalList, ...]]:
    """Count the documents that leave the corpus with their fine clusters; also return their lists."""
    total, lists = Count(documents=0, bytes=0), []
    for shard, receipt in zip(source.shards, assigned, strict=True):
        documents, size = receipt.facts.get("pruned", (0, 0))
        if documents:
            total += Count(documents=documents, bytes=size)
            path = f"{STAGE}/{receipt.key}/{PRUNED_LIST}"
            lists.append(RemovalList("pruned", path, shard.file or None, shard.first_record, documents))
    return total, tuple(lists)


def _axes(selection: Selection, name: str, labels: LabelPaths) -> tuple[tuple[Axis, ...], list[int]]:
    """The axes of a source with their cells, and for each the documents that have no value."""
    store = selection.store
    declared = selection.spec.sources[name].axes
    columns = tuple((axis.column, axis.score is not None) for axis in declared)
    receipts = survey(selection, name, labels, columns)
    axes: list[Axis] = []
    missing: list[int] = []
    for index, axis in enumerate(declared):
        where = selection.spec.where("sources", name, "split_by", index)
        missing.append(sum(int(receipt.facts["missing"][index]) for receipt in receipts))
        if missing[-1] and axis.missing == "error":
            raise RequestError(
                f"{where}: {missing[-1]} of {selection.last_rows[name].documents_out} documents have no value in "
                f"{axis.column!r}; correct the records, or remove `missing: error` to get a cell of these documents"
            )
        if axis.score is None:
            values: dict[str, int] = {}
            for receipt in receipts:
                for value, count in receipt.facts["values"][index].items():
                    values[value] = values.get(value, 0) + count
            axes.append(category_axis(where, axis, values))
        else:
            files = [store.path(f"{STAGE}/{receipt.key}/{numbers_file(index)}") for receipt in receipts]
            axes.append(number_axis(where, axis, [load_array(file, mmap_mode="r") for file in files]))
    return tuple(axes), missing


def _assign(selection: Selection, name: str, labels: LabelPaths, axes: tuple[Axis, ...]) -> list[Receipt]:
    source = selection.sources[name]
    config = {"assign": [axis.plain() for axis in axes]}
    work: dict[str, Assignment] = {}
    keys: list[str] = []
    for shard, keep, paths in zip(source.shards, selection.keep[name], labels, strict=True):
        inputs = [shard.documents_sha256, keep and keep.sha256, sorted(paths.items())]
        keys.append(stage_key(STAGE, VERSION, config, inputs))
        path = f"{shard.folder}/{DOCUMENTS}"
        work[keys[-1]] = Assignment(path, shard.documents, keep, tuple(sorted(paths.items())), axes)

    def calls(missing: dict[str, Assignment]) -> list[tuple[object, ...]]:
        return [(selection.store, batch) for batch in in_batches(missing.items(), SHARDS_PER_TASK)]

    receipts = run_missing(selection.store, STAGE, work, calls, assign_shards, selection.cluster, "cells")
    return [receipts[key] for key in keys]


def _row(part: str, before: StageRow, inside: Count, pruned: Count) -> StageRow:
    others = Count(
        documents=before.documents_out - inside.documents - pruned.documents,
        bytes=before.bytes_out - inside.bytes - pruned.bytes,
    )
    dropped = {OTHER_PART: others, PRUNED: pruned}
    return StageRow(
        stage=STAGE,
        documents_in=before.documents_out,
        documents_out=inside.documents,
        bytes_in=before.bytes_out,
        bytes_out=inside.bytes,
        dropped={reason: count for reason, count in dropped.items() if count.documents},
    ).check(source=part)


def _check_supply(selection: Selection, source: str, cells: Mapping[str, Count]) -> None:
    """Refuse cells that cannot supply their held-out sets, all in one message."""
    spec = selection.spec
    if spec.heldout.from_ is not None:
        return
    least = max(1, (spec.heldout.create or HeldoutCreate()).min_documents)
    few = [f"{cell} ({count.documents:,})" for cell, count in sorted(cells.items()) if count.documents <= least]
    if few:
        more = f" and {len(few) - SHOWN_CELLS:,} more" if len(few) > SHOWN_CELLS else ""
        lower = "lower heldout.create.min_documents, " if least > 1 else ""
        label = next((axis.label for axis in spec.sources[source].axes if axis.label is not None), "language")
        raise RequestError(
            f"{spec.where('sources', source, 'split_by')}: {len(few):,} of {len(cells):,} cells have too few "
            f"documents: {', '.join(few[:SHOWN_CELLS])}{more}; the held-out set of each needs at least {least:,} "
            f"(heldout.create.min_documents) beside those for training; {lower}divide into fewer cells, or drop "
            f"documents of rare values, as `keep: {{label: {label}, min_documents: {least + 1}}}` does"
        )


def _check_sum(source: str, record: CellsRecord) -> None:
    total = sum(record.parts.values(), record.pruned or Count(documents=0, bytes=0))
    if (total.documents, total.bytes) != (record.documents, record.bytes):
        raise AccountError(
            "E4",
            f"{record.documents} documents of {record.bytes} bytes",
            f"{total.documents} documents of {total.bytes} bytes in all cells and pruned",
            source=source,
            stage=STAGE,
        )
