"""Paragraph deduplication: of equal paragraphs the first is kept, in any document of any source.

It runs after document deduplication, on the documents that this kept: a copy of a whole document is dropped as such and
no other document loses paragraphs to it. Paragraphs are hashed by shard (`paragraph_hashes.py`), copies are found by
ranges of hashes (`copies.py`), and shards that lose paragraphs are rewritten (`cutting.py`); later stages read the new
files instead of the old ones. A shard that loses nothing is left as it is. The first is the first by (declared priority
of its source, source name, file, record, line), under any split into shards and any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.blocks.dedup import ParagraphDedup
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.cuts.lists import LIST
from mixproof.pipeline.cuts.rewritten import CutSources, Part, documents_dropped, not_cut, parts_of_source, with_cuts
from mixproof.pipeline.dedup.duplicates import DuplicateList, GroupDuplicates
from mixproof.pipeline.dedup.scope import dedup_groups
from mixproof.pipeline.group import GroupShard, save_group
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches, share_shards, text_bytes_of
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.shuffle.shuffle import Shuffle

from .copies import CUTS, KEEPERS, PARAGRAPH_TABLE, find_copies, gather_cuts, range_count
from .copies import VERSION as COPIES_VERSION
from .cutting import LISTS, ShardCut, cut_shards
from .paragraph_hashes import STAGE, VERSION, hash_shards

COPIES_LABEL = "copies of paragraphs"


def deduplicate_paragraphs(selection: Selection) -> CutSources:
    """Cut every paragraph that another place keeps, as `dedup.paragraphs` of the spec says.

    Raises:
        AccountError: when E2 or E3 does not close.
    """
    spec, sources = selection.spec, selection.sources
    if spec.dedup is None or spec.dedup.paragraphs is None:
        return not_cut(selection)
    rule, store, cluster = spec.dedup.paragraphs, selection.store, selection.cluster
    rewritten: dict[str, list[Receipt | None]] = {name: [None] * len(each.shards) for name, each in sources.items()}
    duplicates = []
    for group in dedup_groups(spec.dedup, list(sources)):
        members = [name for name in group if rule.sources is None or name in rule.sources]
        parts = [part for name in members for part in parts_of_source(selection, name)]
        found = _cut_group(parts, rule, store, cluster)
        duplicates.append(GroupDuplicates(tuple(part.shard for part in parts), found.dropped))
        receipts = iter(found.rewritten)
        for name in members:
            rewritten[name] = [next(receipts) for _ in sources[name].shards]
    return with_cuts(selection, LISTS, rewritten, duplicates)


@dataclass(frozen=True)
class _GroupCut:
    """A group after cutting."""

    rewritten: list[Receipt | None]
    """The receipts of the shards that lose something, None for the others, in order."""
    dropped: tuple[DuplicateList, ...]
    """Where the dropped documents are named."""


def _cut_group(parts: Sequence[Part], rule: ParagraphDedup, store: Store, cluster: Cluster) -> _GroupCut:
    """Rewrite the shards of a group that lose something."""
    if not parts:
        return _GroupCut([], ())
    hashed = _hash(parts, rule, store, cluster)
    identity = [
        [receipt.key, part.bitmap and part.bitmap.sha256, part.shard.source]
        for part, receipt in zip(parts, hashed, strict=True)
    ]
    group = stage_key(STAGE, COPIES_VERSION, {"group": True}, identity)
    members = [
        GroupShard(f"{STAGE}/{receipt.key}", 0, part.bitmap_path, part.shard.source)
        for part, receipt in zip(parts, hashed, strict=True)
    ]
    save_group(store, STAGE, group, members)
    counts = [int(receipt.facts["paragraphs"]) for receipt in hashed]
    cuts = _find_cuts(group, members, counts, store, cluster)
    rewritten = _cut(parts, cuts, rule, store, cluster)
    return _GroupCut(rewritten, tuple(_dropped(cuts, rewritten)))


def _dropped(cuts: Mapping[int, Receipt], rewritten: Sequence[Receipt | None]) -> Iterator[DuplicateList]:
    """Say, for each shard that lost whole documents, where these are named."""
    for index, found in cuts.items():
        receipt = rewritten[index]
        lost = documents_dropped(receipt)
        if receipt is not None and lost:
            names = (f"{found.key}/{CUTS}", f"{found.key}/{KEEPERS}", f"{receipt.key}/{LIST}")
            yield DuplicateList("paragraphs", index, lost, tuple(f"{STAGE}/{name}" for name in names))


def _hash(parts: Sequence[Part], rule: ParagraphDedup, store: Store, cluster: Cluster) -> list[Receipt]:
    config = {"min_words": rule.min_words}
    keys = [stage_key(STAGE, VERSION, config, [part.shard.documents_sha256]) for part in parts]

    def calls(missing: Mapping[str, Shard]) -> list[tuple[object, ...]]:
        batches = share_shards(missing, cluster)
        return [(store, rule.min_words, [(key, shard.folder) for key, shard in batch]) for batch in batches]

    shards = {key: part.shard for key, part in zip(keys, parts, strict=True)}  # shards of equal content share a key
    sizes = text_bytes_of(shards)
    receipts = run_missing(store, STAGE, shards, calls, hash_shards, cluster, "paragraphs", call_bytes=sizes)
    return [receipts[key] for key in keys]


def _find_cuts(
    group: str, members: Sequence[GroupShard], counts: Sequence[int], store: Store, cluster: Cluster
) -> dict[int, Receipt]:
    """Find what to cut; returns the receipt of the cuts of each shard that loses something, by the shard's index.

    Args:
        group: key of the list of shards.
        members: the shards.
        counts: number of paragraphs of each.
        store: the store.
        cluster: runs the tasks.
    """
    ranges = range_count(sum(counts))
    numbers = {stage_key(STAGE, COPIES_VERSION, {"range": [n, ranges]}, [group]): n for n in range(ranges)}

    def range_calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        shards, shuffle = list(enumerate(members)), Shuffle(STAGE, COPIES_LABEL, store, cluster)
        paragraphs = shuffle.by_range(group, PARAGRAPH_TABLE, shards, counts, ranges)
        return [(store, key, paragraphs, number) for key, number in missing.items()]

    found = run_missing(store, STAGE, numbers, range_calls, find_copies, cluster, COPIES_LABEL)
    ranges_of: dict[int, list[str]] = {}
    for key in numbers:
        for index in found[key].facts["shards"]:
            ranges_of.setdefault(int(index), []).append(key)
    keys = {index: stage_key(STAGE, COPIES_VERSION, {"cuts": [index, ranges]}, [group]) for index in sorted(ranges_of)}

    def shard_calls(missing: Mapping[str, tuple[int, list[str]]]) -> list[tuple[object, ...]]:
        return [(store, group, batch) for batch in in_batches(missing.items(), SHARDS_PER_TASK)]

    work = {key: (index, ranges_of[index]) for index, key in keys.items()}
    receipts = run_missing(store, STAGE, work, shard_calls, gather_cuts, cluster, "cuts")
    return {index: receipts[key] for index, key in keys.items()}


def _cut(
    parts: Sequence[Part], cuts: Mapping[int, Receipt], rule: ParagraphDedup, store: Store, cluster: Cluster
) -> list[Receipt | None]:
    keys: dict[int, str] = {}
    work: dict[str, tuple[ShardCut, Shard]] = {}
    for index, found in cuts.items():
        shard, bitmap, keepers = parts[index].shard, parts[index].bitmap, found.facts["keepers"]
        config = {"min_doc_words": rule.min_doc_words, "file": shard.file, "keepers": keepers}
        identity = [shard.documents_sha256, bitmap and bitmap.sha256, found.files[CUTS].sha256]
        key = keys[index] = stage_key(STAGE, VERSION, config, identity)
        cut = ShardCut(key, shard.folder, shard.file, parts[index].bitmap_path, found.key, keepers, rule.min_doc_words)
        work[key] = (cut, shard)

    def calls(missing: Mapping[str, tuple[ShardCut, Shard]]) -> list[tuple[object, ...]]:
        batches = share_shards({key: shard for key, (_, shard) in missing.items()}, cluster)
        return [(store, [missing[key][0] for key, _ in batch]) for batch in batches]

    receipts = run_missing(store, STAGE, work, calls, cut_shards, cluster, "cut paragraphs")
    return [receipts[keys[index]] if index in keys else None for index in range(len(parts))]
