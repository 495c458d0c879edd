"""Paragraph deduplication: the first of equal paragraphs stays, whatever document and source it is in.

It runs after document deduplication, on the documents that this kept: a copy of a whole document is dropped as such and
no other document loses paragraphs to it. Paragraphs are hashed by shard (`paragraph_hashes.py`), copies are found by
ranges of hashes (`copies.py`), and shards that lose paragraphs are rewritten (`cutting.py`); later stages read the new
files instead of the old ones. A shard that loses nothing is left as it is. The first is the first by (declared priority
of its source, source name, file, record, line), under any split into shards and any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mixproof.ledger.account import Count, StageRow, sum_rows
from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.manifest import CutsRecord, MatrixRow
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.blocks.dedup import ParagraphDedup
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.dedup.duplicates import DuplicateList, GroupDuplicates
from mixproof.pipeline.dedup.lost_documents import SourcePair, add_losses, loss_matrix
from mixproof.pipeline.dedup.scope import dedup_groups
from mixproof.pipeline.group import GroupShard, save_group
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches, share_shards, text_bytes_of
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import DOCUMENTS, Shard

from .copies import CUTS, KEEPERS, find_copies, gather_cuts, range_count
from .copies import VERSION as COPIES_VERSION
from .cut_lists import CutList, join_lists
from .cutting import LIST, ShardCut, cut_shards
from .paragraph_hashes import STAGE, VERSION, hash_shards


@dataclass(frozen=True)
class DeduplicatedParagraphs:
    """Documents without the paragraphs that other documents keep."""

    sources: dict[str, SourceDocuments]
    """The sources with rewritten shards in place of the old ones."""
    keep: dict[str, tuple[Bitmap | None, ...]]
    """For each source one bitmap per shard; None for a rewritten shard."""
    rows: dict[str, StageRow]
    """The ledger row `paragraphs` of each source; empty when it is off."""
    lists: dict[str, tuple[CutsRecord, ...]]
    """Lists of what was cut from each source; empty when it is off."""
    matrix: tuple[MatrixRow, ...]
    """What each source lost to each, itself included."""
    duplicates: tuple[GroupDuplicates, ...] = ()
    """Where the dropped documents of each group are named."""


def deduplicate_paragraphs(selection: Selection) -> DeduplicatedParagraphs:
    """Cut every paragraph that another place keeps, as `dedup.paragraphs` of the spec says.

    Raises:
        AccountError: when E2 or E3 does not close.
    """
    spec, sources, keep = selection.spec, selection.sources, selection.keep
    if spec.dedup is None or spec.dedup.paragraphs is None:
        return DeduplicatedParagraphs(dict(sources), dict(keep), {}, {}, ())
    rule, store, cluster = spec.dedup.paragraphs, selection.store, selection.cluster
    rewritten: dict[str, list[Receipt | None]] = {name: [None] * len(each.shards) for name, each in sources.items()}
    duplicates = []
    for group in dedup_groups(spec.dedup, list(sources)):
        members = [name for name in group if rule.sources is None or name in rule.sources]
        parts = [part for name in members for part in _parts(selection, name)]
        found = _cut_group(parts, rule, store, cluster)
        duplicates.append(GroupDuplicates(tuple(part.shard for part in parts), found.dropped))
        receipts = iter(found.rewritten)
        for name in members:
            rewritten[name] = [next(receipts) for _ in sources[name].shards]
    rows, lists = {}, {}
    for name in sources:
        parts = _parts(selection, name)
        rows[name] = _row(name, selection.last_rows[name], parts, rewritten[name])
        lists[name] = join_lists(_lists(parts, rewritten[name]), store, cluster)
    return DeduplicatedParagraphs(
        sources={name: _with_rewritten(source, rewritten[name]) for name, source in sources.items()},
        keep={
            name: tuple(old if new is None else None for old, new in zip(keep[name], rewritten[name], strict=True))
            for name in sources
        },
        rows=rows,
        lists=lists,
        matrix=loss_matrix(add_losses(_losses(rewritten))),
        duplicates=tuple(duplicates),
    )


@dataclass(frozen=True)
class _Part:
    """A shard and the bitmap of its participating rows."""

    shard: Shard
    bitmap: Bitmap | None

    @property
    def bitmap_path(self) -> str | None:
        return None if self.bitmap is None else self.bitmap.path

    @property
    def documents(self) -> int:
        return self.shard.documents if self.bitmap is None else self.bitmap.kept


def _parts(selection: Selection, name: str) -> list[_Part]:
    return [_Part(*pair) for pair in zip(selection.sources[name].shards, selection.keep[name], strict=True)]


@dataclass(frozen=True)
class _GroupCut:
    """A group after cutting."""

    rewritten: list[Receipt | None]
    """The receipts of the shards that lose something, None for the others, in order."""
    dropped: tuple[DuplicateList, ...]
    """Where the dropped documents are named."""


def _cut_group(parts: Sequence[_Part], rule: ParagraphDedup, store: Store, cluster: Cluster) -> _GroupCut:
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
    paragraphs = sum(int(receipt.facts["paragraphs"]) for receipt in hashed)
    cuts = _find_cuts(group, range_count(paragraphs), store, cluster)
    rewritten = _cut(parts, cuts, rule, store, cluster)
    return _GroupCut(rewritten, tuple(_dropped(cuts, rewritten)))


def _dropped(cuts: Mapping[int, Receipt], rewritten: Sequence[Receipt | None]) -> Iterator[DuplicateList]:
    """Say, for each shard that lost whole documents, where these are named."""
    for index, found in cuts.items():
        receipt = rewritten[index]
        lost = 0 if receipt is None else receipt.account[0].documents_in - receipt.account[0].documents_out
        if receipt is not None and lost:
            names = (f"{found.key}/{CUTS}", f"{found.key}/{KEEPERS}", f"{receipt.key}/{LIST}")
            yield DuplicateList("paragraphs", index, lost, tuple(f"{STAGE}/{name}" for name in names))


def _hash(parts: Sequence[_Part], rule: ParagraphDedup, store: Store, cluster: Cluster) -> list[Receipt]:
    config = {"min_words": rule.min_words}
    keys = [stage_key(STAGE, VERSION, config, [part.shard.documents_sha256]) for part in parts]

    def calls(missing: Mapping[str, Shard]) -> list[tuple[object, ...]]:
        batches = share_shards(missing)
        return [(store, rule.min_words, [(key, shard.folder) for key, shard in batch]) for batch in batches]

    shards = {key: part.shard for key, part in zip(keys, parts, strict=True)}  # shards of equal content share a key
    sizes = text_bytes_of(shards)
    receipts = run_missing(store, STAGE, shards, calls, hash_shards, cluster, "paragraphs", call_bytes=sizes)
    return [receipts[key] for key in keys]


def _find_cuts(group: str, ranges: int, store: Store, cluster: Cluster) -> dict[int, Receipt]:
    """Find what to cut; returns the receipt of the cuts of each shard that loses something, by the shard's index."""
    numbers = {stage_key(STAGE, COPIES_VERSION, {"range": [n, ranges]}, [group]): n for n in range(ranges)}

    def range_calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(store, key, group, number, ranges) for key, number in missing.items()]

    found = run_missing(store, STAGE, numbers, range_calls, find_copies, cluster, "copies of paragraphs")
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
    parts: Sequence[_Part], cuts: Mapping[int, Receipt], rule: ParagraphDedup, store: Store, cluster: Cluster
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
        batches = share_shards({key: shard for key, (_, shard) in missing.items()})
        return [(store, [missing[key][0] for key, _ in batch]) for batch in batches]

    receipts = run_missing(store, STAGE, work, calls, cut_shards, cluster, "cut paragraphs")
    return [receipts[keys[index]] if index in keys else None for index in range(len(parts))]


def _with_rewritten(source: SourceDocuments, rewritten: Sequence[Receipt | None]) -> SourceDocuments:
    """Return the source with its rewritten shards in place of the old ones."""
    shards = []
    for shard, receipt in zip(source.shards, rewritten, strict=True):
        if receipt is not None:
            row = receipt.account[0]
            shard = replace(
                shard,
                folder=f"{STAGE}/{receipt.key}",
                documents=row.documents_out,
                text_bytes=row.bytes_out,
                documents_sha256=receipt.files[DOCUMENTS].content_sha256,
            )
        shards.append(shard)
    return replace(source, shards=tuple(shards))


def _row(name: str, before: StageRow, parts: Sequence[_Part], rewritten: Sequence[Receipt | None]) -> StageRow:
    """Make the source's ledger row: the rows of its rewritten shards, and all other documents unchanged."""
    rows = [StageRow(stage=STAGE, documents_in=0, documents_out=0, bytes_in=0, bytes_out=0)]
    for part, receipt in zip(parts, rewritten, strict=True):
        if receipt is None:
            continue
        row = receipt.account[0]
        if row.documents_in != part.documents:
            shard = part.shard.file or part.shard.folder
            raise AccountError("E3", part.documents, row.documents_in, source=name, stage=STAGE, unit=shard)
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


def _lists(parts: Sequence[_Part], rewritten: Sequence[Receipt | None]) -> list[CutList]:
    return [
        CutList(receipt.key, receipt.files[LIST].content_sha256, int(receipt.facts["listed"]), part.shard.first_record)
        for part, receipt in zip(parts, rewritten, strict=True)
        if receipt is not None
    ]


def _losses(rewritten: Mapping[str, Sequence[Receipt | None]]) -> Iterable[tuple[SourcePair, Count]]:
    for name, receipts in rewritten.items():
        for receipt in receipts:
            for keeper, documents, size in receipt.facts["lost"] if receipt is not None else ():
                yield (name, keeper), Count(documents=documents, bytes=size)
