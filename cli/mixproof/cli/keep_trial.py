"""What the key `keep` would drop of the documents that `inspect` tried."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape

from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.kept import KeptRule
from mixproof.pipeline.cells.divide_sources import keep_source
from mixproof.pipeline.cells.keep import Kept
from mixproof.pipeline.labels.labeler import Labeler, columns_of
from mixproof.pipeline.read.selection import Selection

from .output import count, percent, stdout, table


def try_keep(selection: Selection, labelers: Mapping[str, Mapping[str, Labeler]]) -> tuple[dict[str, Kept], list[str]]:
    """Apply the rules of every source to documents that are not deduplicated.

    Returns:
        What the rules leave, by source, and why the rules of other sources could not be applied.
    """
    found: dict[str, Kept] = {}
    problems: list[str] = []
    for name in selection.sources:
        columns = {rule.column for rule in selection.spec.sources[name].keep or ()}
        ready = {label: each for label, each in labelers.get(name, {}).items() if each.is_ready}
        if missing := columns - set(columns_of(ready)):
            problems.append(f"sources.{name}.keep: {', '.join(sorted(missing))} could not be computed on this sample")
        elif columns:
            try:
                found[name] = keep_source(selection, name, ready)
            except RequestError as error:  # no document of a small sample may be left
                problems.append(str(error))
    return found, problems


def keep_json(kept: Kept) -> dict[str, object]:
    """The JSON form of what the rules of a source leave."""
    row = kept.row
    return {
        "tried": {"documents": row.documents_in, "bytes": row.bytes_in},
        "kept": {"documents": row.documents_out, "bytes": row.bytes_out},
        "dropped": {reason: lost.model_dump() for reason, lost in row.dropped.items()},
        "rules": [rule.model_dump() for rule in kept.record.rules],
    }


def print_keep(name: str, kept: Kept) -> None:
    """Print what the rules of a source would drop, by reason, and the bounds that follow from the sample."""
    row = kept.row
    rows = [(reason, lost.documents, lost.bytes) for reason, lost in row.dropped.items()]
    rows.append(("kept", row.documents_out, row.bytes_out))
    shown = [
        (reason, count(documents), percent(documents / row.documents_in), count(size), percent(size / row.bytes_in))
        for reason, documents, size in rows
    ]
    title = f"{name}: `keep` on {count(row.documents_in)} documents, before deduplication"
    stdout.print(table(title, ("reason", "documents", "share", "bytes", "share"), shown))
    stdout.print(f"rules: {escape('; '.join(_in_words(rule) for rule in kept.record.rules))}", soft_wrap=True)
    stdout.print()


def _in_words(rule: KeptRule) -> str:
    bounds = [f"at least {float(rule.low):g}"] if rule.low is not None else []
    bounds += [f"at most {float(rule.high):g}"] if rule.high is not None else []
    return f"{rule.column} is {' or '.join(rule.values)}" if rule.values else f"{rule.column} {' and '.join(bounds)}"
