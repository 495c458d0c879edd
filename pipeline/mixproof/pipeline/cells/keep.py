"""Drop documents by their labels: the key `keep` of a source, applied to what deduplication left.

Rules are applied in their order. `top: 20%` is a bound like any other once it is known: the exact value above which so
many of the documents are that earlier rules leave and that have a value. `min_documents: 100` is a list of values once
their documents are counted. The ledger row `keep` counts dropped documents
by rule and reason, the list of removed documents names them, and the manifest states bounds and a list, from which the
audit decides again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.kept import KeptRecord
from mixproof.ledger.store import Receipt
from mixproof.mixtures.blocks.keep import KeepRule
from mixproof.pipeline.bitmap import Bitmap, bitmap_of
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, in_batches
from mixproof.pipeline.read.documents import RemovalList
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import DOCUMENTS

from .edges import keys_at
from .keep_rules import Rule
from .keep_shards import LIST, STAGE, VERSION, KeptShard, join_lists, keep_shards
from .survey import STAGE as SURVEY
from .survey import LabelPaths, number_of, numbers_file, survey


@dataclass(frozen=True)
class Kept:
    """What `keep` left of a source."""

    keep: tuple[Bitmap | None, ...]
    row: StageRow
    record: KeptRecord
    lists: tuple[RemovalList, ...]


def keep_documents(selection: Selection, name: str, labels: LabelPaths) -> Kept:
    """Apply the rules of a source.

    Args:
        selection: the documents that deduplication kept.
        name: of the source, which has rules.
        labels: of its shards.

    Raises:
        RequestError: when no document is left, or documents have no value and the rule wants that to be an error.
    """
    before = selection.last_rows[name]
    rules = _known_rules(selection, name, labels)
    applied = _apply(selection, name, labels, rules)
    dropped: dict[str, Count] = {}
    kept, lists = Count(documents=0, bytes=0), []
    for receipt in applied:
        documents, size = receipt.facts["kept"]
        kept += Count(documents=documents, bytes=size)
        lost = 0
        for reason, (documents, size) in receipt.facts["dropped"].items():
            dropped[reason] = dropped.get(reason, Count(documents=0, bytes=0)) + Count(documents=documents, bytes=size)
            lost += documents
        if lost:
            lists.append(RemovalList("keep", f"{STAGE}/{receipt.key}/{LIST}", None, 0, lost))
    row = StageRow(
        stage=STAGE,
        documents_in=before.documents_out,
        documents_out=kept.documents,
        bytes_in=before.bytes_out,
        bytes_out=kept.bytes,
        dropped=dict(sorted(dropped.items())),
    ).check(source=name)
    if not kept.documents:
        reasons = ", ".join(f"{reason} {count.documents}" for reason, count in row.dropped.items())
        where = selection.spec.where("sources", name, "keep")
        raise RequestError(f"{where}: no document is left of {before.documents_out}; dropped: {reasons}")
    listed = _join(selection, applied)
    record = KeptRecord(
        rules=tuple(rule.stated() for rule in rules), path=str(listed.facts["path"]), sha256=str(listed.facts["sha256"])
    )
    return Kept(_bitmaps(applied), row, record, tuple(lists))


def _known_rules(selection: Selection, name: str, labels: LabelPaths) -> tuple[Rule, ...]:
    """The rules of a source with their bounds."""
    rules: list[Rule] = []
    for index, declared in enumerate(selection.spec.sources[name].keep or ()):
        keeps_missing = declared.missing == "keep"
        low, high = (None if bound is None else float(bound) for bound in (declared.at_least, declared.at_most))
        values = declared.is_ or ()
        if declared.top is not None or declared.min_documents is not None or declared.missing == "error":
            so_far = _left_by(selection, name, labels, tuple(rules))
            surveyed = _surveyed(so_far, name, labels, declared, index)
            low = _smallest_of_top(so_far, name, declared, index, surveyed) if declared.top is not None else low
            if declared.min_documents is not None:
                values = _frequent(so_far, name, declared, index, surveyed)
        rules.append(Rule(declared.column, values, low, high, keeps_missing))
    return tuple(rules)


def _left_by(selection: Selection, name: str, labels: LabelPaths, rules: tuple[Rule, ...]) -> Selection:
    """What some rules leave of a source."""
    if not rules:
        return selection
    bitmaps = _bitmaps(_apply(selection, name, labels, rules))
    return replace(selection, keep={**selection.keep, name: bitmaps})


def _surveyed(selection: Selection, name: str, labels: LabelPaths, declared: KeepRule, index: int) -> list[Receipt]:
    """What values the documents have that earlier rules leave; refuses missing ones if the rule says so."""
    receipts = survey(selection, name, labels, ((declared.column, declared.score is not None),))
    missing = sum(int(receipt.facts["missing"][0]) for receipt in receipts)
    if missing and declared.missing == "error":
        raise RequestError(
            f"{selection.spec.where('sources', name, 'keep', index)}: {missing} documents have no value in "
            f"{declared.column!r}; correct the records, or set `missing` to drop or keep"
        )
    return receipts


def _smallest_of_top(
    selection: Selection, name: str, declared: KeepRule, index: int, surveyed: Sequence[Receipt]
) -> float:
    """The smallest value in the top share of a rule."""
    assert declared.top is not None, "the rule keeps a top share"
    files = [selection.store.path(f"{SURVEY}/{receipt.key}/{numbers_file(0)}") for receipt in surveyed]
    values = [load_array(file, mmap_mode="r") for file in files]
    total = sum(map(len, values))
    if not total:
        where = selection.spec.where("sources", name, "keep", index)
        raise RequestError(f"{where}: no document has a value in {declared.column!r}; check the label")
    stays = max(1, int(total * declared.top))
    return number_of(keys_at(values, [total - stays])[0])


def _frequent(
    selection: Selection, name: str, declared: KeepRule, index: int, surveyed: Sequence[Receipt]
) -> tuple[str, ...]:
    """The values that enough documents have for a rule with `min_documents`, sorted."""
    least, counts = declared.min_documents or 0, Counter[str]()
    for receipt in surveyed:
        counts.update(receipt.facts["values"][0])
    found = tuple(sorted(value for value, count in counts.items() if count >= least))
    where = selection.spec.where("sources", name, "keep", index)
    if not counts:
        raise RequestError(f"{where}: no document that has a value in {declared.column!r} is left by earlier rules")
    if not found:
        most = max(counts.values())
        raise RequestError(
            f"{where}: no value of {declared.column!r} has {least:,} documents; the most frequent one has {most:,}; "
            "lower `min_documents`"
        )
    return found


def _apply(selection: Selection, name: str, labels: LabelPaths, rules: tuple[Rule, ...]) -> list[Receipt]:
    config = {"rules": [rule.stated().model_dump() for rule in rules]}
    columns = {rule.column for rule in rules}
    work: dict[str, KeptShard] = {}
    keys: list[str] = []
    for shard, keep, paths in zip(selection.sources[name].shards, selection.keep[name], labels, strict=True):
        own = tuple(sorted((label, path) for label, path in paths.items() if _is_read(label, columns)))
        inputs = [shard.documents_sha256, shard.file, shard.first_record, keep and keep.sha256, [list(p) for p in own]]
        keys.append(stage_key(STAGE, VERSION, config, inputs))
        path = f"{shard.folder}/{DOCUMENTS}"
        work[keys[-1]] = KeptShard(path, shard.file, shard.first_record, shard.documents, keep, own, rules)

    def calls(missing: Mapping[str, KeptShard]) -> list[tuple[object, ...]]:
        return [(selection.store, batch) for batch in in_batches(missing.items(), SHARDS_PER_TASK)]

    done = run_missing(selection.store, STAGE, work, calls, keep_shards, selection.cluster, "keep")
    return [done[key] for key in keys]


def _is_read(label: str, columns: set[str]) -> bool:
    """Whether a column of this label decides: its value or its confidence."""
    return any(column in (label, f"{label}.confidence") for column in columns)


def _bitmaps(applied: Sequence[Receipt]) -> tuple[Bitmap | None, ...]:
    return tuple(bitmap_of(receipt, int(receipt.facts["kept"][0])) for receipt in applied)


def _join(selection: Selection, applied: Sequence[Receipt]) -> Receipt:
    """The list of all documents that a source lost."""
    paths = [f"{STAGE}/{receipt.key}/{LIST}" for receipt in applied]
    key = stage_key(STAGE, VERSION, {"lists": True}, [receipt.files[LIST].content_sha256 for receipt in applied])
    calls = [(selection.store, key, paths)]
    return run_missing(selection.store, STAGE, {key: None}, lambda _: calls, join_lists, selection.cluster, "keep")[key]
