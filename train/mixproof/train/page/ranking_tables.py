"""The tables of a ranking: mixtures with their intervals, every run behind them, and mixtures without a rival."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mixproof.tokenize.page.palette import Look
from mixproof.tokenize.page.table import Cell, Column, Table, columns, count, decimal, proof
from mixproof.train.compare.ranked_score import RankedScore
from mixproof.train.compare.ranking import Ranking
from mixproof.train.compare.rows import Row

from .evidence import Evidence, RunEvidence

NOTHING = Cell("–", math.inf)


def ranking_table(evidence: Evidence, ranking: Ranking, of: dict[str, Look], number: int) -> Table:
    """One row per mixture: objective, interval, and the score of every held-out set."""
    sources = sorted({name for row in ranking.rows for name in row.scores})
    varying = sorted(differing([ranking]))
    lost = any(row.lost_bytes for row in ranking.rows)
    heads = (
        Column("rank", head=True),
        Column("mixture", number=False, head=True),
        *(Column(name) for name in ("objective", "± 95%", "± seeds", "± documents", *sources)),
        *(Column(name, number=False) for name in varying),
        *((Column("bytes lost to sources outside"),) if lost else ()),
    )
    rows = []
    for index, row in enumerate(ranking.rows):
        seeds = f"seeds-{number}-{index}"
        rows.append(
            (
                Cell(str(index + 1), index + 1),
                Cell(row.mixture, row.mixture, color=of[row.mixture].color),
                Cell(f"{row.mean:.4f}", row.mean, seeds),
                *_margins(row),
                *(_mean_of(evidence, row, name, seeds, ranking.score) for name in sources),
                *(Cell(str(row.varying.get(name, "–"))) for name in varying),
                *((count(row.lost_bytes or 0),) if lost else ()),
            )
        )
    caption = f"Ranking on {ranking.proxy}: objective, its interval, and {ranking.unit} of each held-out set"
    return Table(f"ranking-table-{number}", caption, heads, tuple(rows))


def unranked_table(ranking: Ranking, of: dict[str, Look], number: int) -> Table | None:
    """Bits per byte of the held-out sets that the ranking does not show, by mixture; None if it shows all."""
    sources = sorted({name for row in ranking.rows for name in row.unranked})
    if not sources:
        return None
    rows = [
        (
            Cell(row.mixture, color=of[row.mixture].color),
            *(
                Cell(f"{bits:.4f}", bits) if (bits := row.unranked.get(name)) is not None else NOTHING
                for name in sources
            ),
        )
        for row in ranking.rows
    ]
    caption = f"Bits per byte of held-out sets that do not enter the ranking on {ranking.proxy}"
    return Table(f"unranked-{number}", caption, columns("mixture", *sources), tuple(rows))


def seeds_table(evidence: Evidence, ranking: Ranking, number: int) -> Table:
    """One row per run: objective, the score of every held-out set, and throughput."""
    sources = sorted({name for row in ranking.rows for name in row.scores})
    rows, ids = [], []
    for index, row in enumerate(ranking.rows):
        for seed, key, value in zip(row.seeds, row.runs, row.by_seed, strict=True):
            rows.append(_run_row(evidence, row.mixture, seed, key, value, sources, ranking.score))
            ids.append(f"seeds-{number}-{index}" if seed == row.seeds[0] else None)
    heads = (
        Column("mixture", number=False, head=True),
        Column("seed"),
        Column("objective"),
        *(Column(name) for name in sources),
        Column("tokens/s"),
        Column("run", number=False),
    )
    return Table(f"seeds-{number}", f"Every run of the ranking, in {ranking.unit}", heads, tuple(rows), tuple(ids))


def alone_table(evidence: Evidence) -> Table:
    """Mixtures with nothing to be ranked against, and their scores."""
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
    return Table("alone-table", "Mixtures with nothing to be ranked against", heads, tuple(rows))


def differing(rankings: Sequence[Ranking]) -> dict[str, list[str]]:
    """Facts that the axis allows to differ and that do differ within a ranking, with their values."""
    found: dict[str, list[str]] = {}
    for ranking in rankings:
        for name in {name for row in ranking.rows for name in row.varying}:
            values = list(dict.fromkeys(str(row.varying.get(name, "none")) for row in ranking.rows))
            if len(values) > 1:
                found[name] = list(dict.fromkeys([*found.get(name, []), *values]))
    return dict(sorted(found.items()))


def _run_row(
    evidence: Evidence,
    mixture: str,
    seed: int,
    key: str,
    objective: float,
    sources: Sequence[str],
    score: RankedScore,
) -> tuple[Cell, ...]:
    run = evidence.run(key)
    scores = [Cell("") if run is None else _score(score, run, name) for name in sources]
    return (
        Cell(mixture, mixture),
        Cell(str(seed), seed, None if run is None else proof(run.anchor, "seed")),
        decimal(objective),
        *scores,
        _tokens_per_second(run),
        Cell(key[:12], key, None if run is None else run.anchor),
    )


def _mean_of(evidence: Evidence, row: Row, source: str, seeds: str, score: RankedScore) -> Cell:
    """The score of a held-out set, linked to the run if there is one, else to the table of its seeds."""
    value = row.scores.get(source)
    if value is None:
        return NOTHING
    run = evidence.run(row.runs[0]) if len(row.runs) == 1 else None
    return Cell(f"{value:.4f}", value, seeds) if run is None else _score(score, run, source)


def _score(score: RankedScore, run: RunEvidence, source: str) -> Cell:
    """A score of a run, linked to its value in the record; a value that is derived is linked to the run."""
    heldout = run.record.heldout.get(source)
    value = None if heldout is None else score.of(heldout)
    if heldout is None or value is None:
        return Cell("")
    path = score.path(heldout)
    return (
        Cell(f"{value:.4f}", value, run.anchor)
        if path is None
        else decimal(value, run.anchor, "heldout", source, *path)
    )


def _margins(row: Row) -> tuple[Cell, Cell, Cell]:
    if row.interval is None:
        return NOTHING, NOTHING, NOTHING
    documents = row.interval.documents
    return (
        decimal(row.interval.total),
        decimal(row.interval.seeds),
        NOTHING if documents is None else decimal(documents),
    )


def _tokens_per_second(run: RunEvidence | None) -> Cell:
    speed = None if run is None else run.circumstances.get("tokens_per_second")
    return Cell("–", -1) if speed is None else Cell(f"{speed:,.0f}", float(speed))
