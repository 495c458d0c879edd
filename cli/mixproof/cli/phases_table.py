"""Tables of phases that have their own sequence length, rotary base or documents: as planned, and as delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from rich.table import Table
from rich.text import Text

from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.train.launch.long_documents import PhaseUse
from mixproof.train.record import RunRecord

from .output import Cell, count, percent, stdout, table

Pair = tuple[str, str]
HEAD = ("mixture × proxy", "steps", "samples × length", "rotary base")


def planned_phases(budgets: Mapping[Pair, RunBudget], uses: Sequence[PhaseUse], rope_base: int) -> list[Table]:
    """The phases of each run, then what each reads; empty if no phase differs in more than its shares."""
    available = {(use.mixture, use.proxy, use.phase, use.source): use for use in uses}
    phases: list[tuple[Cell, ...]] = []
    texts: list[tuple[Cell, ...]] = []
    for (mixture, proxy), budget in budgets.items():
        for number, phase in enumerate(budget.phases) if budget.has_own_phases else ():
            name = Text.assemble((mixture, "bold"), f" × {proxy}, phase {number + 1}")
            phases.append((name, *_settings(budget, phase, rope_base)))
            texts.append((name,))
            for source, samples in phase.samples_of.items():
                share = percent(float(Fraction((phase.declared or {})[source])))
                numbers = (share, count(samples), count(samples * budget.length_of(phase)))
                of_source = _available(available.get((mixture, proxy, number, source)))
                texts.append((f"  {_named(phase, source)}", *numbers, *of_source))
    columns = (
        "mixture × proxy, source",
        "declared",
        "samples",
        "planned tokens",
        "documents",
        "their tokens",
        "epochs",
    )
    widest = max((len(row) for row in texts), default=0)
    filled = [(*row, *[""] * (widest - len(row))) for row in texts]
    if not phases:
        return []
    return [table("Phases", HEAD, phases), table("Text of the phases", columns[:widest], filled)]


def planned_phases_json(budget: RunBudget, pair: Pair, uses: Sequence[PhaseUse], rope_base: int) -> dict[str, object]:
    """The key `phases` of a planned run; empty if no phase differs in more than its shares."""
    if not budget.has_own_phases:
        return {}
    available = {(use.phase, use.source): use for use in uses if (use.mixture, use.proxy) == pair}
    phases = []
    for number, phase in enumerate(budget.phases):
        sources: dict[str, object] = {}
        for source, samples in phase.samples_of.items():
            use = available.get((number, source))
            sources[source] = {
                "declared": float(Fraction((phase.declared or {})[source])),
                "samples": samples,
                "planned": samples * budget.length_of(phase),
                **({} if use is None else {"min_tokens": use.min_tokens, **vars(use.available)}),
                **({} if use is None else {"epochs": float(use.epochs), "other_epochs": float(use.other_epochs)}),
            }
        phases.append(
            {
                "first_step": phase.first_sample // budget.global_batch_size + 1,
                "steps": phase.samples // budget.global_batch_size,
                "sequence_length": budget.length_of(phase),
                "samples_per_step": budget.batch_at(phase.first_sample).windows,
                "rope_base": phase.rope_base or rope_base,
                "sources": sources,
            }
        )
    return {"phases": phases}


def print_held_out_length(sequence_length: int) -> None:
    """Say at which length runs with such phases are scored."""
    stdout.print(f"every run is scored on the held-out sets in windows of {sequence_length:,} tokens, so all compare")


def delivered_phases(records: Sequence[RunRecord]) -> Table | None:
    """Declared, planned and delivered tokens of every phase, by source; None if no run has such phases."""
    rows: list[tuple[Cell, ...]] = []
    for record in records:
        for number, (phase, account) in enumerate(zip(record.phases, record.phase_accounts or (), strict=False)):
            length = phase.sequence_length or record.sequence_length
            base = f"{phase.rope_base or record.rope_base:,}"
            rows.append(
                (
                    Text.assemble((record.mixture, "bold"), f" × {record.proxy}, phase {number + 1}"),
                    f"{length:,} at base {base}",
                )
            )
            for source, one in account.items():
                least = (phase.min_tokens or {}).get(source)
                bound = "" if least is None else f", documents of {least:,} or more"
                shared = "" if least is None else f"{count(one.also_drawn_tokens)} of {count(one.drawn_tokens)}"
                numbers = (percent(one.declared), count(one.planned), count(one.delivered), f"{one.epochs:.3f}")
                rows.append((f"  {source}{bound}", "", *numbers, count(one.available_tokens), shared))
    columns = ("phase and source", "length", "declared", "planned", "delivered", "epochs", "available", "drawn before")
    used = len(columns) if any(phase.min_tokens for record in records for phase in record.phases) else -1
    filled = [(*row, *[""] * (len(columns) - len(row))) for row in rows]
    shown = [row[:used] for row in filled]
    return table("Phases: declared = planned = delivered tokens", columns[:used], shown) if rows else None


def delivered_phases_json(record: RunRecord) -> dict[str, object]:
    """The key `phases` of a trained run; empty if no phase differs in more than its shares."""
    if record.phase_accounts is None:
        return {}
    return {
        "phases": [
            {
                "sequence_length": phase.sequence_length or record.sequence_length,
                "rope_base": phase.rope_base or record.rope_base,
                "min_tokens": phase.min_tokens or {},
                "sources": {source: one.model_dump() for source, one in account.items()},
            }
            for phase, account in zip(record.phases, record.phase_accounts, strict=True)
        ]
    }


def _settings(budget: RunBudget, phase: PhaseBudget, rope_base: int) -> tuple[str, str, str]:
    batch = budget.global_batch_size
    first, last = phase.first_sample // batch + 1, (phase.first_sample + phase.samples) // batch
    windows = budget.batch_at(phase.first_sample).windows
    samples = f"{windows:,} × {budget.length_of(phase):,}"
    return f"{first:,} to {last:,}", samples, f"{phase.rope_base or rope_base:,}"


def _named(phase: PhaseBudget, source: str) -> str:
    least = (phase.min_tokens or {}).get(source)
    return source if least is None else f"{source} ≥ {least:,}"


def _available(use: PhaseUse | None) -> tuple[str, ...]:
    if use is None:
        return ()
    return count(use.available.documents), count(use.available.tokens), f"{float(use.epochs):.3f}"
