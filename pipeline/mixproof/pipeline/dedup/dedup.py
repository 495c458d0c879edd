"""Document deduplication: one document of each set of copies is kept; shards and workers do not change which.

Exact deduplication runs first (`exact.py`), then fuzzy deduplication on the remaining documents (`fuzzy.py`). One
ledger row and one matrix count both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.read.documents import SourceDocuments

from .duplicates import EXACT, FUZZY, DuplicateList, GroupDuplicates, lists_of
from .exact import deduplicate_exactly
from .fuzzy import deduplicate_fuzzily
from .lost_documents import (
    SourcePair,
    add_losses,
    by_source,
    dedup_row,
    loss_matrix,
    losses_by_source,
    sums_by_loser,
)
from .scope import dedup_groups


@dataclass(frozen=True)
class Deduplicated:
    """What deduplication kept."""

    keep: dict[str, tuple[Bitmap | None, ...]]
    """For each source one bitmap per shard; None keeps all rows."""
    rows: dict[str, StageRow]
    """The ledger row `dedup` of each source; empty when deduplication is off."""
    matrix: tuple[MatrixRow, ...]
    """What each source lost to each, itself included; sorted, without zero rows."""
    duplicates: tuple[GroupDuplicates, ...] = ()
    """Where the dropped documents of each group are named."""


def deduplicate(spec: Spec, sources: Mapping[str, SourceDocuments], store: Store, cluster: Cluster) -> Deduplicated:
    """Decide which documents stay.

    Raises:
        RequestError: when `dedup.scope` or `dedup.keep` names an unknown source, or names a source twice.
        AccountError: when E2 does not close.
    """
    if spec.dedup is None or not (spec.dedup.exact or spec.dedup.fuzzy):
        return Deduplicated({name: (None,) * len(source.shards) for name, source in sources.items()}, {}, ())
    keep: dict[str, tuple[Bitmap | None, ...]] = {}
    lost: dict[str, dict[SourcePair, Count]] = {EXACT: {}, FUZZY: {}}
    duplicates = []
    for group in dedup_groups(spec.dedup, list(sources)):
        shards = [shard for name in group for shard in sources[name].shards]
        bitmaps: list[Bitmap | None] = [None] * len(shards)
        lists: list[DuplicateList] = []
        by_prompt = [spec.dedup.on == "prompts" and sources[shard.source].kind is not None for shard in shards]
        if spec.dedup.exact:
            found = deduplicate_exactly(shards, store, cluster, by_prompt)
            bitmaps, lists = found.keep, lists + lists_of("exact", found)
            lost[EXACT] |= losses_by_source(found.losses, shards)  # no source is in two groups
        if spec.dedup.fuzzy is not None:
            found = deduplicate_fuzzily(shards, bitmaps, spec.dedup.fuzzy, store, cluster, by_prompt)
            bitmaps, lists = found.keep, lists + lists_of("fuzzy", found)
            lost[FUZZY] |= losses_by_source(found.losses, shards)
        duplicates.append(GroupDuplicates(tuple(shards), tuple(lists)))
        keep |= dict.fromkeys(group, ()) | by_source(shards, bitmaps)
    sums = {reason: sums_by_loser(losses) for reason, losses in lost.items()}
    rows = {name: dedup_row("dedup", source.ledger[-1], source, keep[name], sums) for name, source in sources.items()}
    both = add_losses(chain(lost[EXACT].items(), lost[FUZZY].items()))
    return Deduplicated({name: keep[name] for name in sources}, rows, loss_matrix(both), tuple(duplicates))
