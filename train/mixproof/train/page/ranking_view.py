"""The ranking: mixtures with intervals, seed by seed, and how sure the order is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mixproof.train.compare.comparison import Agreement, Group
from mixproof.train.compare.lead import Lead
from mixproof.train.compare.ranking import Ranking, Row

from .evidence import Evidence, RunEvidence
from .figure import Figure, Plot, Trace, axis, label, layout, names_axis, scatter, short_names
from .palette import INK, MUTED, PAPER, Look
from .table import Cell, Column, Table, columns, count, decimal, proof

ROW_HEIGHT = 46


@dataclass(frozen=True)
class RankingView:
    """One proxy's ranking as the page shows it."""

    title: str
    verdict: str
    plot: Plot
    table: Table
    seeds: Table
    sureness: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    """What agreed between the runs."""


def ranking_views(evidence: Evidence, of: dict[str, Look]) -> list[RankingView]:
    """One view a proxy and group, in order; a budget of tokens tells two groups of a proxy apart."""
    return [_view(evidence, *pair, of, number) for number, pair in enumerate(evidence.groups)]


def alone_table(evidence: Evidence) -> Table:
    """Mixtures that nothing can be ranked against, with what they scored."""
    rows = []
    for ranking in evidence.alone:
        for row in ranking.rows:
            run = evidence.run(row.runs[0])
            tokens = 0 if run is None else run.record.consumed_tokens
            rows.append(
                (
                    Cell(row.mixture),
                    Cell(ranking.proxy),
                    count(tokens, run.anchor if run else None, "consumed_tokens"),
                    Cell(str(len(row.seeds)), len(row.seeds)),
                    Cell(f"{row.mean:.4f}", row.mean, run.anchor if run else None),
                )
            )
    heads = columns("mixture", "proxy", "tokens", "seeds", "objective", text=2)
    return Table("alone-table", "Runs that nothing can be ranked against", heads, tuple(rows))


def agreement_sentence(pair: Agreement) -> str:
    """How much two proxies agree."""
    return (
        f"{pair.proxies[0]} and {pair.proxies[1]} order their {pair.mixtures} common mixtures with a rank correlation "
        f"of {pair.spearman:.2f} (Spearman), {pair.kendall:.2f} (Kendall); 1 is the same order, −1 the reverse."
    )


def differing(rankings: Sequence[Ranking]) -> dict[str, list[str]]:
    """Facts that the axis lets differ and that do, inside a ranking, with their values."""
    found: dict[str, list[str]] = {}
    for ranking in rankings:
        for name in {name for row in ranking.rows for name in row.varying}:
            values = list(dict.fromkeys(str(row.varying.get(name, "none")) for row in ranking.rows))
            if len(values) > 1:
                found[name] = list(dict.fromkeys([*found.get(name, []), *values]))
    return dict(sorted(found.items()))


def title_of(evidence: Evidence, ranking: Ranking) -> str:
    """Proxy and tokens of a ranking."""
    tokens = sorted(
        {run.record.consumed_tokens for row in ranking.rows for key in row.runs if (run := evidence.run(key))}
    )
    spans = f"{tokens[0]:,}" if len(tokens) == 1 else f"{tokens[0]:,} to {tokens[-1]:,}" if tokens else ""
    return f"{ranking.proxy}, {spans} tokens a run" if spans else ranking.proxy


def _view(evidence: Evidence, group: Group, ranking: Ranking, of: dict[str, Look], number: int) -> RankingView:
    flat = {**group.facts}
    facts = []
    for name, value in flat.items():
        mine = value.get(ranking.proxy) if isinstance(value, dict) else value
        if mine is not None:
            facts.append((name, str(mine)))
    return RankingView(
        title=title_of(evidence, ranking),
        verdict=ranking.verdict,
        plot=Plot((_figure(evidence, ranking, of, number),)),
        table=_table(evidence, ranking, of, number),
        seeds=_seeds(evidence, ranking, number),
        sureness=tuple(_sureness(ranking)),
        facts=tuple(facts),
    )


def _figure(evidence: Evidence, ranking: Ranking, of: dict[str, Look], number: int) -> Figure:
    rows = list(reversed(ranking.rows))
    names = [label(row.mixture) for row in rows]
    dots = [(value, name) for name, row in zip(names, rows, strict=True) for value in row.by_seed]
    ticks = {"symbol": "line-ns-open", "size": 16, "color": INK, "line": {"width": 1.5}}
    means = {
        "size": 11,
        "color": [of[row.mixture].color for row in rows],
        "symbol": [of[row.mixture].symbol for row in rows],
        "line": {"width": 1.5, "color": PAPER},
    }
    traces = _intervals(rows, names)
    if len(ranking.seeds) > 1:
        hover = "%{x:.4f}<extra>one seed</extra>"
        x, y = [dot[0] for dot in dots], [dot[1] for dot in dots]
        traces.append(scatter("markers", "one seed", x, y, marker=ticks, hovertemplate=hover))
    hover = "%{y}: %{x:.4f}<extra></extra>"
    x = [row.mean for row in rows]
    traces.append(scatter("markers", "mean over seeds", x, names, marker=means, hovertemplate=hover))
    height = ROW_HEIGHT * len(rows)
    return Figure(
        f"ranking-{number}",
        f"Ranking of {len(rows)} mixtures on {ranking.proxy}, best first: "
        + "; ".join(f"{row.mixture} {row.mean:.4f}" for row in ranking.rows),
        _caption(evidence, ranking),
        traces,
        layout(110 + height, axis("bits per byte", range=_range(rows)), names_axis(names)),
        {**short_names([row.mixture for row in rows]), "xaxis.nticks": 5, "height": 150 + height},
    )


def _intervals(rows: list[Row], names: list[str]) -> list[Trace]:
    """A thin line for both components, a broad one for seeds alone; none where seeds say nothing."""
    traces = []
    for part, name, look, opacity in (
        ("total", "95% interval: seeds and documents", {"color": INK, "width": 3}, 1.0),
        ("seeds", "95% interval: seeds alone", {"color": MUTED, "width": 9}, 0.35),
    ):
        x: list[float | None] = []
        y: list[str | None] = []
        for place, row in zip(names, rows, strict=True):
            if row.interval is not None:
                half = row.interval.total if part == "total" else row.interval.seeds
                x += [row.mean - half, row.mean + half, None]
                y += [place, place, None]
        if x:
            traces.append(scatter("lines", name, x, y, line=look, opacity=opacity, hoverinfo="skip"))
    return traces


def _caption(evidence: Evidence, ranking: Ranking) -> str:
    objective = evidence.comparison.objective
    intervals = (
        "The thin line is the 95% interval of a mixture's own mean; the broad one is what seeds alone make of it."
        if ranking.variance.degrees_of_freedom
        else "One seed a mixture: nothing is known about how much seeds differ, so there are no intervals."
    )
    return f"{objective[0].upper()}{objective[1:]}; lower is better. {intervals}"


def _range(rows: list[Row]) -> list[float]:
    """From the lowest to the highest that is drawn, with a little room."""
    half = [row.interval.total if row.interval else 0.0 for row in rows]
    low = min(min(row.mean - width, *row.by_seed) for row, width in zip(rows, half, strict=True))
    high = max(max(row.mean + width, *row.by_seed) for row, width in zip(rows, half, strict=True))
    room = 0.04 * (high - low) or 0.01
    return [low - room, high + room]


def _table(evidence: Evidence, ranking: Ranking, of: dict[str, Look], number: int) -> Table:
    sources = sorted({name for row in ranking.rows for name in row.heldout})
    free = sorted(differing([ranking]))
    lost = any(row.lost_bytes for row in ranking.rows)
    heads = (
        Column("rank", head=True),
        Column("mixture", number=False, head=True),
        *(Column(name) for name in ("objective", "± 95%", "± seeds", "± documents", *sources)),
        *(Column(name, number=False) for name in free),
        *((Column("bytes lost to sources outside"),) if lost else ()),
    )
    rows = []
    for place, row in enumerate(ranking.rows):
        seeds = f"seeds-{number}-{place}"
        rows.append(
            (
                Cell(str(place + 1), place + 1),
                Cell(row.mixture, row.mixture, color=of[row.mixture].color),
                Cell(f"{row.mean:.4f}", row.mean, seeds),
                *_margins(row),
                *(_mean_of(evidence, row, name, seeds) for name in sources),
                *(Cell(str(row.varying.get(name, "–"))) for name in free),
                *((count(row.lost_bytes or 0),) if lost else ()),
            )
        )
    caption = f"Ranking on {ranking.proxy}: the objective, its interval, and the bits per byte of each held-out set"
    return Table(f"ranking-table-{number}", caption, heads, tuple(rows))


def _mean_of(evidence: Evidence, row: Row, source: str, seeds: str) -> Cell:
    """Bits per byte of a held-out set: stated by the run itself where there is one, else the mean of its seeds."""
    score = row.heldout.get(source)
    if score is None:
        return Cell("–", math.inf)
    value = score["bits_per_byte"]
    run = evidence.run(row.runs[0]) if len(row.runs) == 1 else None
    if run is None:
        return Cell(f"{value:.4f}", value, seeds)
    return decimal(value, run.anchor, "heldout", source, "bits_per_byte")


def _margins(row: Row) -> tuple[Cell, Cell, Cell]:
    nothing = Cell("–", math.inf)
    if row.interval is None:
        return nothing, nothing, nothing
    documents = row.interval.documents
    return (
        decimal(row.interval.total),
        decimal(row.interval.seeds),
        nothing if documents is None else decimal(documents),
    )


def _seeds(evidence: Evidence, ranking: Ranking, number: int) -> Table:
    sources = sorted({name for row in ranking.rows for name in row.heldout})
    rows, ids = [], []
    for place, row in enumerate(ranking.rows):
        for seed, key, value in zip(row.seeds, row.runs, row.by_seed, strict=True):
            run = evidence.run(key)
            cells = [
                Cell(row.mixture, row.mixture),
                Cell(str(seed), seed, None if run is None else proof(run.anchor, "seed")),
                decimal(value),
            ]
            for name in sources:
                score = None if run is None else run.record.heldout.get(name)
                cells.append(
                    Cell("")
                    if run is None or score is None
                    else decimal(score.bits_per_byte, run.anchor, "heldout", name, "bits_per_byte")
                )
            cells.append(_training_seconds(run))
            cells.append(Cell(key[:12], key, None if run is None else run.anchor))
            rows.append(tuple(cells))
            ids.append(f"seeds-{number}-{place}" if seed == row.seeds[0] else None)
    heads = (
        Column("mixture", number=False, head=True),
        Column("seed"),
        Column("objective"),
        *(Column(name) for name in sources),
        Column("tokens/s"),
        Column("run", number=False),
    )
    return Table(f"seeds-{number}", "Every run behind the ranking, in bits per byte", heads, tuple(rows), tuple(ids))


def _training_seconds(run: RunEvidence | None) -> Cell:
    speed = None if run is None else run.circumstances.get("tokens_per_second")
    return Cell("–", -1) if speed is None else Cell(f"{speed:,.0f}", float(speed))


def _sureness(ranking: Ranking) -> list[tuple[str, str]]:
    lead, variance = ranking.lead, ranking.variance
    if lead is None:
        return []
    ahead = ("Lead of the best over the second", f"{lead.difference:.4f} bits per byte")
    if lead.interval is None:
        return [ahead, ("Seeds", "one a mixture: nothing is known about how much seeds differ; run at least two")]
    comparisons = len(ranking.rows) - 1
    corrected = "" if comparisons == 1 else f", for all {comparisons} comparisons with the best together (Bonferroni)"
    documents = lead.interval.documents
    deviation = f"{math.sqrt(variance.variance):.4f}, pooled, {variance.degrees_of_freedom} degrees of freedom"
    facts = [
        ahead,
        (f"95% interval of the lead{corrected}", f"± {lead.interval.total:.4f}"),
        ("… from seeds alone", f"± {lead.interval.seeds:.4f}"),
        ("… from the choice of held-out documents alone", "not known" if documents is None else f"± {documents:.4f}"),
        ("Standard deviation between seeds", deviation),
    ]
    if lead.detectable is not None:
        facts.append(("Difference that would be found four times out of five", f"from {lead.detectable:.4f}"))
    return facts + _unsettled(lead)


def _unsettled(lead: Lead) -> list[tuple[str, str]]:
    if not lead.unsure:
        return []
    wanted = (
        "not more seeds alone: train on more tokens, or hold out more documents"
        if lead.seeds_to_settle is None
        else f"about {lead.seeds_to_settle} seeds a mixture"
    )
    return [("Not sure against", ", ".join(lead.unsure)), ("What would settle it", wanted)]
