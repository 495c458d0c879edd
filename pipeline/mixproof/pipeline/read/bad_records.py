"""The limit of `on_bad_record` on the share of a source's records that have no usable text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import BadRecordsError
from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.record import EMPTY_TEXT, OTHER_PART, PASSED_OVER

from .shard_output import iter_rejects
from .shards import REJECTS, Shard

SHOWN = 3
"""Rejected records, and files of them, that the error names."""

_ENCODING_HINT = (
    ". Texts must be UTF-8; if these are in another encoding, such as Latin-1 or Windows-1252, convert them "
    "with `iconv -f WINDOWS-1252 -t UTF-8`"
)


def check_bad_records(
    source: str,
    row: StageRow,
    shards: Sequence[tuple[Shard, Receipt]],
    store: Store,
    *,
    limit: Fraction,
    files_are_documents: bool,
) -> None:
    """Compare a source's share of bad records with the limit.

    Args:
        source: its name.
        row: the account of reading it.
        shards: each with its receipt.
        store: where they are.
        limit: largest share of bad records, 0 to 1.
        files_are_documents: an empty file is then not a bad record, because many source trees have them.

    Raises:
        BadRecordsError: with counts by reason, and the first bad records.
    """
    passed_over = PASSED_OVER | {EMPTY_TEXT} if files_are_documents else PASSED_OVER
    not_bad = sum(count.documents for name, count in row.dropped.items() if name in passed_over)
    bad = row.documents_in - row.documents_out - not_bad
    other_part = row.dropped.get(OTHER_PART, Count(documents=0, bytes=0))
    records = row.documents_in - not_bad + other_part.documents
    if bad <= limit * records:
        return
    bad_shards = [shard for shard, receipt in shards if set(receipt.account[0].dropped) - passed_over]
    lists = [str(store.path(f"{shard.folder}/{REJECTS}")) for shard in bad_shards]
    counts = {name: count.documents for name, count in row.dropped.items() if name not in passed_over}
    raise BadRecordsError(
        f"source {source}: {bad} of {records} records ({100 * bad / records:.4g}%) have no usable text "
        f"({_shown(counts)}), more than `on_bad_record: {{reject: {100 * float(limit):.4g}%}}` allows. "
        f"First: {'; '.join(islice(_described(bad_shards, store, passed_over), SHOWN))}. "
        f"All rejected records: {', '.join(lists[:SHOWN])}"
        + (f" and {len(lists) - SHOWN} more files" if len(lists) > SHOWN else "")
        + (_ENCODING_HINT if "invalid_utf8" in counts else "")
    )


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.items())


def _described(shards: Sequence[Shard], store: Store, passed_over: frozenset[str]) -> Iterator[str]:
    """File, record, reason and start of each bad record."""
    for shard in shards:
        for reject in iter_rejects(store, shard.folder):
            if reject["reason"] not in passed_over:
                file, record = reject.get("file", shard.file), shard.first_record + reject["record"]
                yield f"{file} record {record}: {reject['reason']}: {reject['detail'][:80]!r}"
