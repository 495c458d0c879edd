"""Sources after some of their shards were rewritten with shorter texts: shards, ledger row, losses, lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mixproof.ledger.account import Count, StageRow, sum_rows
from mixproof.ledger.errors import AccountError
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.records.dropped import CutsRecord
from mixproof.ledger.store import Receipt
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.dedup.duplicates import GroupDuplicates
from mixproof.pipeline.dedup.lost_documents import SourcePair, add_losses, loss_matrix
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import DOCUMENTS, Shard

from .lists import LIST, CutList, ListKind, join_lists


@dataclass(frozen=True)
class CutSources:
    """Documents without what other documents keep."""

    sources: dict[str, SourceDocuments]
    """The sources with rewritten shards in place of the old ones."""
    keep: dict[str, tuple[Bitmap | None, ...]]
    """For each source one bitmap per shard; None for a rewritten shard."""
    rows: dict[str, StageRow]
    """The ledger row of each source; empty when the search is off."""
    lists: dict[str, tuple[CutsRecord, ...]]
    """Lists of what was cut from each source; empty when the search is off."""
    matrix: tuple[MatrixRow, ...]
    """What each source lost to each, itself included."""
    duplicates: tuple[GroupDuplicates, ...] = ()
    """Where the dropped documents of each group are named."""


@dataclass(frozen=True)
class Part:
    """A shard and the bitmap of its participating rows."""

    shard: Shard
    bitmap: Bitmap | None

    @property
    def bitmap_path(self) -> str | None:
        """Path of the bitmap; None: all rows."""
        return None if self.bitmap is None else self.bitmap.path

    @property
    def documents(self) -> int:
        """Number of participating documents."""
        return self.shard.documents if self.bitmap is None else self.bitmap.kept


Rewritten = Mapping[str, Sequence[Receipt | None]]
"""By source, the receipts of its rewritten shards, None for the others, in order."""


def parts_of_source(selection: Selection, name: str) -> list[Part]:
    """Return the shards of a source with their bitmaps."""
    return [Part(*pair) for pair in zip(selection.sources[name].shards, selection.keep[name], strict=True)]


def documents_dropped(receipt: Receipt | None) -> int:
    """Number of documents that were dropped when a shard was rewritten."""
    return 0 if receipt is None else receipt.account[0].documents_in - receipt.account[0].documents_out


def not_cut(selection: Selection) -> CutSources:
    """Return the documents as they are, for a search that is off."""
    return CutSources(dict(selection.sources), dict(selection.keep), {}, {}, ())


def with_cuts(
    selection: Selection, kind: ListKind, rewritten: Rewritten, duplicates: Sequence[GroupDuplicates]
) -> CutSources:
    """Put rewritten shards in place of the old ones, with the account and the lists of what was cut.

    Raises:
        AccountError: when E2 or E3 does not close.
    """
    sources, keep = selection.sources, selection.keep
    rows, lists = {}, {}
    for name in sources:
        parts = parts_of_source(selection, name)
        rows[name] = _row(name, kind.stage, selection.last_rows[name], parts, rewritten[name])
        lists[name] = _lists(parts, rewritten[name])
    return CutSources(
        sources={name: _with_rewritten(source, kind.stage, rewritten[name]) for name, source in sources.items()},
        keep={
            name: tuple(old if new is None else None for old, new in zip(keep[name], rewritten[name], strict=True))
            for name in sources
        },
        rows=rows,
        lists=join_lists(kind, lists, selection.store, selection.cluster),
        matrix=loss_matrix(add_losses(_losses(rewritten))),
        duplicates=tuple(duplicates),
    )


def _with_rewritten(source: SourceDocuments, stage: str, rewritten: Sequence[Receipt | None]) -> SourceDocuments:
    shards = []
    for shard, receipt in zip(source.shards, rewritten, strict=True):
        if receipt is not None:
            row = receipt.account[0]
            shard = replace(
                shard,
                folder=f"{stage}/{receipt.key}",
                documents=row.documents_out,
                text_bytes=row.bytes_out,
                documents_sha256=receipt.files[DOCUMENTS].content_sha256,
            )
        shards.append(shard)
    return replace(source, shards=tuple(shards))


def _row(
    name: str, stage: str, before: StageRow, parts: Sequence[Part], rewritten: Sequence[Receipt | None]
) -> StageRow:
    """Make the source's ledger row: the rows of its rewritten shards, and all other documents unchanged."""
    rows = [StageRow(stage=stage, documents_in=0, documents_out=0, bytes_in=0, bytes_out=0)]
    for part, receipt in zip(parts, rewritten, strict=True):
        if receipt is None:
            continue
        row = receipt.account[0]
        if row.documents_in != part.documents:
            shard = part.shard.file or part.shard.folder
            raise AccountError("E3", part.documents, row.documents_in, source=name, stage=stage, unit=shard)
        rows.append(row)
    cut = sum_rows(rows)
    return cut.model_copy(
        update={
            "documents_in": before.documents_out,
            "documents_out": before.documents_out - (cut.documents_in - cut.documents_out),
            "bytes_in": before.bytes_out,
            "bytes_out": before.bytes_out - (cut.bytes_in - cut.bytes_out),
        }
    ).check(source=name)


def _lists(parts: Sequence[Part], rewritten: Sequence[Receipt | None]) -> list[CutList]:
    return [
        CutList(receipt.key, receipt.files[LIST].content_sha256, int(receipt.facts["listed"]), part.shard.first_record)
        for part, receipt in zip(parts, rewritten, strict=True)
        if receipt is not None
    ]


def _losses(rewritten: Rewritten) -> Iterator[tuple[SourcePair, Count]]:
    for name, receipts in rewritten.items():
        for receipt in receipts:
            for keeper, documents, size in receipt.facts["lost"] if receipt is not None else ():
                yield (name, keeper), Count(documents=documents, bytes=size)
