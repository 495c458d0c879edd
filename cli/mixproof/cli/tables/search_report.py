"""Results of a search: JSON for scripts, tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from mixproof.cli.output import count, percent, stdout, table
from mixproof.mixtures.search.choose import Choice
from mixproof.mixtures.search.noise import Noise
from mixproof.mixtures.search.objective import FittedObjective
from mixproof.mixtures.search.outcome import Outcome
from mixproof.mixtures.search.setup.candidate_runs import CandidateRuns, Trunk
from mixproof.mixtures.search.space import Space
from mixproof.train.page.evidence import SearchEvidence

from .choice_report import confirmed_json, print_confirmed
from .search_race import Raced, race_json, race_sentence

if TYPE_CHECKING:
    from mixproof.train.outcome import RunOutcome


@dataclass(frozen=True)
class Searched:
    """The result of a search over a spec's mixtures."""

    build: str
    """SHA-256 of the build's manifest."""
    proxy: str
    candidates: CandidateRuns
    outcome: Outcome
    runs: tuple[RunOutcome, ...]
    """Every run of the search, reused ones included."""
    written: Path | None
    """The spec with the recommended mixture; None when none is recommended."""
    race: Raced | None = None
    """None unless the candidates raced."""


def choice_json(choice: Choice) -> dict[str, object]:
    """The JSON form of a chosen predictor: its name, and the K-fold result of every candidate predictor."""
    return {
        "predictor": choice.family,
        "rank_correlation": choice.validation.rank_correlation,
        "residual_deviation": choice.validation.residual_deviation,
        "kfold": {name: validation.rank_correlation for name, validation in choice.validations.items()},
    }


def objective_json(objective: FittedObjective) -> dict[str, object]:
    """The JSON form of the objective's predictor."""
    return {
        "weights": dict(zip(objective.choices, objective.predictor.weights.tolist(), strict=True)),
        "rank_correlation": objective.validation.rank_correlation,
        "residual_deviation": objective.validation.residual_deviation,
    }


def noise_json(noise: Noise) -> dict[str, object]:
    """The JSON form of spread and noise."""
    return {
        "spread": noise.spread,
        "mixtures": noise.mixtures,
        "deviation": noise.deviation,
        "degrees_of_freedom": noise.degrees_of_freedom,
        "kind": noise.kind,
        "deviations": None if noise.deviations is None else list(noise.deviations),
    }


def noise_sentence(noise: Noise) -> str:
    """Spread and noise in words."""
    kind = "repeats of one mixture" if noise.kind == "repeats" else "K-fold residuals"
    found = f"standard deviation: {noise.spread:.4g} between mixtures, {noise.deviation:.4g} between {kind}"
    if noise.deviations is None:
        return found
    low, high = noise.deviations
    return f"{found} (both weighted by precision; from {low:.4g} to {high:.4g}, depending on the mixture)"


def searched_json(searched: Searched) -> dict[str, object]:
    """The JSON form of a search."""
    outcome = searched.outcome
    gain = outcome.gain
    space = searched.candidates.space
    return {
        "build": searched.build,
        "proxy": searched.proxy,
        **_phase_json(searched.candidates.trunk),
        "runs": len(searched.runs),
        "runs_reused": sum(run.reused for run in searched.runs),
        "failed": [
            {"mixture": run.mixture, "seed": run.seed, "run": run.location, "reason": run.reason}
            for run in searched.runs
            if not run.done
        ],
        "rounds": [{name: value for name, value in asdict(done).items() if name != "rungs"} for done in outcome.rounds],
        **({} if searched.race is None else {"race": race_json(outcome, searched.race, space)}),
        "measured": [
            {"mixture": _shares(space, one.trial.units), "seed": one.trial.seed, "score": one.score}
            for one in outcome.measured
        ],
        "objective": objective_json(outcome.objective),
        "predictors": {name: choice_json(choice) for name, choice in outcome.objective.choices.items()},
        "noise": noise_json(outcome.noise),
        "anchor": {"mixture": _shares(space, space.anchor), "scores": list(outcome.anchor)},
        "recommended": outcome.reason is None,
        "refused": outcome.reason,
        **confirmed_json(outcome),
        "measured_optimum": [] if outcome.optimum is None else list(outcome.optimum.scores),
        "gain": None if gain is None else asdict(gain),
        "rejected_parts": dict(outcome.rejected),
        "traded_away": [
            {"part": name, "difference": worse, "half_width": half} for name, (worse, half) in outcome.traded.items()
        ],
        "spec": None if searched.written is None else str(searched.written),
    }


def print_choices(choices: Mapping[str, Choice]) -> None:
    """Print how well each predictor did, by score."""
    names = list(next(iter(choices.values())).validations)
    rows = [
        (score, choice.family, *(f"{100 * choice.validations[name].rank_correlation:.2f}" for name in names))
        for score, choice in choices.items()
    ]
    columns = ("score", "chosen", *names)
    stdout.print(table("K-fold rank correlation (Spearman x 100)", columns, rows, text_columns=2))


def print_objective(objective: FittedObjective) -> None:
    """Print how well the objective is predicted."""
    validation, parts = objective.validation, len(objective.choices)
    stdout.print(
        f"objective (weighted mean of {parts}): rank correlation {100 * validation.rank_correlation:.2f}, "
        f"standard deviation of the prediction error {validation.residual_deviation:.4g}"
    )


def print_searched(searched: Searched) -> None:
    """Print a search: its rounds, its predictor, the mixture, and the measured scores."""
    outcome = searched.outcome
    rows: list[tuple[str, ...]] = [
        (
            str(done.number),
            count(done.explored),
            count(done.exploited),
            "" if done.rank_correlation is None else f"{100 * done.rank_correlation:.1f}",
            f"{done.best:.4f}",
        )
        for done in outcome.rounds
    ]
    columns: tuple[str, ...] = ("round", "explored", "exploited", "K-fold Spearman x 100", "best score")
    if searched.race is not None:
        columns = (*columns, "stopped")
        rows = [(*row, count(done.stopped)) for row, done in zip(rows, outcome.rounds, strict=True)]
    stdout.print(table(f"Search with proxy {searched.proxy}", columns, rows))
    if (trunk := searched.candidates.trunk) is not None:
        stdout.print(
            f"searched: the decay, from {percent(float(trunk.until))} of the tokens on; before it, all candidates have "
            f"the trunk {escape(trunk.mixture)}",
            soft_wrap=True,
        )
    if searched.race is not None:
        stdout.print(race_sentence(outcome, searched.race), soft_wrap=True)
    print_choices(outcome.objective.choices)
    print_objective(outcome.objective)
    stdout.print(noise_sentence(outcome.noise), soft_wrap=True)
    for reason in outcome.rejected.values():
        stdout.print(f"[yellow]left out:[/] {escape(reason)}", soft_wrap=True)
    if outcome.choice is not None:
        print_confirmed(outcome)
    if outcome.gain is not None:
        gain = outcome.gain
        stdout.print(
            f"gain of the best finalist over the anchor: {gain.mean:.4f}, "
            f"95% interval {gain.low:.4f} to {gain.high:.4f}"
        )
    if outcome.traded:
        trades = ", ".join(f"{name} ({worse:.4f} ±{half:.4f} worse)" for name, (worse, half) in outcome.traded.items())
        stdout.print(f"the best finalist trades away {escape(trades)}, compared with the anchor", soft_wrap=True)
    if outcome.reason is not None:
        stdout.print(f"[bold]no mixture recommended:[/] {escape(outcome.reason)}", soft_wrap=True)
    else:
        stdout.print(f"spec      {escape(str(searched.written))}", soft_wrap=True)


def search_evidence(searched: Searched) -> SearchEvidence:
    """What the page of a run says about its search."""
    outcome = searched.outcome
    best, gain = outcome.recommended, outcome.gain
    if best is None:
        return SearchEvidence("The search recommends no mixture", f"no mixture recommended: {outcome.reason}")
    mixture = _shares(searched.candidates.space, best.units)
    shares = ", ".join(f"{name} {percent(share)}" for name, share in mixture.items())
    recommended = f"recommended on {searched.proxy}: {shares}"
    if gain is None:  # one seed of each finalist
        return SearchEvidence("The search recommends a mixture", recommended)
    return SearchEvidence(
        f"The search found a mixture that is {gain.mean:.4f} better than the anchor",
        f"{recommended}; 95% interval of the difference {gain.low:.4f} to {gain.high:.4f}",
    )


def _shares(space: Space, units: tuple[int, ...]) -> dict[str, float]:
    return {name: float(share) for name, share in space.mixture(units).items()}


def _phase_json(trunk: Trunk | None) -> dict[str, object]:
    """The trunk of a search for the decay; empty for one over whole runs."""
    if trunk is None:
        return {}
    shares = {name: float(share) for name, share in trunk.shares.items()}
    return {"phase": "decay", "trunk": {"mixture": trunk.mixture, "until": float(trunk.until), "shares": shares}}
