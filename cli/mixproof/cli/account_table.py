"""The account of a build on the terminal: where each source's records went, by reason, and which sources lost most.

The columns of a row add up: records = rejected + filters + exact + fuzzy + paragraphs + decontaminated + no tokens +
held out + kept. Columns in which every source has 0 are left out, except `rejected`, `held out` and `kept`. Held-out
sets that were imported from another build are not part of the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table

from mixproof.ledger.account import StageRow
from mixproof.ledger.manifest import Manifest, SourceRecord
from mixproof.pipeline.record import OTHER_PART, PASSED_OVER

from .output import count, percent, table

REJECTED, FILTERS, EXACT, FUZZY = "rejected", "filters", "exact", "fuzzy"
PARAGRAPHS, DECONTAMINATED, NO_TOKENS = "paragraphs", "decontaminated", "no tokens"
LOSSES = (REJECTED, FILTERS, EXACT, FUZZY, PARAGRAPHS, DECONTAMINATED, NO_TOKENS)
_KIND_OF_STAGE = {"read": REJECTED, "paragraphs": PARAGRAPHS, "decontaminate": DECONTAMINATED, "encode": NO_TOKENS}
_KIND_OF_DUPLICATE = {"exact_duplicate": EXACT, "fuzzy_duplicate": FUZZY}
WARN_ABOVE = 0.5
"""Share of lost records above which a source is worth a warning."""


def losses_of(source: SourceRecord) -> dict[str, int]:
    """The records that a source lost, by kind of loss; records of other parts of a split source are not its own."""
    found = dict.fromkeys(LOSSES, 0)
    for row in source.ledger:
        for reason, dropped in row.dropped.items():
            if reason != OTHER_PART:
                found[_kind(row, reason)] += dropped.documents
    return found


def account_table(manifest: Manifest) -> Table:
    """A row per source: its records by what became of them, then its tokens."""
    losses = {name: losses_of(source) for name, source in sorted(manifest.sources.items())}
    shown = [kind for kind in LOSSES if kind == REJECTED or any(lost[kind] for lost in losses.values())]
    rows = [
        (name, *(count(number) for number in _numbers(manifest.sources[name], lost, shown)))
        for name, lost in losses.items()
    ]
    columns = ("source", "records", *shown, "held out", "kept", "train tokens", "held-out tokens")
    return table("Account of documents", columns, rows)


def large_losses(manifest: Manifest) -> Iterator[str]:
    """A sentence for each source that lost more than half of its records.

    Records that a reader skips by design, such as blank lines and WARC records that are not pages, do not count.
    """
    for name, source in sorted(manifest.sources.items()):
        read, losses = source.ledger[0], losses_of(source)
        skipped = sum(
            dropped.documents for reason, dropped in read.dropped.items() if reason in PASSED_OVER - {OTHER_PART}
        )
        losses[REJECTED] -= skipped
        records, lost = _records(source) - skipped, sum(losses.values())
        if records and lost / records > WARN_ABOVE:
            kind, most = max(losses.items(), key=lambda item: item[1])
            yield (
                f"{name}: {percent(lost / records)} of {count(records)} records are lost, most of them to {kind} "
                f"({count(most)})"
            )


def _kind(row: StageRow, reason: str) -> str:
    """The column of a loss; rows with other names than the stages' are those of steps."""
    return _KIND_OF_DUPLICATE[reason] if row.stage == "dedup" else _KIND_OF_STAGE.get(row.stage, FILTERS)


def _records(source: SourceRecord) -> int:
    read = source.ledger[0]
    return read.documents_in - sum(lost.documents for reason, lost in read.dropped.items() if reason == OTHER_PART)


def _numbers(source: SourceRecord, losses: Mapping[str, int], shown: list[str]) -> Iterator[int]:
    records, train, heldout = _records(source), source.train, source.heldout
    held_out = heldout.documents if heldout.imported_from is None else 0
    assert records == sum(losses.values()) + held_out + train.documents, (
        "E1 to E5 closed before the manifest was written"
    )
    yield records
    yield from (losses[kind] for kind in shown)
    yield from (heldout.documents, train.documents, train.tokens, heldout.tokens)
