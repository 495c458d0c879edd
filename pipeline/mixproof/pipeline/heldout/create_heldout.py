"""Create held-out sets: the documents of each source that no run trains on and every run is evaluated on.

A set is chosen once, after deduplication: documents in the order of their text hashes, until there are as many tokens
and documents as requested. The choice depends on the texts alone, not on shards, files or workers. Of documents with
the same text the first, by (file, record), is held out; its copies remain training documents, and decontamination drops
them (with `decontaminate: false` they stay). A text without tokens cannot be evaluated and is skipped.

The set is a Parquet file (`heldout_set.py`); what remains for training is a bitmap per shard, under `split/<key>/`.

Conversations, pairs and rated answers are held out by prompt, in the order of the prompts' hashes: all of a source that
share a prompt are on one side.

A build that trains its own tokenizer cannot count tokens before it has one, and the tokenizer must not see held-out
texts. So documents are reserved first (`reserve.py`), and the set is chosen among these once tokens can be counted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.ledger.store.batch import Batch
from mixproof.mixtures.blocks.heldout import HeldoutCreate
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.columns import column_of, numbers
from mixproof.pipeline.read.by_hash import (
    CONVERSATION_SCHEMA,
    ROWS_SCHEMA,
    fetch_texts,
    hex_of,
    in_hash_order,
    up_to,
)
from mixproof.pipeline.read.selection import Selection

from .heldout_set import CONVERSATIONS_SCHEMA, TEXTS_SCHEMA, Heldout, read_set, write_set
from .heldout_target import HeldoutTarget
from .make_splits import make_splits
from .reserve import Reserve
from .split import SPLIT, SourceToSplit, identity, read_without, write_without

VERSION = 1
TOKENIZED_AT_A_TIME = 64
"""Documents whose tokens are counted in one call."""
COUNTING = Lock()
"""Held while tokens are counted: not every tokenizer may be used by several threads."""

log = logging.getLogger(__name__)


class CountTokens(Protocol):
    """Counts tokens."""

    def __call__(self, texts: Sequence[str], marks: Sequence[str] | None = None) -> Sequence[int]:
        """Tokens of each text, EOD included, 0 for a text without tokens of its own. Conversations have `marks`."""
        ...


def create_heldout(
    selection: Selection, count_tokens: CountTokens, *, tokenizer_sha256: str, reserve: Reserve | None = None
) -> Heldout:
    """Create every source's held-out set from its documents.

    Args:
        selection: the documents; `heldout.create` of its spec states the size of the sets.
        count_tokens: counts the tokens of texts.
        tokenizer_sha256: of the tokenizer behind `count_tokens`.
        reserve: the documents that the sets must be chosen from; None: all.

    Raises:
        RequestError: when a source has fewer documents than requested, or none would remain for training.
    """
    requested = selection.spec.heldout.create or HeldoutCreate()
    size = {"tokens": requested.tokens, "min_documents": requested.min_documents}
    keys: dict[str, str] = {}
    targets: dict[str, HeldoutTarget] = {}
    for name, source in selection.sources.items():
        last_hash = None if reserve is None else reserve.last_hash[name]
        keys[name] = stage_key(
            SPLIT,
            VERSION,
            {"source": name, **size, **({} if source.kind is None else {"by": "prompts"})},
            {"shards": identity(source, selection.keep[name]), "tokenizer": tokenizer_sha256, "reserve": last_hash},
        )
        where = selection.spec.where("sources", name)
        targets[name] = HeldoutTarget(where, requested, selection.last_rows[name], last_hash)
    receipts = make_splits(selection, SPLIT, keys, targets, partial(_split, count_tokens), has_set=True)
    texts, train = {}, {}
    for name, receipt in receipts.items():
        texts[name] = read_set(selection.store, name, receipt.facts["path"], receipt.facts["sha256"])
        train[name] = read_without(selection.store, receipt, selection.keep[name])
    return Heldout(texts, train)


def _split(
    count_tokens: CountTokens,
    store: Store,
    cluster: Cluster | None,
    source: SourceToSplit,
    splits: Batch,
    sets: Batch,
) -> None:
    name, documents = source.documents.name, source.documents
    chosen, rows = _choose(store, cluster, source, partial(_one_at_a_time, count_tokens))
    table = _table(chosen, rows, documents.kind is not None)
    path, sha256 = write_set(store, name, table, batch=sets)
    log.info("%s: held out %d documents of source %s", SPLIT, len(chosen), name)
    with splits.attempt(SPLIT, source.key) as attempt:
        bitmaps = write_without(attempt, (SPLIT, source.key), source, chosen, store, cluster)
        attempt.commit(facts={"path": path, "sha256": sha256, **bitmaps})


def _one_at_a_time(
    count_tokens: CountTokens, texts: Sequence[str], marks: Sequence[str] | None = None
) -> Sequence[int]:
    with COUNTING:
        return count_tokens(texts, marks)


def _table(documents: NDArray[Any], rows: pa.Table, are_conversations: bool) -> pa.Table:
    """The rows of a set; `documents` have the hashes by which they were chosen."""
    hashes = column_of([hex_of(document) for document in documents], pa.string())
    columns = [rows[each] for each in ("file", "record", "id", "text")]
    if not are_conversations:
        return pa.table([*columns, hashes, numbers(documents["bytes"])], schema=TEXTS_SCHEMA)
    texts = column_of([digest.hex() for digest in rows["text_xxh128"].to_pylist()], pa.string())
    columns += [texts, numbers(documents["bytes"]), rows["marks"], hashes]
    return pa.table(columns, schema=CONVERSATIONS_SCHEMA)


def _choose(
    store: Store, cluster: Cluster | None, whole: SourceToSplit, count_tokens: CountTokens
) -> tuple[NDArray[Any], pa.Table]:
    """Choose the documents to hold out: HASHED_DTYPE in hash order, and their `file`, `record`, `id` and `text`."""
    source, target = whole.documents, whole.target
    chosen, tables = [], []
    for found in in_hash_order(source, whole.keep, store, cluster, expected=target.expected_share):
        candidates = found if target.last_hash is None else up_to(found, target.last_hash)
        schema = ROWS_SCHEMA if source.kind is None else CONVERSATION_SCHEMA
        rows = fetch_texts(source.shards, candidates, store, cluster, schema)
        take = _take if source.kind is None else _take_prompts
        taken = take(candidates, rows, count_tokens, target)
        chosen.append(candidates[taken])
        tables.append(rows.take(numbers(taken)))
        if target.is_reached or len(candidates) < len(found):
            break
    if not target.is_reached and not target.may_end_at_reserve:
        raise target.shortage()
    if target.documents == target.before.documents_out:
        raise target.nothing_left()
    return np.concatenate(chosen), pa.concat_tables(tables)


def _take(
    documents: NDArray[Any], rows: pa.Table, count_tokens: CountTokens, target: HeldoutTarget
) -> NDArray[np.int64]:
    """Return the indices of the documents to take, from the first on, until the target is reached."""
    taken: list[int] = []
    for first in range(0, len(documents), TOKENIZED_AT_A_TIME):
        batch = rows["text"].slice(first, TOKENIZED_AT_A_TIME).to_pylist()
        for index, tokens in enumerate(count_tokens(batch), first):
            if tokens > 0:
                taken.append(index)
                target.add(int(tokens), int(documents["bytes"][index]))
                if target.is_reached:
                    return np.array(taken, dtype=np.int64)
    return np.array(taken, dtype=np.int64)


def _take_prompts(
    documents: NDArray[Any], rows: pa.Table, count_tokens: CountTokens, target: HeldoutTarget
) -> NDArray[np.int64]:
    """Return the indices of the conversations to take: all of each prompt, from the first prompt on."""
    taken: list[int] = []
    changes = np.flatnonzero(np.any([np.diff(documents[name].astype(np.uint64)) for name in ("high", "low")], axis=0))
    bounds = [0, *(changes + 1).tolist(), len(documents)]
    for first, end in pairwise(bounds if len(documents) else []):
        batch = rows.slice(first, end - first)
        counts = count_tokens(batch["text"].to_pylist(), batch["marks"].to_pylist())
        for index, tokens in enumerate(counts, first):
            taken.append(index)
            target.add(int(tokens), int(documents["bytes"][index]))
        if target.is_reached:
            break
    return np.array(taken, dtype=np.int64)
