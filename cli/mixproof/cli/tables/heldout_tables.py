"""Tables of held-out scores, by run: what is minimized, scores of pairs, scores of rated attributes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from mixproof.cli.abridged import largest
from mixproof.cli.output import count, table
from mixproof.train.outcome import RunOutcome
from mixproof.train.record import RunRecord
from mixproof.train.score_record import HeldoutScore, PairScore

NAMES = ("mixture", "proxy", "seed")


def heldout_tables(outcomes: Sequence[RunOutcome]) -> list[Table]:
    """Return a table of what is minimized, and others of pairs and ratings if runs are scored on these."""
    records = [outcome.record for outcome in outcomes if outcome.done and outcome.record is not None]
    tables = [_minimized(records), _pairs(records), _divergence(records), _attributes(records)]
    return [tables[0], *(one for one in tables[1:] if one.row_count)]


def _minimized(records: Sequence[RunRecord]) -> Table:
    tokens = {name: score.tokens for record in records for name, score in record.heldout.items()}
    sources, others = largest(dict(sorted(tokens.items())))
    rows = []
    for record in records:
        scores = [f"{record.heldout[name].minimized:.4f}" if name in record.heldout else "" for name in sources]
        rows.append((*_names(record), *scores))
    units = {score.unit: None for record in records for score in record.heldout.values()}
    title = f"Held-out {', '.join(units) or 'bits per byte'}"
    if others:
        title += f" of the {len(sources)} largest sets of {count(len(tokens))}"
    return table(title, (*NAMES, *sources), rows, text_columns=3)


def _pairs(records: Sequence[RunRecord]) -> Table:
    columns = (*NAMES, "source", "pairs", "accuracy", "margin", "KL", "nats of chosen", "calibration error")
    rows = [
        (
            *_names(record),
            name,
            count(score.pairs.pairs),
            f"{score.pairs.pair_accuracy:.4f}",
            f"{score.pairs.margin:.4f}",
            _kl(score.pairs),
            _number(None if score.bits_per_byte is None else score.loss),
            _number(score.pairs.calibration_error),
        )
        for record in records
        for name, score in sorted(record.heldout.items())
        if score.pairs is not None
    ]
    used = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    shown = [tuple(row[index] for index in used) for row in rows]
    return table("Held-out pairs", [columns[index] for index in used], shown, text_columns=4)


def _divergence(records: Sequence[RunRecord]) -> Table:
    """How far runs of preference optimization are from their start on conversations."""
    rows = [
        (*_names(record), name, count(score.documents), _kl(score), f"{score.loss:.4f}")
        for record in records
        for name, score in sorted(record.heldout.items())
        if score.kl is not None
    ]
    columns = (*NAMES, "source", "answers", "KL", "nats per token")
    return table("Held-out conversations: KL from the starting checkpoint", columns, rows, text_columns=4)


def _attributes(records: Sequence[RunRecord]) -> Table:
    columns = (*NAMES, "attribute", "answers", "squared error", "absolute error", "rank correlation", "slope")
    rows = [
        (
            *_names(record),
            f"{name}: {attribute}",
            count(one.answers),
            f"{one.mean_squared_error:.4f}",
            f"{one.mean_absolute_error:.4f}",
            _number(one.rank_correlation),
            _number(one.calibration_slope),
        )
        for record in records
        for name, score in sorted(record.heldout.items())
        for attribute, one in sorted((score.attributes or {}).items())
    ]
    return table("Held-out ratings", columns, rows, text_columns=4)


def _names(record: RunRecord) -> tuple[str, str, str]:
    return record.mixture, record.proxy, str(record.seed)


def _kl(score: HeldoutScore | PairScore) -> str:
    """The divergence from the start, with its interval over prompts."""
    if score.kl is None or score.kl_interval is None:
        return _number(score.kl)
    return f"{score.kl:.4f} ({score.kl_interval[0]:.4f} to {score.kl_interval[1]:.4f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
