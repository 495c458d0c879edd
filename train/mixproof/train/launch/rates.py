"""Learning rates that a sweep chooses: which runs try them, and which rate is the best.

    lr: {sweep: [1e-3, 2e-3, 4e-3]} ──> one family per rate: the anchor, one seed ──> records ──> the lowest objective

The families are ordinary runs, so the anchor's run at the chosen rate is also the spec's own run. Nothing else is
stored: the choice follows from the records, and every command derives it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction

from mixproof.ledger.errors import RequestError, TrainingError
from mixproof.mixtures.blocks.train import Proxy, RateSweep
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import exact_string
from mixproof.train.compare.compare import objective_weights
from mixproof.train.outcome import RunOutcome


@dataclass(frozen=True)
class ChosenRate:
    """The outcome of one proxy's sweep."""

    proxy: str
    anchor: str
    lr: str
    """The rate at which the anchor's objective is lowest."""
    objective_of: Mapping[str, Mapping[str, float | None]]
    """By mixture and rate; None: the run failed, for example because the loss became infinite."""

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof train --json` prints."""
        return {**asdict(self), "warnings": self.warnings}

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the chosen rate."""
        found = []
        rates = list(self.objective_of[self.anchor])
        if self.lr in (rates[0], rates[-1]):
            end = "lowest" if self.lr == rates[0] else "highest"
            found.append(f"proxy {self.proxy}: the best rate {self.lr} is the {end} of the sweep; try rates beyond it")
        for mixture, own in self.objective_of.items():
            best = _best(own)
            if best is not None and best != self.lr:
                found.append(
                    f"proxy {self.proxy}: {mixture} is best at the rate {best} ({own[best]:.4f}), and all mixtures are "
                    f"trained at {self.lr} ({_shown(own[self.lr])}), the best of {self.anchor}"
                )
        return found


def swept(spec: Spec) -> list[str]:
    """Names of the proxies whose rate a sweep chooses."""
    return [name for name, proxy in spec.train.proxies.items() if isinstance(proxy.lr, RateSweep)]


def sweep_families(spec: Spec, proxy: str) -> dict[str, Spec]:
    """By rate, lowest first: the runs that try it, which are the anchor and the checked mixtures with one seed."""
    recipe = spec.train.proxies[proxy]
    assert isinstance(recipe.lr, RateSweep)
    names = dict.fromkeys((_anchor(spec, recipe.lr), *recipe.lr.check))
    mixtures = {name: spec.mixtures[name] for name in names}
    families = {}
    for rate in sorted(recipe.lr.sweep):
        update = {"proxies": {proxy: _at(recipe, rate)}, "seeds": spec.train.seeds[:1]}
        train = spec.train.model_copy(update=update)
        families[exact_string(rate)] = spec.model_copy(update={"mixtures": mixtures, "train": train})
    return families


def sweep_sentences(spec: Spec) -> list[str]:
    """Say what each sweep trains before the other runs, for a plan."""
    found = []
    for proxy in swept(spec):
        families = sweep_families(spec, proxy)
        mixtures = ", ".join(next(iter(families.values())).mixtures)
        found.append(
            f"{proxy}: trains {mixtures} at {len(families)} learning rates first, and all runs at the best one"
        )
    return found


def choose_rate(spec: Spec, proxy: str, outcomes: Mapping[str, Sequence[RunOutcome]]) -> ChosenRate:
    """Choose the rate at which the anchor's objective is lowest.

    Args:
        spec: with the sweep.
        proxy: its proxy.
        outcomes: by rate, those of its family.

    Raises:
        RequestError: when a run of the sweep has not been trained.
        TrainingError: when the anchor failed at every rate.
    """
    recipe = spec.train.proxies[proxy]
    assert isinstance(recipe.lr, RateSweep)
    where = spec.where("train", "proxies", proxy, "lr")
    objective_of: dict[str, dict[str, float | None]] = {}
    for rate, runs in outcomes.items():
        for run in runs:
            if run.record is None:
                raise RequestError(
                    f"{where}: the sweep has not been trained at {rate} ({run.reason}); `mixproof train` trains it"
                )
            objective_of.setdefault(run.mixture, {})[rate] = _objective(spec, run)
    anchor = _anchor(spec, recipe.lr)
    best = _best(objective_of[anchor])
    if best is None:
        raise TrainingError(f"{where}: {anchor} failed at every rate of the sweep; try lower rates")
    return ChosenRate(proxy, anchor, best, objective_of)


def with_rates(spec: Spec, chosen: Sequence[ChosenRate]) -> Spec:
    """The spec with the chosen rates instead of the sweeps."""
    rates = {one.proxy: Fraction(one.lr) for one in chosen}
    proxies = {name: _at(proxy, rates[name]) if name in rates else proxy for name, proxy in spec.train.proxies.items()}
    return spec.model_copy(update={"train": spec.train.model_copy(update={"proxies": proxies})})


def _anchor(spec: Spec, sweep: RateSweep) -> str:
    return next(iter(spec.mixtures)) if sweep.anchor is None else sweep.anchor


def _at(proxy: Proxy, rate: Fraction) -> Proxy:
    return proxy.model_copy(update={"lr": rate})


def _objective(spec: Spec, run: RunOutcome) -> float | None:
    """The held-out part of the objective: tasks are scored only after training. None if the run failed."""
    if not run.done or run.record is None:
        return None
    heldout = run.record.heldout
    weights = objective_weights(spec.objective, sorted(heldout))
    weights = {name: weights[name] for name in weights if name in heldout} or dict.fromkeys(heldout, 1.0)
    return float(sum(weight * heldout[name].minimized for name, weight in weights.items()) / sum(weights.values()))


def _best(objective_at: Mapping[str, float | None]) -> str | None:
    done = {rate: value for rate, value in objective_at.items() if value is not None}
    return min(done, key=lambda rate: done[rate]) if done else None


def _shown(value: float | None) -> str:
    return "failed" if value is None else f"{value:.4f}"
