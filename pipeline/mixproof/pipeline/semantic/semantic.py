"""Semantic deduplication (SemDeDup, Abbas et al. 2023): of documents that say nearly the same, the first stays.

It runs on the documents that exact and fuzzy deduplication kept, within the same groups of sources and by the same
priority. Documents are embedded by shard (`vectors.py`) and put into the nearest of many small cells (`centroids.py`,
`assignment.py`). Inside each cell all pairs are compared by their exact cosine (`neighbours.py`). The connected
documents are gathered as in fuzzy deduplication (`dedup/components.py`), and `keepers.py` decides who stays.
Nothing depends on the split into shards, on the number of workers, or on the library behind matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.records.dropped import TwinsRecord
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.clusters.token_table import TableFiles
from mixproof.pipeline.dedup.duplicates import SEMANTIC, GroupDuplicates, lists_of
from mixproof.pipeline.dedup.lost_documents import (
    SourcePair,
    by_source,
    dedup_row,
    loss_matrix,
    losses_by_source,
    sums_by_loser,
)
from mixproof.pipeline.dedup.scope import dedup_groups
from mixproof.pipeline.read.selection import Selection

from .documents import STAGE
from .search import Found, GroupSearch
from .twin_lists import GroupTwins, OwnShard, list_twins
from .vectors import embedding_of


@dataclass(frozen=True)
class DeduplicatedSemantically:
    """What semantic deduplication kept."""

    keep: Mapping[str, tuple[Bitmap | None, ...]]
    """For each source one bitmap per shard; None keeps all rows."""
    rows: Mapping[str, StageRow] = field(default_factory=dict)
    """The ledger row `semantic` of each source; empty when it is off."""
    twins: Mapping[str, TwinsRecord] = field(default_factory=dict)
    """The list of what each compared source lost."""
    matrix: tuple[MatrixRow, ...] = ()
    """What each source lost to each, itself included."""
    duplicates: tuple[GroupDuplicates, ...] = ()
    """Where the dropped documents of each group are named."""


def deduplicate_semantically(selection: Selection, table: TableFiles | None) -> DeduplicatedSemantically:
    """Drop semantic duplicates, as `dedup.semantic` of the spec says.

    Args:
        selection: the documents that exact and fuzzy deduplication kept.
        table: the token table that the spec names; None if it has no such block.

    Raises:
        AccountError: when E2 does not close.
    """
    spec, sources = selection.spec, selection.sources
    if spec.dedup is None or spec.dedup.semantic is None or table is None:
        return DeduplicatedSemantically(selection.keep)
    rule = spec.dedup.semantic
    keep = dict(selection.keep)
    lost: dict[SourcePair, Count] = {}
    duplicates, lists = [], list[GroupTwins]()
    for names in dedup_groups(spec.dedup, list(sources)):
        group = _group(selection, [name for name in names if rule.sources is None or name in rule.sources])
        if not group.shards:
            continue
        found = group.run(embedding_of(rule, table), rule.threshold)
        lost |= losses_by_source(found.result.losses, group.shards)  # no source is in two groups
        duplicates.append(GroupDuplicates(group.shards, tuple(lists_of("semantic", found.result))))
        lists.append(_lists(group, found, duplicates[-1]))
        keep |= by_source(group.shards, found.result.keep)
    sums = {SEMANTIC: sums_by_loser(lost)}
    rows = {
        name: dedup_row(STAGE, selection.last_rows[name], source, keep[name], sums) for name, source in sources.items()
    }
    twins = list_twins(lists, selection.store, selection.cluster)
    return DeduplicatedSemantically(keep, rows, twins, loss_matrix(lost), tuple(duplicates))


def _group(selection: Selection, names: list[str]) -> GroupSearch:
    return GroupSearch(
        tuple(shard for name in names for shard in selection.sources[name].shards),
        tuple(bitmap for name in names for bitmap in selection.keep[name]),
        selection.store,
        selection.cluster,
    )


def _lists(group: GroupSearch, found: Found, duplicates: GroupDuplicates) -> GroupTwins:
    """What is needed to list the losers of each source of a group."""
    by_shard = {each.shard: each for each in duplicates.lists}
    own: dict[str, list[OwnShard]] = {}
    for index, (shard, folder, bitmap) in enumerate(zip(group.shards, found.vectors, group.keep, strict=True)):
        path = None if bitmap is None else bitmap.path
        own.setdefault(shard.source, []).append(OwnShard(index, folder, path, by_shard.get(index)))
    return GroupTwins(group.shards, own, found.identity)
