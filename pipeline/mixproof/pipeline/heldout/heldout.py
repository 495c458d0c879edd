"""Held-out sets: the documents of each source that no run trains on and every run is measured by.

A set is made once, after dedup: documents by smallest text hash until the tokens and the number of
documents that were asked for are there. Which documents those are depends on the texts alone, not on
shards, files or workers. Of documents with the same text the first, by (file, record), is held out; its
copies stay on the training side, where decontamination drops them (with `decontaminate: false` they stay).
A text that encodes to no token cannot be evaluated and is passed over.

The set is a Parquet of `file`, `record`, `id`, `text`, `text_xxh128` (32 hex digits) and `text_bytes` in
the order of the hashes, under `heldout/<key>/`. Its key is made from these rows, so it is the same under
any shards, and other builds can import it (`import_heldout.py`). What is left to train on is a keep-bitmap
a shard under `split/<key>/`.

Where the build trains its own tokenizer, tokens cannot be counted before the tokenizer is there, and the
tokenizer must not see held-out texts. Then `reserve.py` first sets documents aside, and the set is chosen
among these once the tokenizer can count.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.spec import HeldoutCreate, Spec
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.columns import array_of, column_of, numbers, read_whole
from mixproof.pipeline.read.by_hash import fetch_texts, hex_of, in_hash_order, up_to
from mixproof.pipeline.read.documents import SourceDocuments

from .heldout_target import Target
from .reserve import Reserve
from .split import SPLIT, KeepBitmaps, identity, read_without, write_without

HELDOUT = "heldout"
VERSION = 1
TOKENS_AT_A_TIME = 64
"""Documents whose tokens are counted in one call."""
ROW_GROUP_ROWS = 1024

TEXTS_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("text", pa.large_string()),
        pa.field("text_xxh128", pa.string()),
        pa.field("text_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True)
class HeldoutSet:
    """A source's held-out texts."""

    source: str
    path: str
    """The Parquet, relative to the store."""
    sha256: str
    """Of the Parquet."""
    documents: int
    text_bytes: int
    hashes: tuple[str, ...]
    """`text_xxh128` of each text in the order of the set, 32 hex digits each, rising."""
    imported_from: str | None = None
    """Id of the build that the set comes from; then it is no part of this source's documents (E4)."""

    @property
    def taken(self) -> Count:
        """What the set takes out of its source: nothing where it was imported."""
        if self.imported_from is not None:
            return Count(documents=0, bytes=0)
        return Count(documents=self.documents, bytes=self.text_bytes)


@dataclass(frozen=True)
class Heldout:
    """Every source's held-out set, and what is left to train on."""

    texts: dict[str, HeldoutSet]
    train: dict[str, tuple[Bitmap | None, ...]]


CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""Tokens of each text, EOD included; 0 for a text without a token of its own."""


def create_heldout(
    spec: Spec,
    sources: Mapping[str, SourceDocuments],
    keep: KeepBitmaps,
    before: Mapping[str, StageRow],
    store: Store,
    cluster: Cluster,
    count_tokens: CountTokens,
    *,
    tokenizer_sha256: str,
    reserve: Reserve | None = None,
) -> Heldout:
    """Make every source's held-out set from its documents.

    Args:
        spec: its `heldout.create` says how much is asked.
        sources: the documents, by source.
        keep: what the stages before kept of them.
        before: the ledger's last row of each source so far.
        store: where outputs go.
        cluster: runs the tasks.
        count_tokens: counts a text's tokens.
        tokenizer_sha256: of the tokenizer behind `count_tokens`.
        reserve: the documents that the sets must come from; None: all.

    Raises:
        RequestError: when a source cannot give what is asked, or has nothing left to train on.
    """
    asked = spec.heldout.create or HeldoutCreate()
    texts, train = {}, {}
    for name, source in sources.items():
        last = None if reserve is None else reserve.last[name]
        key = stage_key(
            SPLIT,
            VERSION,
            {"source": name, "tokens": asked.tokens, "min_documents": asked.min_documents},
            {"shards": identity(source, keep[name]), "tokenizer": tokenizer_sha256, "reserve": last},
        )
        receipt = _finished(store, key)
        cluster.count(run=int(receipt is None), reused=int(receipt is not None))
        if receipt is None:
            target = Target(spec.where("sources", name), asked, before[name], last)
            documents, rows = _choose(source, keep[name], store, cluster, count_tokens, target)
            receipt = _write(store, key, source, keep[name], documents, rows)
        texts[name] = read_set(store, name, receipt.facts["path"], receipt.facts["sha256"])
        train[name] = read_without(receipt, receipt.facts["kept"], keep[name])
    return Heldout(texts, train)


def read_set(store: Store, source: str, path: str, sha256: str, imported_from: str | None = None) -> HeldoutSet:
    """The set whose texts lie at `path` in the store."""
    columns = read_whole(store.path(path), ["text_xxh128", "text_bytes"])
    return HeldoutSet(
        source=source,
        path=path,
        sha256=sha256,
        documents=columns.num_rows,
        text_bytes=int(array_of(columns["text_bytes"]).sum()),
        hashes=tuple(columns["text_xxh128"].to_pylist()),
        imported_from=imported_from,
    )


def heldout_key(source: str, texts: pa.Table) -> str:
    """The key of a set: all of its rows, each text by its hash."""
    columns = ("file", "record", "id", "text_xxh128", "text_bytes")
    rows = [list(row) for row in zip(*(texts[name].to_pylist() for name in columns), strict=True)]
    return stage_key(HELDOUT, VERSION, {"source": source}, rows)


def _choose(
    source: SourceDocuments,
    keep: Sequence[Bitmap | None],
    store: Store,
    cluster: Cluster,
    count_tokens: CountTokens,
    target: Target,
) -> tuple[NDArray[Any], pa.Table]:
    """The documents to hold out, in hash order, and their `file`, `record`, `id` and `text`."""
    chosen, tables = [], []
    for candidates in in_hash_order(source, keep, store, cluster, expected=target.expected):
        inside = candidates if target.last is None else up_to(candidates, target.last)
        rows = fetch_texts(source.shards, inside, store, cluster)
        taken = _take(inside, rows["text"], count_tokens, target)
        chosen.append(inside[taken])
        tables.append(rows.take(numbers(taken)))
        if target.reached or len(inside) < len(candidates):
            break
    if not target.reached and not target.enough:
        raise target.shortage()
    if target.documents == target.before.documents_out:
        raise target.nothing_left()
    return np.concatenate(chosen), pa.concat_tables(tables)


def _take(documents: NDArray[Any], texts: Any, count_tokens: CountTokens, target: Target) -> NDArray[np.int64]:  # noqa: ANN401 - pyarrow ships no types
    """Places of the documents to take, from the first one on, until the target is reached."""
    taken: list[int] = []
    for first in range(0, len(documents), TOKENS_AT_A_TIME):
        batch = texts.slice(first, TOKENS_AT_A_TIME).to_pylist()
        for place, tokens in enumerate(count_tokens(batch), first):
            if tokens > 0:
                taken.append(place)
                target.add(int(tokens), int(documents["bytes"][place]))
                if target.reached:
                    return np.array(taken, dtype=np.int64)
    return np.array(taken, dtype=np.int64)


def _write(
    store: Store,
    key: str,
    source: SourceDocuments,
    keep: Sequence[Bitmap | None],
    documents: NDArray[Any],
    rows: pa.Table,
) -> Receipt:
    """Write the set under its own key, then the split that names it."""
    hashes = column_of([hex_of(document) for document in documents], pa.string())
    columns = [*(rows[name] for name in ("file", "record", "id", "text")), hashes, numbers(documents["bytes"])]
    texts = pa.table(columns, schema=TEXTS_SCHEMA)
    path, sha256 = write_set(store, source.name, texts)
    with store.attempt(SPLIT, key) as attempt:
        kept = write_without(attempt, store, source, keep, documents)
        return attempt.commit(facts={"path": path, "sha256": sha256, "kept": kept})


def write_set(store: Store, source: str, texts: pa.Table, source_file: Path | None = None) -> tuple[str, str]:
    """Write a set's Parquet where it is not yet; returns its path in the store and its SHA-256.

    `source_file` is copied where the set is already a file, so that both stay the same byte for byte.
    """
    key, name = heldout_key(source, texts), f"{source}.parquet"
    receipt = store.receipt(HELDOUT, key)
    if receipt is None:
        with store.attempt(HELDOUT, key) as attempt:
            path = attempt.path(name)
            if source_file is None:
                pq.write_table(texts, path, compression="zstd", compression_level=1, row_group_size=ROW_GROUP_ROWS)
            else:
                shutil.copyfile(source_file, path)
            receipt = attempt.commit()
    return f"{HELDOUT}/{key}/{name}", receipt.files[name].sha256


def _finished(store: Store, key: str) -> Receipt | None:
    """The receipt of a split whose set is there as well."""
    receipt = store.receipt(SPLIT, key)
    if receipt is None:
        return None
    heldout_stage, heldout, _ = str(receipt.facts["path"]).split("/", 2)
    return receipt if store.receipt(heldout_stage, heldout) is not None else None
