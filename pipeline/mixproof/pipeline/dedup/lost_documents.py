"""How much deduplication dropped: what shards lost to each other, added up to ledger rows and the matrix of sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.manifest import MatrixRow
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.shards import Shard

NOTHING = Count(documents=0, bytes=0)

SourcePair = tuple[str, str]
"""A source that lost documents, and the source that keeps their copies."""


@dataclass(frozen=True)
class ShardLoss:
    """What one shard of a group lost to one source."""

    loser: int
    """Index of the shard in its group."""
    keeper: int
    """Index of the first shard of the source that keeps the copies."""
    documents: int
    bytes: int


class LossSums:
    """Adds up what shards lost to each other, so that the driver holds a sum for each shard and source."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        firsts: dict[str, int] = {}
        self._first = [firsts.setdefault(shard.source, index) for index, shard in enumerate(shards)]
        self._sums: dict[tuple[int, int], tuple[int, int]] = {}

    def add(self, loser: int, keeper: int, documents: int, size: int) -> None:
        """Add documents, and their UTF-8 bytes, that shard `loser` lost to shard `keeper`."""
        pair = loser, self._first[keeper]
        before = self._sums.get(pair, (0, 0))
        self._sums[pair] = before[0] + documents, before[1] + size

    def losses(self) -> list[ShardLoss]:
        """The sums, sorted."""
        return [ShardLoss(*pair, *sums) for pair, sums in sorted(self._sums.items())]


def sums_by_keeper(keepers: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[list[int]]:
    """Return rows [keeper's shard, documents, bytes], ascending.

    Args:
        keepers: int64 [losers], the shard of each loser's keeper.
        sizes: int64 [losers], UTF-8 bytes of each loser.
    """
    numbers, inverse = np.unique(keepers, return_inverse=True)
    lost = np.zeros(len(numbers), dtype=np.int64)
    np.add.at(lost, inverse, sizes)
    documents = np.bincount(inverse, minlength=len(numbers))
    return [[int(one), int(n), int(size)] for one, n, size in zip(numbers, documents, lost, strict=True)]


@dataclass(frozen=True)
class GroupResult:
    """What one search for duplicates in a group decided."""

    keep: list[Bitmap | None]
    """One bitmap per shard; None keeps all rows."""
    losses: list[ShardLoss]
    losers: dict[int, tuple[str, ...]]
    """By index of the shard: the files that name the documents it lost and their keepers, relative to the store."""


def losses_by_source(losses: Iterable[ShardLoss], shards: Sequence[Shard]) -> dict[SourcePair, Count]:
    """Add up losses by (source, source of the keeper); `shards` are those of the group."""
    return add_losses(
        ((shards[loss.loser].source, shards[loss.keeper].source), Count(documents=loss.documents, bytes=loss.bytes))
        for loss in losses
    )


def add_losses(losses: Iterable[tuple[SourcePair, Count]]) -> dict[SourcePair, Count]:
    """Add up counts of the same pair of sources."""
    sums: dict[SourcePair, Count] = {}
    for pair, count in losses:
        sums[pair] = sums.get(pair, NOTHING) + count
    return sums


def sums_by_loser(losses: Mapping[SourcePair, Count]) -> dict[str, Count]:
    """Add up what each source lost to any other, itself included."""
    sums: dict[str, Count] = {}
    for (loser, _), count in losses.items():
        sums[loser] = sums.get(loser, NOTHING) + count
    return sums


def by_source(shards: Sequence[Shard], bitmaps: Sequence[Bitmap | None]) -> dict[str, tuple[Bitmap | None, ...]]:
    """The bitmaps of a group's shards by source, each source's in the order of its shards."""
    found: dict[str, list[Bitmap | None]] = {}
    for shard, bitmap in zip(shards, bitmaps, strict=True):
        found.setdefault(shard.source, []).append(bitmap)
    return {name: tuple(own) for name, own in found.items()}


def dedup_row(
    stage: str,
    before: StageRow,
    source: SourceDocuments,
    keep: Sequence[Bitmap | None],
    lost: Mapping[str, Mapping[str, Count]],
) -> StageRow:
    """Make the ledger row of a source for a stage that drops duplicates.

    Args:
        stage: name of the row.
        before: the row before it.
        source: the source.
        keep: the bitmaps after the stage, one per shard.
        lost: for each reason what each source lost, from `sums_by_loser`.

    Raises:
        AccountError: when E2 does not close.
    """
    dropped = {reason: losses.get(source.name, NOTHING) for reason, losses in lost.items()}
    kept = sum(
        shard.documents if bitmap is None else bitmap.kept for shard, bitmap in zip(source.shards, keep, strict=True)
    )
    return StageRow(
        stage=stage,
        documents_in=before.documents_out,
        documents_out=kept,
        bytes_in=before.bytes_out,
        bytes_out=before.bytes_out - sum(count.bytes for count in dropped.values()),
        dropped={reason: count for reason, count in dropped.items() if count.documents},
    ).check(source=source.name)


def loss_matrix(losses: Mapping[SourcePair, Count]) -> tuple[MatrixRow, ...]:
    """Return what each source lost to each, itself included, sorted."""
    return tuple(
        MatrixRow(source=source, lost_to=keeper, documents=count.documents, bytes=count.bytes)
        for (source, keeper), count in sorted(losses.items())
    )
