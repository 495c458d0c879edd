"""Documents set aside for held-out sets before the tokenizer is trained on the others.

A build that trains its own tokenizer cannot count tokens yet, so it sets aside, by smallest text hash,
enough bytes for what is asked: 8 a token (tokenizers of 32,000 ids have 3 to 5), or where no size is asked
the part of the source at which its set would end. That is never more than half of the source's bytes,
unless the number of documents asked needs more. Copies of a text go with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.account import StageRow
from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.spec import HeldoutCreate, Spec
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.read.by_hash import hex_of, in_hash_order, rows_up_to
from mixproof.pipeline.read.documents import SourceDocuments

from .split import KeepBitmaps, identity, read_without, write_without

RESERVE = "reserve"
VERSION = 1
DEFAULT_TOKENS = 1_000_000
DEFAULT_BYTES_DIVISOR = 50
"""Where no size is asked, a held-out set ends at this part of the source's bytes, 2%, if that comes first."""
BYTES_PER_TOKEN = 8


@dataclass(frozen=True)
class Reserve:
    """The documents from which a build that trains its tokenizer takes its held-out sets."""

    last: dict[str, str]
    """Per source the text hash, 32 hex digits, up to which documents are set aside."""
    rest: dict[str, tuple[Bitmap | None, ...]]
    """The documents that the tokenizer's training may read: none with the text of one set aside."""


def reserve_heldout(
    spec: Spec,
    sources: Mapping[str, SourceDocuments],
    keep: KeepBitmaps,
    before: Mapping[str, StageRow],
    store: Store,
    cluster: Cluster,
) -> Reserve:
    """Set aside the documents from which `create_heldout` will choose.

    Args:
        spec: its `heldout.create` says how much is asked.
        sources: the documents, by source.
        keep: what the stages before kept of them.
        before: the ledger's last row of each source so far.
        store: where outputs go.
        cluster: runs the tasks.

    Raises:
        RequestError: when a source has no more documents than asked.
    """
    asked = spec.heldout.create or HeldoutCreate()
    last, rest = {}, {}
    for name, source in sources.items():
        config = {"tokens": asked.tokens, "min_documents": asked.min_documents}
        key = stage_key(RESERVE, VERSION, config, identity(source, keep[name]))
        receipt = store.receipt(RESERVE, key)
        cluster.count(run=int(receipt is None), reused=int(receipt is not None))
        if receipt is None:
            place = spec.where("sources", name)
            limit = _last_reserved(place, source, keep[name], before[name], asked, store, cluster)
            receipt = _write(store, key, source, keep[name], limit)
        last[name] = str(receipt.facts["last"])
        rest[name] = read_without(receipt, receipt.facts["kept"], keep[name])
    return Reserve(last, rest)


def reserved_bytes(asked: HeldoutCreate, source_bytes: int) -> int:
    """Bytes of text to set aside in a source of `source_bytes`."""
    part = source_bytes // DEFAULT_BYTES_DIVISOR + 1 if asked.tokens is None else source_bytes // 2
    return min(BYTES_PER_TOKEN * (asked.tokens or DEFAULT_TOKENS), part)


def _last_reserved(
    where: str,
    source: SourceDocuments,
    keep: Sequence[Bitmap | None],
    before: StageRow,
    asked: HeldoutCreate,
    store: Store,
    cluster: Cluster,
) -> str:
    wanted_bytes, wanted = reserved_bytes(asked, before.bytes_out), max(1, asked.min_documents)
    documents = size = 0
    expected = max(Fraction(wanted_bytes, max(1, before.bytes_out)), Fraction(wanted, max(1, before.documents_out)))
    for candidates in in_hash_order(source, keep, store, cluster, expected=min(Fraction(1), expected)):
        sums = size + np.cumsum(candidates["bytes"])
        end = max(int(np.searchsorted(sums, wanted_bytes)) + 1, wanted - documents)
        if end <= len(candidates):
            if documents + end == before.documents_out:
                break
            return hex_of(candidates[end - 1])
        documents, size = documents + len(candidates), int(sums[-1]) if len(sums) else size
    raise RequestError(
        f"{where}: its held-out set is to have at least {wanted:,} (heldout.create.min_documents) of its documents, "
        f"{before.documents_out:,} in all, and the tokenizer is to be trained on others; lower "
        "heldout.create.min_documents, give the source more files, or name a tokenizer and held-out sets that are there"
    )


def _write(store: Store, key: str, source: SourceDocuments, keep: Sequence[Bitmap | None], last: str) -> Receipt:
    with store.attempt(RESERVE, key) as attempt:
        kept = write_without(attempt, store, source, keep, _reserved_rows(store, source, last))
        return attempt.commit(facts={"last": last, "kept": kept})


def _reserved_rows(store: Store, source: SourceDocuments, last: str) -> NDArray[Any]:
    return np.concatenate([rows_up_to(store, shard, place, last) for place, shard in enumerate(source.shards)])
