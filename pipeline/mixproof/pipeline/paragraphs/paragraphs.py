"""Deduplication of paragraphs: of each paragraph the first stays, whatever document and source it is in.

It runs on what document deduplication kept, and so after it: a copy of a whole document goes as such and takes no
paragraph with it. Hashes of paragraphs per shard (`paragraph_hashes.py`), copies by ranges of hashes and what goes of
each shard (`copies.py`), and the shards that lose something written anew (`cutting.py`), as files that every later
stage reads in place of the old ones. A shard that loses nothing stays as it is. The first is the first by (declared
priority of its source, source name, file, record, place in the text), under any split into shards and any number of
workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mixproof.ledger.account import Count, StageRow, sum_rows
from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.manifest import CutsRecord, MatrixRow
from mixproof.ledger.receipts import find_receipts
from mixproof.ledger.sealed import seal_receipts
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.dedup_spec import ParagraphDedup
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.dedup.dedup import dedup_groups
from mixproof.pipeline.group import GroupShard, save_group
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, share_shards
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.shards import DOCUMENTS, Shard

from .copies import CUTS, find_copies, gather_cuts, range_count
from .cut_lists import ShardList, join_lists
from .cutting import LIST, Cutting, cut_shards
from .paragraph_hashes import STAGE, VERSION, hash_shards

Keep = dict[str, tuple[Bitmap | None, ...]]


@dataclass(frozen=True)
class NewParagraphs:
    """Documents without the paragraphs that others keep."""

    sources: dict[str, SourceDocuments]
    """With the shards that were written anew in the place of the old ones."""
    keep: Keep
    """What takes part of each shard; None for all of one that was written anew."""
    rows: dict[str, StageRow]
    """The ledger's row `paragraphs` per source; empty when it is off."""
    lists: dict[str, tuple[CutsRecord, ...]]
    """What was cut, per source; empty when it is off."""
    matrix: tuple[MatrixRow, ...]
    """What each source lost to each, itself included."""


def deduplicate_paragraphs(
    spec: Spec,
    sources: Mapping[str, SourceDocuments],
    keep: Mapping[str, tuple[Bitmap | None, ...]],
    before: Mapping[str, StageRow],
    store: Store,
    cluster: Cluster,
) -> NewParagraphs:
    """Cut out every paragraph that another place keeps.

    Args:
        spec: its `dedup.paragraphs` says how, its `dedup.scope` and `keep` between which sources.
        sources: the documents.
        keep: what the stages before kept of them.
        before: the ledger's last row of each source so far.
        store: where outputs go.
        cluster: runs the tasks.

    Raises:
        AccountError: when E2 or E3 does not close.
    """
    if spec.dedup is None or spec.dedup.paragraphs is None:
        return NewParagraphs(dict(sources), dict(keep), {}, {}, ())
    rule = spec.dedup.paragraphs
    written: dict[str, list[Receipt | None]] = {name: [None] * len(each.shards) for name, each in sources.items()}
    for group in dedup_groups(spec.dedup, list(sources)):
        members = [name for name in group if rule.sources is None or name in rule.sources]
        parts = [_Part(*pair) for name in members for pair in zip(sources[name].shards, keep[name], strict=True)]
        receipts = iter(_cut_group(parts, rule, store, cluster))
        for name in members:
            written[name] = [next(receipts) for _ in sources[name].shards]
    rows, lists = {}, {}
    for name, source in sources.items():
        parts = [_Part(*pair) for pair in zip(source.shards, keep[name], strict=True)]
        rows[name] = _row(name, before[name], parts, written[name])
        lists[name] = join_lists(_lists(parts, written[name]), store, cluster)
    return NewParagraphs(
        sources={name: _anew(source, written[name]) for name, source in sources.items()},
        keep={
            name: tuple(old if new is None else None for old, new in zip(keep[name], written[name], strict=True))
            for name in sources
        },
        rows=rows,
        lists=lists,
        matrix=_matrix(written),
    )


@dataclass(frozen=True)
class _Part:
    """A shard and what takes part of it."""

    shard: Shard
    bitmap: Bitmap | None

    @property
    def path(self) -> str | None:
        """Of the bitmap."""
        return None if self.bitmap is None else self.bitmap.path

    @property
    def documents(self) -> int:
        return self.shard.documents if self.bitmap is None else self.bitmap.kept


def _cut_group(parts: Sequence[_Part], rule: ParagraphDedup, store: Store, cluster: Cluster) -> list[Receipt | None]:
    """The receipts of the shards that are written anew, None for those that lose nothing; `parts` are in order."""
    if not parts:
        return []
    hashed = _hash(parts, rule, store, cluster)
    identity = [
        [receipt.key, part.bitmap and part.bitmap.sha256, part.shard.source]
        for part, receipt in zip(parts, hashed, strict=True)
    ]
    group = stage_key(STAGE, VERSION, {"group": True}, identity)
    members = [
        GroupShard(f"{STAGE}/{receipt.key}", 0, part.path, part.shard.source)
        for part, receipt in zip(parts, hashed, strict=True)
    ]
    save_group(store, STAGE, group, members)
    paragraphs = sum(int(receipt.facts["paragraphs"]) for receipt in hashed)
    cuts = _find_cuts(group, range_count(paragraphs), store, cluster)
    return _cut(parts, cuts, rule, store, cluster)


def _hash(parts: Sequence[_Part], rule: ParagraphDedup, store: Store, cluster: Cluster) -> list[Receipt]:
    config = {"min_words": rule.min_words}
    keys = [stage_key(STAGE, VERSION, config, [part.shard.documents_sha256]) for part in parts]
    known = find_receipts(store, STAGE, keys)
    # two shards of equal content share a key
    missing = {key: part.shard for key, part in zip(keys, parts, strict=True) if key not in known}
    cluster.count(run=len(missing), reused=len(set(keys)) - len(missing))
    batches = share_shards(missing)
    calls = [(str(store), rule.min_words, [(key, shard.folder) for key, shard in batch]) for batch in batches]
    cluster.run(hash_shards, calls, label="paragraphs")
    receipts = known | find_receipts(store, STAGE, missing)
    seal_receipts(store, STAGE, receipts.beside)
    return [receipts[key] for key in keys]


def _find_cuts(group: str, ranges: int, store: Store, cluster: Cluster) -> dict[int, Receipt]:
    """The receipts of what goes of each shard that loses something, by the shard's place."""
    keys = [stage_key(STAGE, VERSION, {"range": [place, ranges]}, [group]) for place in range(ranges)]
    known = find_receipts(store, STAGE, keys)
    missing = [place for place, key in enumerate(keys) if key not in known]
    cluster.count(run=len(missing), reused=ranges - len(missing))
    calls = [(str(store), keys[place], group, place, ranges) for place in missing]
    cluster.run(find_copies, calls, label="copies of paragraphs")
    found = known | find_receipts(store, STAGE, [keys[place] for place in missing])
    ranges_of: dict[int, list[str]] = {}
    for key in keys:
        for place in found[key].facts["shards"]:
            ranges_of.setdefault(int(place), []).append(key)
    own = {place: stage_key(STAGE, VERSION, {"cuts": [place, ranges]}, [group]) for place in sorted(ranges_of)}
    done = find_receipts(store, STAGE, own.values())
    todo = [(key, place, ranges_of[place]) for place, key in own.items() if key not in done]
    cluster.count(run=len(todo), reused=len(own) - len(todo))
    batches = [todo[first : first + SHARDS_PER_TASK] for first in range(0, len(todo), SHARDS_PER_TASK)]
    new = cluster.run(gather_cuts, [(str(store), group, batch) for batch in batches], label="cuts")
    receipts = done | {receipt.key: receipt for batch in new for receipt in batch}
    return {place: receipts[key] for place, key in own.items()}


def _cut(
    parts: Sequence[_Part], cuts: Mapping[int, Receipt], rule: ParagraphDedup, store: Store, cluster: Cluster
) -> list[Receipt | None]:
    todo: dict[int, Cutting] = {}
    for place, found in cuts.items():
        shard, bitmap, keepers = parts[place].shard, parts[place].bitmap, found.facts["keepers"]
        config = {"min_doc_words": rule.min_doc_words, "file": shard.file, "keepers": keepers}
        identity = [shard.documents_sha256, bitmap and bitmap.sha256, found.files[CUTS].sha256]
        key = stage_key(STAGE, VERSION, config, identity)
        todo[place] = Cutting(key, shard.folder, shard.file, parts[place].path, found.key, keepers, rule.min_doc_words)
    by_key = {each.key: each for each in todo.values()}
    known = find_receipts(store, STAGE, by_key)
    missing = {each.key: parts[place].shard for place, each in todo.items() if each.key not in known}
    cluster.count(run=len(missing), reused=len(by_key) - len(missing))
    calls = [(str(store), [by_key[key] for key, _ in batch]) for batch in share_shards(missing)]
    cluster.run(cut_shards, calls, label="cut paragraphs")
    receipts = known | find_receipts(store, STAGE, missing)
    seal_receipts(store, STAGE, receipts.beside)
    return [receipts[todo[place].key] if place in todo else None for place in range(len(parts))]


def _anew(source: SourceDocuments, written: Sequence[Receipt | None]) -> SourceDocuments:
    """The source with the shards that were written anew."""
    shards = []
    for shard, receipt in zip(source.shards, written, strict=True):
        if receipt is not None:
            row = receipt.account[0]
            shard = replace(
                shard,
                folder=f"{STAGE}/{receipt.key}",
                documents=row.documents_out,
                text_bytes=row.bytes_out,
                documents_sha256=receipt.files[DOCUMENTS].sha256,
            )
        shards.append(shard)
    return replace(source, shards=tuple(shards))


def _row(name: str, before: StageRow, parts: Sequence[_Part], written: Sequence[Receipt | None]) -> StageRow:
    """The source's row: that of the shards that were written anew, and all others as they came."""
    rows = [StageRow(stage=STAGE, documents_in=0, documents_out=0, bytes_in=0, bytes_out=0)]
    for part, receipt in zip(parts, written, strict=True):
        if receipt is None:
            continue
        row = receipt.account[0]
        if row.documents_in != part.documents:
            raise AccountError(
                "E3",
                part.documents,
                row.documents_in,
                source=name,
                stage=STAGE,
                unit=part.shard.file or part.shard.folder,
            )
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


def _lists(parts: Sequence[_Part], written: Sequence[Receipt | None]) -> list[ShardList]:
    return [
        ShardList(receipt.key, receipt.files[LIST].sha256, int(receipt.facts["listed"]), part.shard.first_record)
        for part, receipt in zip(parts, written, strict=True)
        if receipt is not None
    ]


def _matrix(written: Mapping[str, Sequence[Receipt | None]]) -> tuple[MatrixRow, ...]:
    lost: dict[tuple[str, str], Count] = {}
    for name, receipts in written.items():
        for receipt in receipts:
            for keeper, documents, size in receipt.facts["lost"] if receipt is not None else ():
                before = lost.get((name, keeper), Count(documents=0, bytes=0))
                lost[name, keeper] = before + Count(documents=documents, bytes=size)
    return tuple(
        MatrixRow(source=source, lost_to=keeper, documents=count.documents, bytes=count.bytes)
        for (source, keeper), count in sorted(lost.items())
    )
