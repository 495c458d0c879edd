"""The ranking section: one view per proxy and group, with figure, tables, and the uncertainty in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mixproof.tokenize.page.palette import Look
from mixproof.tokenize.page.table import Table
from mixproof.train.compare.comparison import Agreement, Group
from mixproof.train.compare.lead import Lead
from mixproof.train.compare.ranking import Ranking

from .evidence import Evidence
from .figure import Plot
from .ranking_plot import ranking_plot
from .ranking_tables import ranking_table, seeds_table, unranked_table


@dataclass(frozen=True)
class RankingView:
    """The ranking of one proxy on the page."""

    title: str
    verdict: str
    plot: Plot
    table: Table
    unranked: Table | None
    seeds: Table
    uncertainty: tuple[tuple[str, str], ...]
    """Names and values."""
    facts: tuple[tuple[str, str], ...]
    """Facts on which the runs agree."""


def ranking_views(evidence: Evidence, of: dict[str, Look]) -> list[RankingView]:
    """One view per proxy and group, in order; two groups of one proxy are distinguished by their tokens."""
    return [_view(evidence, *pair, of, number) for number, pair in enumerate(evidence.groups)]


def agreement_sentence(pair: Agreement) -> str:
    """The rank correlation of two proxies."""
    return (
        f"Rank correlation of {pair.proxies[0]} and {pair.proxies[1]} over their {pair.mixtures} common mixtures: "
        f"{pair.spearman:.2f} (Spearman), {pair.kendall:.2f} (Kendall). 1 is the same order, −1 the reverse."
    )


def title_of(evidence: Evidence, ranking: Ranking) -> str:
    """Proxy and tokens of a ranking."""
    tokens = sorted(
        {run.record.consumed_tokens for row in ranking.rows for key in row.runs if (run := evidence.run(key))}
    )
    spans = f"{tokens[0]:,}" if len(tokens) == 1 else f"{tokens[0]:,} to {tokens[-1]:,}" if tokens else ""
    return f"{ranking.proxy}, {spans} tokens per run" if spans else ranking.proxy


def _view(evidence: Evidence, group: Group, ranking: Ranking, of: dict[str, Look], number: int) -> RankingView:
    facts = []
    for name, value in group.facts.items():
        mine = value.get(ranking.proxy) if isinstance(value, dict) else value
        if mine is not None:
            facts.append((name, str(mine)))
    return RankingView(
        title=title_of(evidence, ranking),
        verdict=ranking.verdict,
        plot=ranking_plot(evidence, ranking, of, number),
        table=ranking_table(evidence, ranking, of, number),
        unranked=unranked_table(ranking, of, number),
        seeds=seeds_table(evidence, ranking, number),
        uncertainty=tuple(_uncertainty(ranking)),
        facts=tuple(facts),
    )


def _uncertainty(ranking: Ranking) -> list[tuple[str, str]]:
    lead, variance = ranking.lead, ranking.variance
    if lead is None:
        return []
    difference = ("Lead of the best over the second", f"{lead.difference:.4f} {ranking.unit}")
    if lead.interval is None:
        return [difference, ("Seeds", "one per mixture: the variation between seeds is unknown; run at least two")]
    comparisons = len(ranking.rows) - 1
    corrected = "" if comparisons == 1 else f", corrected for {comparisons} comparisons with the best (Bonferroni)"
    documents = lead.interval.documents
    deviation = f"{math.sqrt(variance.variance):.4f}, pooled, {variance.degrees_of_freedom} degrees of freedom"
    facts = [
        difference,
        (f"95% interval of the lead{corrected}", f"± {lead.interval.total:.4f}"),
        ("… from seeds alone", f"± {lead.interval.seeds:.4f}"),
        ("… from the choice of held-out documents alone", "unknown" if documents is None else f"± {documents:.4f}"),
        ("Standard deviation between seeds", deviation),
    ]
    if lead.detectable is not None:
        facts.append(("Minimum detectable difference (80% power)", f"{lead.detectable:.4f}"))
    return facts + _unsettled(lead)


def _unsettled(lead: Lead) -> list[tuple[str, str]]:
    if not lead.unsure:
        return []
    remedy = (
        "not more seeds alone: train on more tokens, or hold out more documents"
        if lead.seeds_to_settle is None
        else f"about {lead.seeds_to_settle} seeds per mixture"
    )
    return [("Not significantly better than", ", ".join(lead.unsure)), ("What would settle it", remedy)]
