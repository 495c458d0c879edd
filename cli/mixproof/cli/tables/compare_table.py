"""`mixproof compare --table`: rank the mixtures of runs from elsewhere, size by size, and state what is not checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from rich.markup import escape

from mixproof.cli.output import amount, emit_json, stdout, table
from mixproof.ledger.errors import RequestError
from mixproof.train.compare.reported_comparison import ReportedComparison, Size, compare_reported
from mixproof.train.reported.runs_table import UNCHECKED, read_runs_table


def refuse_with_table(given: Mapping[str, object]) -> None:
    """Refuse options that concern audited runs.

    Raises:
        RequestError: naming the first such option that was given.
    """
    for name, value in given.items():
        if value:
            raise RequestError(f"{name} needs a SPEC; a table of runs has no store and no audit")


def compare_table(path: Path, objective: Sequence[str], higher_is_better: bool, as_json: bool) -> None:
    """Rank the runs of a table; exit code 1 when no two mixtures are comparable."""
    comparison = compare_reported(read_runs_table(path), objective, higher_is_better)
    if as_json:
        emit_json(comparison.to_json())
    else:
        _print(comparison)
    if not comparison.comparable:
        raise typer.Exit(1)


def _print(comparison: ReportedComparison) -> None:
    for ranking in comparison.rankings:
        rows = [
            (row.mixture, f"{row.mean:.4f}", "unknown" if row.half_width is None else f"{row.half_width:.4f}")
            for row in ranking.rows
        ]
        title = f"{ranking.size[0]:,} parameters, {ranking.size[1]:,} tokens: {comparison.objective}, best first"
        stdout.print(table(title, ("mixture", "objective", "± seeds"), rows))
        if found := ranking.noise.in_words([row.mixture for row in ranking.rows]):
            stdout.print(f"[yellow]note:[/] {escape(found)}", soft_wrap=True)
    if comparison.agreement:
        columns = ("parameters, tokens", "and", "mixtures", "Spearman", "95% interval", "Kendall")
        pairs = [
            (
                _size(pair.first),
                _size(pair.second),
                str(pair.mixtures),
                f"{pair.spearman:.2f}",
                "unknown" if pair.interval is None else f"{pair.interval[0]:.2f} to {pair.interval[1]:.2f}",
                f"{pair.kendall:.2f}",
            )
            for pair in comparison.agreement
        ]
        stdout.print(table("Rank agreement of sizes, over their common mixtures", columns, pairs, text_columns=2))
    for reason in comparison.reasons:
        stdout.print(f"[yellow]left out:[/] {escape(reason)}", soft_wrap=True)
    stdout.print(f"[bold]{escape(comparison.verdict)}[/]", soft_wrap=True)
    print_unchecked(comparison.table.path, len(comparison.table.runs))


def print_unchecked(path: Path, runs: int) -> None:
    """State what is not checked about a table of runs."""
    print_not_audited(f"{escape(str(path))}: {runs:,} runs")


def print_not_audited(what: str) -> None:
    """State that results come from elsewhere, and what is not checked about them."""
    stdout.print(f"{what} from elsewhere, not audited. Not checked:", soft_wrap=True)
    for sentence in UNCHECKED:
        stdout.print(f"  - {sentence}", soft_wrap=True)


def _size(size: Size) -> str:
    """Parameters and tokens in short: `412M, 8.23B`."""
    return ", ".join(amount(count).replace(" ", "").replace("G", "B") for count in size)
