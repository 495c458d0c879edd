"""The verdict in one sentence, and a few numbers that summarize the experiment."""

from __future__ import annotations

from collections.abc import Sequence

from mixproof.tokenize.page.environment import duration
from mixproof.tokenize.page.table import Fact, amount, words
from mixproof.train.compare.comparison import Comparison
from mixproof.train.compare.facts import MAY_DIFFER, Axis
from mixproof.train.compare.ranking import Ranking

from .evidence import Evidence, SearchEvidence
from .ranking_tables import differing
from .run_times import finished_on, rank_seconds


def headline(comparison: Comparison, search: SearchEvidence | None = None) -> str:
    """The verdict in one sentence; that of the search where no declared mixtures can be compared."""
    rankings = [ranking for group in comparison.groups for ranking in group.rankings.values() if ranking.lead]
    if not comparison.comparable or not rankings:
        return "Nothing can be compared" if search is None else search.headline
    if len(rankings) == 1:
        return _alone(rankings[0])
    proxies = words(list(dict.fromkeys(ranking.proxy for ranking in rankings)))
    winners = {ranking.winner for ranking in rankings}
    if winners == {None}:
        return f"No winner on {proxies}"
    if len(winners) == 1:
        return f"{rankings[0].winner} wins on {proxies}"
    won = [
        f"{ranking.winner} wins on {ranking.proxy}" if ranking.winner else f"no winner on {ranking.proxy}"
        for ranking in rankings
    ]
    return words(list(dict.fromkeys(won)))


def _alone(ranking: Ranking) -> str:
    lead = ranking.lead
    assert lead is not None
    if lead.interval is None:
        difference = f"{lead.difference:.4f} {ranking.unit}"
        return f"No winner: {lead.best} leads {lead.second} by {difference}, with one seed per mixture"
    by = f"{lead.difference:.4f} ± {lead.interval.total:.4f} {ranking.unit}"
    if lead.unsure:
        return f"No winner: {lead.best} leads {lead.second} by {by}"
    if len(ranking.rows) == 2:
        return f"{lead.best} beats {lead.second} by {by}"
    return f"{lead.best} is the best of {len(ranking.rows)} mixtures, {by} ahead of {lead.second}"


def across_sentence(evidence: Evidence, across: Axis) -> str:
    """What an axis allows to differ, and what does differ."""
    names = words([name.rstrip(".").replace("_", " ") for name in MAY_DIFFER[across]])
    found = differing(evidence.rankings)
    values = "; ".join(f"{name} ({', '.join(values)})" for name, values in found.items())
    differs = f"Values that differ: {values}." if found else "No value differs between mixtures ranked together."
    names = f"{names[0].upper()}{names[1:]}"
    return f"{names} may differ between the ranked runs. {differs}"


def glance(evidence: Evidence) -> list[Fact]:
    """Summarize the experiment in numbers."""
    counted = [run for ranking in evidence.rankings for row in ranking.rows for run in row.runs]
    mixtures = {row.mixture for ranking in evidence.rankings for row in ranking.rows}
    spent = sum(run.record.consumed_tokens for run in evidence.runs if run.record.key in set(counted))
    held = sum(source.heldout.documents for build in evidence.builds[:1] for source in build.manifest.sources.values())
    totals = [build.manifest.totals for build in evidence.builds]
    return [
        Fact(str(len(mixtures)), "mixture ranked" if len(mixtures) == 1 else "mixtures ranked"),
        Fact(str(len(counted)), _plural(len(counted), "run counted", "runs counted")),
        Fact(amount(spent), "tokens trained on"),
        Fact(
            _most([total.tokens for total in totals]), "tokens in the build" if len(totals) == 1 else "tokens per build"
        ),
        Fact(f"{held:,}", "held-out documents"),
        Fact(str(_not_counted(evidence)), _plural(_not_counted(evidence), "run not counted", "runs not counted")),
        Fact(duration(rank_seconds(evidence.runs)), "training time, over all runs"),
        Fact(finished_on(evidence), "finished"),
    ]


def _not_counted(evidence: Evidence) -> int:
    return len(evidence.comparison.failed) + len(evidence.missing)


def _plural(number: int, one: str, many: str) -> str:
    return one if number == 1 else many


def _most(values: Sequence[int]) -> str:
    return amount(max(values)) if values else "0"
