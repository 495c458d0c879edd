"""What a search says: JSON for scripts, tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rich.markup import escape

from mixproof.mixtures.search.choose import Choice
from mixproof.mixtures.search.noise import Noise
from mixproof.mixtures.search.objective import FittedObjective
from mixproof.mixtures.search.optimum import Optimum
from mixproof.mixtures.search.rounds import Outcome
from mixproof.mixtures.search.space import UNITS, Space

from .output import count, percent, stdout, table

if TYPE_CHECKING:
    from mixproof.train.outcome import RunOutcome


@dataclass(frozen=True)
class Searched:
    """What a search of a spec gives."""

    build: str
    """SHA-256 of the build's manifest."""
    proxy: str
    space: Space
    outcome: Outcome
    runs: tuple[RunOutcome, ...]
    """Every run that was asked for, reused ones too."""
    written: Path | None
    """The spec with the mixture found; None where none is recommended."""


def choice_json(choice: Choice) -> dict[str, object]:
    """Give the JSON form of a chosen predictor: its name, and how each did in K-fold."""
    return {
        "predictor": choice.family,
        "rank_correlation": choice.validation.rank_correlation,
        "residual_deviation": choice.validation.residual_deviation,
        "kfold": {name: validation.rank_correlation for name, validation in choice.validations.items()},
    }


def objective_json(objective: FittedObjective) -> dict[str, object]:
    """Give the JSON form of the objective's predictor."""
    return {
        "weights": dict(zip(objective.choices, objective.predictor.weights.tolist(), strict=True)),
        "rank_correlation": objective.validation.rank_correlation,
        "residual_deviation": objective.validation.residual_deviation,
    }


def noise_json(noise: Noise) -> dict[str, object]:
    """Give the JSON form of spread and noise."""
    return asdict(noise)


def optimum_json(optimum: Optimum) -> dict[str, object]:
    """Give the JSON form of a mixture of lowest predicted score."""
    return {
        "mixture": {name: float(share) for name, share in optimum.shares.items()},
        "predicted": optimum.predicted,
        "interval": [optimum.low, optimum.high],
        "share_ranges": {name: list(ends) for name, ends in optimum.share_ranges.items()},
    }


def searched_json(searched: Searched) -> dict[str, object]:
    """Give the JSON form of a search."""
    outcome = searched.outcome
    gain = outcome.gain
    names = searched.space.sources
    return {
        "build": searched.build,
        "proxy": searched.proxy,
        "runs": len(searched.runs),
        "runs_reused": sum(run.reused for run in searched.runs),
        "failed": [
            {"mixture": run.mixture, "seed": run.seed, "run": run.location, "reason": run.reason}
            for run in searched.runs
            if not run.done
        ],
        "rounds": [asdict(done) for done in outcome.rounds],
        "measured": [
            {"mixture": _shares(names, one.trial.units), "seed": one.trial.seed, "score": one.score}
            for one in outcome.measured
        ],
        "objective": objective_json(outcome.objective),
        "predictors": {name: choice_json(choice) for name, choice in outcome.objective.choices.items()},
        "noise": noise_json(outcome.noise),
        "anchor": {"mixture": _shares(names, searched.space.anchor), "scores": list(outcome.anchor)},
        "recommended": outcome.reason is None,
        "refused": outcome.reason,
        "recommendation": None if outcome.optimum is None else optimum_json(outcome.optimum),
        "measured_optimum": list(outcome.confirmed),
        "gain": None if gain is None else asdict(gain),
        "spec": None if searched.written is None else str(searched.written),
    }


def print_choices(choices: Mapping[str, Choice]) -> None:
    """Write how every predictor did, by score."""
    names = list(next(iter(choices.values())).validations)
    rows = [
        (score, choice.family, *(f"{100 * choice.validations[name].rank_correlation:.2f}" for name in names))
        for score, choice in choices.items()
    ]
    columns = ("score", "chosen", *names)
    stdout.print(table("K-fold rank correlation (Spearman x 100)", columns, rows, text_columns=2))


def print_objective(objective: FittedObjective) -> None:
    """Write how well the objective is predicted."""
    validation, parts = objective.validation, len(objective.choices)
    stdout.print(
        f"objective, weighted mean of {parts}: {100 * validation.rank_correlation:.2f}; "
        f"predictions miss by {validation.residual_deviation:.4g}"
    )


def print_optimum(optimum: Optimum) -> None:
    """Write a mixture of lowest predicted score for a person."""
    columns = ("source", "share", "90% of refitted predictors")
    rows = [
        (name, percent(float(optimum.shares.get(name, 0))), f"{percent(low)} to {percent(high)}")
        for name, (low, high) in optimum.share_ranges.items()
    ]
    stdout.print(table("Mixture of the lowest predicted score", columns, rows))
    stdout.print(f"predicted {optimum.predicted:.4f}; a run of it: {optimum.low:.4f} to {optimum.high:.4f} at 95%")


def print_searched(searched: Searched) -> None:
    """Write a search for a person: its rounds, its predictor, the mixture, and what it measured."""
    outcome = searched.outcome
    rows = [
        (
            str(done.number),
            count(done.explored),
            count(done.exploited),
            "" if done.rank_correlation is None else f"{100 * done.rank_correlation:.1f}",
            f"{done.best:.4f}",
        )
        for done in outcome.rounds
    ]
    columns = ("round", "explored", "exploited", "K-fold Spearman x 100", "best measured")
    stdout.print(table(f"Search at proxy {searched.proxy}", columns, rows))
    print_choices(outcome.objective.choices)
    print_objective(outcome.objective)
    noise = outcome.noise
    kind = "repeats of the anchor" if noise.kind == "repeats" else "K-fold residuals"
    stdout.print(f"mixtures differ by {noise.spread:.4g}, {kind} by {noise.deviation:.4g} (standard deviations)")
    if outcome.optimum is not None:
        print_optimum(outcome.optimum)
    if outcome.confirmed:
        seeds = f"{len(outcome.confirmed)} seeds"
        anchor = f"; the anchor (proportional) {fmean(outcome.anchor):.4f}" if outcome.anchor else ""
        stdout.print(f"measured  {fmean(outcome.confirmed):.4f}, mean of {seeds}{anchor}")
    if outcome.gain is not None:
        gain = outcome.gain
        stdout.print(f"gain      {gain.mean:.4f}, between {gain.low:.4f} and {gain.high:.4f} at 95%")
    if outcome.reason is not None:
        stdout.print(f"[bold]no mixture is recommended:[/] {escape(outcome.reason)}", soft_wrap=True)
    else:
        stdout.print(f"spec      {searched.written}", soft_wrap=True)


def _shares(sources: tuple[str, ...], units: tuple[int, ...]) -> dict[str, float]:
    return {name: part / UNITS for name, part in zip(sources, units, strict=True) if part}
