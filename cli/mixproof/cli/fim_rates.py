"""Fill-in-the-middle by source: the declared rates of a plan, and the true ones of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from rich.table import Table

from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.spec import Spec
from mixproof.train.record import RunRecord

from .output import count, percent, table


def declared_fim(spec: Spec, budgets: Iterable[RunBudget]) -> Iterator[str]:
    """Yield a line for each source with fill-in-the-middle that a run reads."""
    for name in sorted({name for budget in budgets for name in budget.samples_of}):
        if (fim := spec.fim_of(name)) is not None:
            rates = (
                f"{percent(float(fim.rate))} of its {fim.unit}s, {percent(float(fim.spm_rate))} of them suffix first"
            )
            yield f"fill-in-the-middle of {name}: {rates} (declared; `train` reports the true rates)"


def declared_fim_json(spec: Spec, budget: RunBudget) -> dict[str, object]:
    """The key `fim` of a planned run, by source; empty if no source of the run has any."""
    found = {}
    for name in budget.samples_of:
        if (fim := spec.fim_of(name)) is not None:
            found[name] = {"unit": fim.unit, "rate": float(fim.rate), "spm_rate": float(fim.spm_rate)}
    return {"fim": found} if found else {}


def fim_table(records: Sequence[RunRecord]) -> Table | None:
    """Declared and delivered rates by mixture, proxy and source; None if no run has any."""
    columns = ("mixture", "proxy", "source", "unit", "read", "rate", "true rate", "SPM", "true SPM", "of tokens")
    rows: list[tuple[str, ...]] = []
    for record in records:
        for name, fim in (record.fim or {}).items():
            read = record.delivered[name].fim
            if read is None:
                continue
            spm = read.spm_documents / max(read.psm_documents + read.spm_documents, 1)
            tokens = (read.psm_tokens + read.spm_tokens) / max(record.delivered[name].tokens, 1)
            shares = (float(Fraction(fim.rate)), read.rate, float(Fraction(fim.spm_rate)), spm, tokens)
            names = (record.mixture, record.proxy, name, fim.unit)
            rows.append((*names, count(read.documents), *map(percent, shares)))
    return table("Fill-in-the-middle", columns, rows, text_columns=4) if rows else None
