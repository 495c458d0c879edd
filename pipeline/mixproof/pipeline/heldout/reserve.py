"""Documents reserved for held-out sets before a tokenizer is trained on the other ones.

A build that trains its own tokenizer cannot count tokens yet. So it reserves documents in the order of their text
hashes, with enough bytes for the requested tokens: 8 bytes per token (with 32,000 ids there are 3 to 5), or, if no size
is requested, the share of the source at which its set ends. That is at most half of the source's bytes, unless the
requested number of documents needs more. Copies of a reserved text are reserved too.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.ledger.store.batch import Batch
from mixproof.mixtures.blocks.heldout import HeldoutCreate
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.read.by_hash import hex_of, in_hash_order, rows_up_to, up_to
from mixproof.pipeline.read.selection import Selection

from .heldout_target import DEFAULT_BYTES_DIVISOR, DEFAULT_TOKENS, HeldoutTarget
from .make_splits import make_splits
from .split import SourceToSplit, identity, read_without, write_without

RESERVE = "reserve"
VERSION = 1
BYTES_PER_TOKEN = 8


@dataclass(frozen=True)
class Reserve:
    """The documents that a build which trains its tokenizer chooses its held-out sets from."""

    last_hash: dict[str, str]
    """For each source the text hash, 32 hex digits, up to which documents are reserved."""
    tokenizer_train: dict[str, tuple[Bitmap | None, ...]]
    """Bitmaps of the documents that the tokenizer may be trained on: none has the text of a reserved one."""


def reserve_heldout(selection: Selection) -> Reserve:
    """Reserve the documents from which `create_heldout` will choose; `heldout.create` of the spec states the size.

    Raises:
        RequestError: when a source has no more documents than requested.
    """
    requested = selection.spec.heldout.create or HeldoutCreate()
    config = {"tokens": requested.tokens, "min_documents": requested.min_documents}
    keys = {
        name: stage_key(RESERVE, VERSION, config, identity(source, selection.keep[name]))
        for name, source in selection.sources.items()
    }
    targets = {
        name: HeldoutTarget(selection.spec.where("sources", name), requested, selection.last_rows[name], None)
        for name in keys
    }
    receipts = make_splits(selection, RESERVE, keys, targets, _reserve, has_set=False)
    return Reserve(
        {name: str(receipt.facts["last"]) for name, receipt in receipts.items()},
        {name: read_without(selection.store, receipt, selection.keep[name]) for name, receipt in receipts.items()},
    )


def reserved_bytes(requested: HeldoutCreate, source_bytes: int) -> int:
    """Return the bytes of text to reserve in a source of `source_bytes`."""
    most = source_bytes // DEFAULT_BYTES_DIVISOR + 1 if requested.tokens is None else source_bytes // 2
    return min(BYTES_PER_TOKEN * (requested.tokens or DEFAULT_TOKENS), most)


def _reserve(store: Store, cluster: Cluster | None, source: SourceToSplit, reserves: Batch, _: Batch) -> None:
    last_hash = _last_reserved(store, cluster, source)
    documents = rows_up_to(source.documents, store, cluster, last_hash)
    with reserves.attempt(RESERVE, source.key) as attempt:
        bitmaps = write_without(attempt, (RESERVE, source.key), source, documents, store, cluster)
        attempt.commit(facts={"last": last_hash, **bitmaps})


def _last_reserved(store: Store, cluster: Cluster | None, source: SourceToSplit) -> str:
    """Return the text hash of the last document to reserve."""
    requested, before = source.target.requested, source.target.before
    min_bytes, min_documents = reserved_bytes(requested, before.bytes_out), max(1, requested.min_documents)
    documents = size = 0
    share = max(Fraction(min_bytes, max(1, before.bytes_out)), Fraction(min_documents, max(1, before.documents_out)))
    ordered = in_hash_order(source.documents, source.keep, store, cluster, expected=min(Fraction(1), share))
    for found in ordered:
        sums = size + np.cumsum(found["bytes"])
        end = max(int(np.searchsorted(sums, min_bytes)) + 1, min_documents - documents)
        if end <= len(found):
            end = len(up_to(found, hex_of(found[end - 1])))  # conversations that share the last prompt
            if documents + end == before.documents_out:
                break
            return hex_of(found[end - 1])
        documents, size = documents + len(found), int(sums[-1]) if len(sums) else size
    raise RequestError(
        f"{source.target.where}: its held-out set needs at least {min_documents:,} of its "
        f"{before.documents_out:,} documents (heldout.create.min_documents), and none would remain to train the "
        "tokenizer on; lower heldout.create.min_documents, add files to the source, or name an existing tokenizer and "
        "existing held-out sets"
    )
