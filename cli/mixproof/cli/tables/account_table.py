"""The account of a build on the terminal: where each source's records went, by reason, and which sources lost most.

The columns of a row add up: records = rejected + filters + exact + fuzzy + semantic + paragraphs + substrings +
decontaminated + no tokens + held out + kept. Columns in which every source has 0 are left out, except `rejected`, `held
out` and `kept`. Held-out sets that were imported from another build are not part of the sum. A source that was divided
into cells has a row for what it lost before; `kept` there is what its cells share. The records of a cell are the
documents that were put in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from mixproof.cli.abridged import largest, others_name
from mixproof.cli.output import count, percent, table
from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.mixtures.blocks.split import PRUNED
from mixproof.pipeline.record import OTHER_PART, PASSED_OVER

REJECTED, FILTERS, EXACT, FUZZY, SEMANTIC = "rejected", "filters", "exact", "fuzzy", "semantic"
PARAGRAPHS, SUBSTRINGS, DECONTAMINATED, NO_TOKENS = "paragraphs", "substrings", "decontaminated", "no tokens"
CELLS = "cells"
LOSSES = (REJECTED, FILTERS, EXACT, FUZZY, SEMANTIC, PARAGRAPHS, SUBSTRINGS, DECONTAMINATED, NO_TOKENS)
_KIND_OF_STAGE = {
    "read": REJECTED,
    "semantic": SEMANTIC,
    "paragraphs": PARAGRAPHS,
    "substrings": SUBSTRINGS,
    "decontaminate": DECONTAMINATED,
    "encode": NO_TOKENS,
}
_KIND_OF_DUPLICATE = {"exact_duplicate": EXACT, "fuzzy_duplicate": FUZZY}
WARN_ABOVE = 0.5
"""Share of lost records above which a source is worth a warning."""


def losses_of(source: SourceRecord) -> dict[str, int]:
    """The records that a source lost, by kind of loss; records of other parts of a split source are not its own."""
    return _losses_in(_own_rows(source))


def _own_rows(source: SourceRecord) -> tuple[StageRow, ...]:
    """The ledger of a source; of a cell, from the division on, without what its source lost there."""
    stages = [row.stage for row in source.ledger]
    if CELLS not in stages:
        return source.ledger
    division, *rest = source.ledger[stages.index(CELLS) :]
    pruned = division.dropped.get(PRUNED, Count(documents=0, bytes=0))
    own = {reason: count for reason, count in division.dropped.items() if reason != PRUNED}
    documents, size = division.documents_in - pruned.documents, division.bytes_in - pruned.bytes
    return (division.model_copy(update={"documents_in": documents, "bytes_in": size, "dropped": own}), *rest)


def _losses_in(rows: Sequence[StageRow]) -> dict[str, int]:
    found = dict.fromkeys(LOSSES, 0)
    for row in rows:
        for reason, dropped in row.dropped.items():
            if reason != OTHER_PART:
                found[_kind(row, reason)] += dropped.documents
    return found


def account_table(manifest: Manifest) -> Table:
    """A row per source: its records by what became of them, then its tokens.

    If a source has conversations, a column says how many training tokens are supervised; of plain text, all are. Of
    many sources those with the most tokens are shown, and the sums of the others.
    """
    losses = {name: losses_of(source) for name, source in sorted(manifest.sources.items())}
    divided = {name: _before_division(manifest, name) for name in manifest.cells}
    all_losses = [*losses.values(), *(_losses_in(rows) for rows in divided.values())]
    shown = [kind for kind in LOSSES if kind == REJECTED or any(lost[kind] for lost in all_losses)]
    masked = any(source.train.supervised_tokens is not None for source in manifest.sources.values())
    names, others = largest({name: manifest.sources[name].train.tokens for name in losses})
    numbers_of = {name: _numbers(manifest.sources[name], losses[name], shown, masked=masked) for name in losses}
    rows = [(name, *map(count, numbers_of[name])) for name in names]
    for name, ledger in divided.items():
        lost, kept = _losses_in(ledger), ledger[-1].documents_out
        numbers = (count(_records(ledger)), *(count(lost[kind]) for kind in shown))
        rows.append((name, *numbers, "", count(kept), "", *[""] * masked, ""))
    rows.sort()
    if others:
        sums = map(sum, zip(*(numbers_of[name] for name in others), strict=True))
        rows.append((others_name(others), *map(count, sums)))
    supervised = ("supervised tokens",) if masked else ()
    columns = ("source", "records", *shown, "held out", "kept", "train tokens", *supervised, "held-out tokens")
    return table("Account of documents", columns, rows)


def large_losses(manifest: Manifest) -> Iterator[str]:
    """A sentence for each source that lost more than half of its records.

    Records that a reader skips by design, such as blank lines and WARC records that are not pages, do not count.
    """
    for name, source in sorted(manifest.sources.items()):
        yield from _large_loss(name, _own_rows(source))
    for name in manifest.cells:
        yield from _large_loss(name, _before_division(manifest, name))


def _before_division(manifest: Manifest, name: str) -> tuple[StageRow, ...]:
    """The ledger of a divided source, which each of its parts has, up to the division and what was pruned there."""
    record = manifest.cells[name]
    part = manifest.sources[next(iter(record.parts))]
    return (*part.ledger[: [row.stage for row in part.ledger].index(CELLS)], *record.own_rows())


def _large_loss(name: str, rows: Sequence[StageRow]) -> Iterator[str]:
    losses = _losses_in(rows)
    skipped = sum(
        dropped.documents for reason, dropped in rows[0].dropped.items() if reason in PASSED_OVER - {OTHER_PART}
    )
    losses[REJECTED] -= skipped
    records, lost = _records(rows) - skipped, sum(losses.values())
    if records and lost / records > WARN_ABOVE:
        kind, most = max(losses.items(), key=lambda item: item[1])
        yield (
            f"{name}: {percent(lost / records)} of {count(records)} records are lost, most of them to {kind} "
            f"({count(most)})"
        )


def _kind(row: StageRow, reason: str) -> str:
    """The column of a loss; rows with other names than the stages' are those of steps."""
    return _KIND_OF_DUPLICATE[reason] if row.stage == "dedup" else _KIND_OF_STAGE.get(row.stage, FILTERS)


def _records(rows: Sequence[StageRow]) -> int:
    """What came into a source, without what belongs to other parts of it."""
    read = rows[0]
    return read.documents_in - sum(lost.documents for reason, lost in read.dropped.items() if reason == OTHER_PART)


def _numbers(source: SourceRecord, losses: Mapping[str, int], shown: list[str], *, masked: bool) -> Iterator[int]:
    records, train, heldout = _records(_own_rows(source)), source.train, source.heldout
    trained, measured = (side.documents // source.documents_per_record for side in (train, heldout))
    held_out = measured if heldout.imported_from is None else 0
    assert records == sum(losses.values()) + held_out + trained, "E1 to E5 closed before the manifest was written"
    yield records
    yield from (losses[kind] for kind in shown)
    yield from (measured, trained, train.tokens)
    if masked:
        yield train.tokens if train.supervised_tokens is None else train.supervised_tokens
    yield heldout.tokens
