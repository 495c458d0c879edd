"""Decontamination: drop training documents that overlap with held-out or evaluation texts.

A training document is dropped when it contains at least `overlap` of the word n-grams of such a text, or the text
contains as much of the document (`overlap.py`), or both are the same byte for byte, or, of conversations, if both
answer the same prompt. A second search finds evaluation texts of which some words were changed (`questions.py`). Every
source is checked against the held-out texts of all sources. One task indexes the texts; then a task per shard writes a
bitmap, a list of the dropped documents with the text that each matches most, and a list of all their matches. With
`ignore_frequent` a pass before it counts n-grams (`frequent.py`). Held-out documents are not training documents: they
pass through the ledger row unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq

from mixproof.ledger.account import Count, StageRow, sum_rows
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.batch import Outputs, open_batch
from mixproof.mixtures.blocks.heldout import Decontaminate
from mixproof.pipeline.bitmap import Bitmap, bitmap_of, read_bitmap, save_bitmap
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.columns import table_of
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, share_tasks
from mixproof.pipeline.read.documents import RemovalList, SourceDocuments
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import Shard

from .document_matches import DROPPED_SCHEMA, Search, read_batches
from .evaluation import EvaluationFile
from .frequent_stage import CountTask, index_without_frequent
from .heldout_set import Heldout
from .match_lists import MATCHES, write_matches
from .overlap_index import INDEX, index_key, load_index, load_questions, make_index, make_questions, questions_key

log = logging.getLogger(__name__)

DECONTAMINATE = "decontaminate"
VERSION = 2
DROPPED = "dropped.parquet"
TASK_BYTES = 8_000_000
"""Small shards share a task up to this many bytes of text, a second of work."""
ShardToSearch = tuple[str, str, int, Bitmap | None]
"""Key of the output, folder of the documents, their number, and which of them are searched; None: all."""


@dataclass(frozen=True)
class Decontaminated:
    """What remains for training."""

    train: dict[str, tuple[Bitmap | None, ...]]
    """For each source one bitmap per shard; None keeps all rows."""
    rows: dict[str, StageRow]
    """The ledger row `decontaminate` of each source, held-out documents included; empty when it is off."""
    lists: dict[str, tuple[RemovalList, ...]]
    """Lists (DROPPED_SCHEMA) of the documents that each source lost: one for each shard that lost any."""
    evaluation: tuple[dict[str, Any], ...] = ()
    """What was read of each evaluation file: `file`, `records`, `texts` by field, and the fields `not_read`."""
    frequent: dict[str, int] | None = None
    """`ignore_frequent`, `ignored_ngrams`, and `unprotected_texts` that have no other n-grams; None: all count."""


def decontaminate(selection: Selection, heldout: Heldout, against: Sequence[EvaluationFile]) -> Decontaminated:
    """Drop training documents that overlap with held-out or evaluation texts.

    Args:
        selection: the documents; `decontaminate` of its spec says how much overlap counts, False drops nothing.
        heldout: the held-out sets, and the training side to search.
        against: the evaluation files, from `find_evaluation_files`.

    Raises:
        RequestError: when a record of an evaluation file cannot be used.
        DamagedFileError: when an evaluation file cannot be read.
    """
    options = selection.spec.decontaminate
    if options is False:
        return Decontaminated(dict(heldout.train), {}, {})
    indexed = _index(options, heldout, against, selection)
    indexed, frequent = _without_frequent(options, indexed, selection, heldout)
    index, questions = indexed.key, index_questions(options, against, selection)
    if questions is not None and options.ignore_frequent is not None:
        questions = (_ignoring(options.ignore_frequent, questions[0], selection, heldout).key, questions[1])
    keys: list[str] = []
    parts: list[_Part] = []
    for name, source in selection.sources.items():
        for shard, bitmap in zip(source.shards, heldout.train[name], strict=True):
            identity = [shard.documents_sha256, None if bitmap is None else bitmap.sha256, index]
            config = {"overlap": options.overlap, **({} if questions is None else {"questions": list(questions)})}
            keys.append(stage_key(DECONTAMINATE, VERSION, config, identity))
            parts.append(_Part(name, shard, bitmap))

    rules = (str(options.overlap), questions)

    def calls(missing: Mapping[str, _Part]) -> list[tuple[object, ...]]:
        return [
            (
                selection.store,
                index,
                [(key, part.shard.folder, part.shard.documents, part.bitmap) for key, part in some],
                *rules,
            )
            for some in share_tasks(
                missing.items(),
                lambda item: item[1].shard.text_bytes,
                most_bytes=TASK_BYTES,
                most_items=SHARDS_PER_TASK,
            )
        ]

    work = dict(zip(keys, parts, strict=True))  # shards of equal content share a key
    receipts = run_missing(
        selection.store,
        DECONTAMINATE,
        work,
        calls,
        decontaminate_shards,
        selection.cluster,
        "decontaminate",
        call_bytes=lambda call: sum(work[key].shard.text_bytes for key, *_ in cast(Sequence[ShardToSearch], call[2])),
    )
    found = _gather(selection.sources, heldout, parts, [receipts[key] for key in keys])
    return replace(found, evaluation=tuple(indexed.facts["evaluation"]), frequent=frequent)


def _without_frequent(
    options: Decontaminate, indexed: Receipt, selection: Selection, heldout: Heldout
) -> tuple[Receipt, dict[str, int] | None]:
    """The index that is searched, and what is not in it because it is frequent in the training side."""
    if options.ignore_frequent is None:
        return indexed, None
    found = _ignoring(options.ignore_frequent, indexed.key, selection, heldout)
    names = ("ignore_frequent", "ignored_ngrams", "unprotected_texts")
    return found, {name: int(found.facts[name]) for name in names}


def _ignoring(most: int, index: str, selection: Selection, heldout: Heldout) -> Receipt:
    """An index without n-grams that occur in more than `most` documents of the training side."""
    tasks = [
        CountTask(shard, bitmap)
        for name, source in selection.sources.items()
        for shard, bitmap in zip(source.shards, heldout.train[name], strict=True)
    ]
    return index_without_frequent(selection.store, selection.cluster, index, tasks, most)


def decontaminate_shards(
    store: Store,
    index_key: str,
    shards: Sequence[ShardToSearch],
    overlap: str,
    questions: tuple[str, str] | None = None,
) -> None:
    """Search some shards: write the account of each and, if documents are dropped, a bitmap and a list.

    `questions` are the key of the index of questions, and the share of their n-grams that counts.
    """
    second = None if questions is None else (*load_questions(store, questions[0]), Fraction(questions[1]))
    search = Search(*load_index(store, index_key), Fraction(overlap), second)
    with open_batch(store, DECONTAMINATE, [key for key, *_ in shards]) as outputs:
        for shard in shards:
            _search_shard(store, search, shard, outputs)


def _search_shard(store: Store, search: Search, shard: ShardToSearch, outputs: Outputs) -> None:
    key, folder, documents, keep = shard
    kept = read_bitmap(store, keep, documents).copy()
    before, size = int(kept.sum()), 0
    rows: list[dict[str, Any]] = []
    listed: list[tuple[Any, ...]] = []
    for batch in read_batches(store, folder):
        candidates = np.flatnonzero(kept[batch.first : batch.first + len(batch)])
        size += int(batch.sizes[candidates].sum())
        for found in search.documents(batch, candidates):
            kept[batch.first + found.row] = False
            rows.append(found.dropped)
            listed += found.matches
    with outputs.attempt(DECONTAMINATE, key) as attempt:
        if rows:
            save_bitmap(attempt.path("keep.npy"), kept)
            dropped = [tuple(row[name] for name in DROPPED_SCHEMA.names) for row in rows]
            pq.write_table(table_of(dropped, DROPPED_SCHEMA), attempt.path(DROPPED), compression="zstd")
            write_matches(listed, attempt.path(MATCHES))
        attempt.commit(account=(_account(before, size, rows),), facts={"kept": int(kept.sum())})
    log.debug("%s: dropped %d of %d documents of %s", DECONTAMINATE, len(rows), before, folder)


@dataclass(frozen=True)
class _Part:
    """A shard and its training side."""

    source: str
    shard: Shard
    bitmap: Bitmap | None


def _account(documents: int, size: int, rows: Sequence[Mapping[str, Any]]) -> StageRow:
    dropped: dict[str, Count] = {}
    for row in rows:
        count = Count(documents=1, bytes=row["text_bytes"])
        dropped[row["reason"]] = dropped.get(row["reason"], Count(documents=0, bytes=0)) + count
    return StageRow(
        stage=DECONTAMINATE,
        documents_in=documents,
        documents_out=documents - len(rows),
        bytes_in=size,
        bytes_out=size - sum(row["text_bytes"] for row in rows),
        dropped=dict(sorted(dropped.items())),
    ).check()


def _index(
    options: Decontaminate, heldout: Heldout, against: Sequence[EvaluationFile], selection: Selection
) -> Receipt:
    """Index the texts to protect unless the store has the index; returns its receipt."""
    sets = [heldout.texts[name] for name in sorted(heldout.texts)]
    key = index_key(options.ngram, sets, against)

    def calls(missing: Mapping[str, int]) -> list[tuple[object, ...]]:
        return [(selection.store, each, ngram, sets, list(against)) for each, ngram in missing.items()]

    work = {key: options.ngram}
    return run_missing(selection.store, INDEX, work, calls, make_index, selection.cluster, "index held-out texts")[key]


def index_questions(
    options: Decontaminate, against: Sequence[EvaluationFile], selection: Selection
) -> tuple[str, str] | None:
    """The key of the index of questions, made unless the store has it, and the share that counts; None: no search."""
    rules = options.questions
    if rules is False or not against:
        return None
    key = questions_key(rules.ngram, options.ngram, against)
    calls = [(selection.store, key, rules.ngram, options.ngram, list(against))]
    label = "index held-out texts"
    run_missing(selection.store, INDEX, {key: None}, lambda _: calls, make_questions, selection.cluster, label)
    return key, str(rules.overlap)


def _gather(
    sources: Mapping[str, SourceDocuments], heldout: Heldout, parts: Sequence[_Part], receipts: Sequence[Receipt]
) -> Decontaminated:
    """Put the results of shards together by source."""
    train: dict[str, tuple[Bitmap | None, ...]] = {}
    rows: dict[str, StageRow] = {}
    lists: dict[str, tuple[RemovalList, ...]] = {}
    by_source: dict[str, list[tuple[_Part, Receipt]]] = {name: [] for name in sources}
    for part, receipt in zip(parts, receipts, strict=True):
        by_source[part.source].append((part, receipt))
    for name, found in by_source.items():
        train[name] = tuple(
            bitmap_of(receipt, int(receipt.facts["kept"])) if receipt.files else part.bitmap for part, receipt in found
        )
        lists[name] = tuple(_list(part.shard, receipt) for part, receipt in found if receipt.files)
        taken = heldout.texts[name].taken
        untouched = StageRow(
            stage=DECONTAMINATE,
            documents_in=taken.documents,
            documents_out=taken.documents,
            bytes_in=taken.bytes,
            bytes_out=taken.bytes,
        )
        rows[name] = sum_rows([untouched, *(receipt.account[0] for _, receipt in found)]).check(source=name)
    return Decontaminated(train, rows, lists)


def _list(shard: Shard, receipt: Receipt) -> RemovalList:
    row = receipt.account[0]
    path = f"{DECONTAMINATE}/{receipt.key}/{DROPPED}"
    return RemovalList(
        "decontaminated", path, shard.file or None, shard.first_record, row.documents_in - row.documents_out
    )
