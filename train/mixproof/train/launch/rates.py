"""Learning rates that a sweep chooses: which runs try them, and which rate is the best.

    lr: {sweep: [1e-3, 2e-3, 4e-3]} ──> one family per rate: the anchor, first seeds ──> records, scores on the tasks of
                                        the objective ──> the best objective (`chosen_rate`)

The families are ordinary runs, so the anchor's run at the chosen rate is also the spec's own run. Nothing else is
stored: the choice follows from the records, and every command derives it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from mixproof.ledger.errors import RequestError, TrainingError
from mixproof.mixtures.blocks.train import Proxy, RateSweep
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import exact_string
from mixproof.train.compare.compare import objective_weights
from mixproof.train.compare.ranked_score import ranked_score
from mixproof.train.compare.task_scores import TaskScore, TaskScores
from mixproof.train.outcome import RunOutcome

from .chosen_rate import ChosenRate, TriedRates


def swept(spec: Spec) -> list[str]:
    """Names of the proxies whose rate a sweep chooses."""
    return [name for name, proxy in spec.train.proxies.items() if isinstance(proxy.lr, RateSweep)]


def sweep_families(spec: Spec, proxy: str) -> dict[str, Spec]:
    """By rate, lowest first: the runs that try it: the anchor and the checked mixtures, with the first seeds."""
    recipe = spec.train.proxies[proxy]
    assert isinstance(recipe.lr, RateSweep)
    names = dict.fromkeys((_anchor(spec, recipe.lr), *recipe.lr.check))
    mixtures = {name: spec.mixtures[name] for name in names}
    families = {}
    for rate in sorted(recipe.lr.sweep):
        update = {"proxies": {proxy: _at(recipe, rate)}, "seeds": spec.train.seeds[: recipe.lr.seeds]}
        train = spec.train.model_copy(update=update)
        families[exact_string(rate)] = spec.model_copy(update={"mixtures": mixtures, "train": train})
    return families


def sweep_sentences(spec: Spec) -> list[str]:
    """Say what each sweep trains before the other runs, for a plan."""
    found = []
    for proxy in swept(spec):
        families = sweep_families(spec, proxy)
        family = next(iter(families.values()))
        seeds = "" if len(family.train.seeds) == 1 else f" with {len(family.train.seeds)} seeds each"
        found.append(
            f"{proxy}: trains {', '.join(family.mixtures)} at {len(families)} learning rates first{seeds}, and all "
            "runs at the best one"
        )
    return found


def choose_rate(spec: Spec, proxy: str, outcomes: Mapping[str, Sequence[RunOutcome]], tasks: TaskScores) -> ChosenRate:
    """Choose the rate at which the anchor's objective is best.

    Args:
        spec: with the sweep.
        proxy: its proxy.
        outcomes: by rate, those of its family.
        tasks: scores of these runs on the tasks of the objective.

    Raises:
        RequestError: when a run of the sweep has not been trained, or not scored on a task of the objective.
        TrainingError: when the anchor failed at every rate.
    """
    recipe = spec.train.proxies[proxy]
    assert isinstance(recipe.lr, RateSweep)
    where = spec.where("train", "proxies", proxy, "lr")
    tried: dict[str, dict[str, list[float | None]]] = {}
    for rate, runs in outcomes.items():
        for run in runs:
            if run.record is None:
                raise RequestError(
                    f"{where}: the sweep has not been trained at {rate} ({run.reason}); `mixproof train` trains it"
                )
            value = _objective(spec, run, tasks.get(run.key, {}), f"{where}: the run of the sweep at {rate}")
            tried.setdefault(run.mixture, {}).setdefault(rate, []).append(value)
    anchor = _anchor(spec, recipe.lr)
    chosen = ChosenRate.of(proxy, anchor, {mixture: TriedRates(_complete(own)) for mixture, own in tried.items()})
    if chosen is None:
        raise TrainingError(f"{where}: {anchor} failed at every rate of the sweep; try lower rates")
    return chosen


def _complete(by_rate: Mapping[str, Sequence[float | None]]) -> dict[str, tuple[float, ...] | None]:
    """The objective of all seeds by rate; None where one of them failed, because such a rate is not safe."""
    found: dict[str, tuple[float, ...] | None] = {}
    for rate, values in by_rate.items():
        done = tuple(value for value in values if value is not None)
        found[rate] = done if len(done) == len(values) else None
    return found


def with_rates(spec: Spec, chosen: Sequence[ChosenRate]) -> Spec:
    """The spec with the chosen rates instead of the sweeps."""
    rates = {one.proxy: Fraction(one.lr) for one in chosen}
    proxies = {name: _at(proxy, rates[name]) if name in rates else proxy for name, proxy in spec.train.proxies.items()}
    return spec.model_copy(update={"train": spec.train.model_copy(update={"proxies": proxies})})


def _anchor(spec: Spec, sweep: RateSweep) -> str:
    return next(iter(spec.mixtures)) if sweep.anchor is None else sweep.anchor


def _at(proxy: Proxy, rate: Fraction) -> Proxy:
    return proxy.model_copy(update={"lr": rate})


def _objective(spec: Spec, run: RunOutcome, tasks: Mapping[str, TaskScore], where: str) -> float | None:
    """The objective of a run, negative where higher is better; None if the run failed."""
    if not run.done or run.record is None:
        return None
    score = ranked_score(spec.objective)
    found = {name: score.of(own) for name, own in run.record.heldout.items()}
    parts = {name: -value if score.higher_is_better else value for name, value in found.items() if value is not None}
    parts |= {name: own.value for name, own in tasks.items()}
    weights = objective_weights(spec.objective, sorted(run.record.heldout))
    missing = [name for name in weights if name not in parts]
    if missing:
        raise RequestError(f"{where} has no score for {missing[0]}; `mixproof train` scores it")
    return float(sum(weight * parts[name] for name, weight in weights.items()))
