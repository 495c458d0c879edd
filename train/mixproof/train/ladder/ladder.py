"""Predict the scores of a target run from a ladder of smaller runs of one mixture.

A loss is predicted from parameters and tokens by the scaling law (`scaling.law`), a task score from its loss by a
sigmoid (`task_law`), so that a target's task score is the sigmoid at the predicted loss.

An interval has three parts, combined as a root of squares. The first two are the uncertainty of the laws' constants (a
bootstrap of the scaling law, the delta method for the sigmoid) and the scatter of single runs. The third is a backtest:
the laws are fitted without the largest size and predict it; the error is scaled by how much farther the target is than
that size, in the logarithm of compute. The other parts assume that the form of the laws is right, the backtest does
not. Without a fourth size there is no backtest, and the prediction says so.

Whether a score can be predicted is decided from the ladder alone, before the target is known: it needs a trend, a law,
and a 95% interval within 10% of its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm, t

from mixproof.ledger.fingerprint import derive_seed
from mixproof.train.scaling.design import SAME, why_no_law
from mixproof.train.scaling.fit import Points, fit, log_losses
from mixproof.train.scaling.law import CONFIDENCE, MOST_EPOCHS, Law, NoLaw, Observation, fit_law

from .score_kinds import ceiling_of, choose_loss, kind_of
from .task_law import Vector, fit_task_law

WIDEST = 0.1
"""Half-width of the interval, relative to the value, up to which a score counts as predictable."""
LEAST_RUNS = 6


@dataclass(frozen=True)
class LadderRun:
    """One run of a ladder."""

    parameters: int
    tokens: int
    unique_tokens: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Target:
    """The run to predict."""

    parameters: int
    tokens: int


@dataclass(frozen=True)
class Forecast:
    """The prediction of one score; the fields are its JSON form."""

    value: float | None
    interval: tuple[float, float] | None
    """95% interval for the score of one run."""
    fit_error: float | None
    """Mean relative error of the laws on the ladder itself."""
    backtest_error: float | None
    """Root mean square relative error of predicting the largest size from the smaller ones; None without a fourth."""
    kind: str | None
    through: str | None
    """The loss through which a task score is predicted."""
    predictable: bool
    reason: str | None
    """Why the score cannot be predicted, or not well."""


def predict_scores(
    runs: Sequence[LadderRun], scores: Sequence[str], target: Target, chains: Mapping[str, str]
) -> dict[str, Forecast]:
    """Predict every score of a target.

    Args:
        runs: of one mixture.
        scores: names of the scores.
        target: the run to predict.
        chains: for task scores, the loss to predict them through, if it is not to be chosen.
    """
    kinds = {name: _kind(name, runs) for name in scores}
    losses = [name for name in scores if kinds[name] == "loss"]
    laws = {name: _LossLaw(name, runs, target) for name in losses}
    found = {}
    for name in scores:
        if kinds[name] == "loss":
            found[name] = laws[name].forecast()
        elif kinds[name] == "task":
            found[name] = _task_forecast(name, runs, laws, chains.get(name))
        else:
            found[name] = _without(kinds[name])
    return found


def _kind(name: str, runs: Sequence[LadderRun]) -> str:
    own = [run for run in runs if name in run.scores]
    if len(own) < LEAST_RUNS:
        return f"{len(own)} runs have this score; at least {LEAST_RUNS} are needed"
    compute = np.array([run.parameters * float(run.tokens) for run in own])
    return kind_of(np.array([run.scores[name] for run in own]), compute)


def _without(reason: str, kind: str | None = None, through: str | None = None) -> Forecast:
    return Forecast(None, None, None, None, kind, through, False, reason)


class _LossLaw:
    """The scaling law of one loss, its prediction at the target, and its backtest."""

    def __init__(self, name: str, runs: Sequence[LadderRun], target: Target) -> None:
        self.name, self.target = name, target
        self.runs = [run for run in runs if name in run.scores]
        seen = [Observation(run.parameters, run.tokens, run.unique_tokens, run.scores[name]) for run in self.runs]
        self.runs = [run for run, one in zip(self.runs, seen, strict=True) if one.epochs <= MOST_EPOCHS]
        self.law: Law | NoLaw = fit_law(seen)
        self._seen = [one for one in seen if one.epochs <= MOST_EPOCHS]

    def replicates(self, law: Law) -> Vector:
        """Bootstrapped losses of one run at the target, around the law's prediction."""
        predicted = law.predict(self.target.parameters, self.target.tokens).loss
        at = log_losses(law.replicates, _points([self.target.parameters], [self.target.tokens]))[:, 0]
        degrees = len(law.residuals) - len(law.constants)
        wider = float(t.ppf((1 + CONFIDENCE) / 2, degrees) / _normal())
        draws = np.random.default_rng(derive_seed("ladder", 0)).choice(law.residuals, len(at))
        inflated = draws * np.sqrt(len(law.residuals) / degrees)
        return np.asarray(np.exp(np.log(predicted) + wider * (at - np.median(at)) + inflated), np.float64)

    def backtest(self) -> tuple[list[LadderRun], Vector] | None:
        """Runs of the largest size, and their losses predicted from the smaller sizes; None if these make no law."""
        sizes = [one.parameters for one in self._seen]
        largest = [size * SAME >= max(sizes) for size in sizes]
        small = [one for one, large in zip(self._seen, largest, strict=True) if not large]
        parameters, tokens = [one.parameters for one in small], [one.effective_tokens for one in small]
        if why_no_law(parameters, tokens) is not None:
            return None
        constants = fit(_points(parameters, tokens), np.log([one.loss for one in small]))
        large_ones = [one for one, large in zip(self._seen, largest, strict=True) if large]
        points = _points([one.parameters for one in large_ones], [one.effective_tokens for one in large_ones])
        runs = [run for run, large in zip(self.runs, largest, strict=True) if large]
        return runs, np.asarray(np.exp(log_losses(constants, points)), np.float64)

    def forecast(self) -> Forecast:
        """The prediction of the loss itself."""
        if isinstance(self.law, NoLaw):
            return _without(self.law.reason, "loss")
        value = self.law.predict(self.target.parameters, self.target.tokens).loss
        fit_error = float(np.mean(np.abs(np.expm1(self.law.residuals))))
        backtest = self.backtest()
        errors = None
        if backtest is not None:
            measured = np.array([run.scores[self.name] for run in backtest[0]])
            errors = (backtest[1] - measured) / measured
        half = _half_width(value, self.replicates(self.law))
        forecast = _forecast(value, half, fit_error, errors, _farther(self.runs, self.target), "loss", None)
        return _downward(forecast, self.runs, self.target)


def _task_forecast(name: str, runs: Sequence[LadderRun], laws: Mapping[str, _LossLaw], chosen: str | None) -> Forecast:
    scored = [run for run in runs if name in run.scores]
    with_loss = {loss: [run for run in scored if loss in run.scores] for loss in laws}
    with_loss = {loss: own for loss, own in with_loss.items() if len(own) >= max(LEAST_RUNS, len(scored) / 2)}
    pairs = {
        loss: (np.array([run.scores[loss] for run in own]), np.array([run.scores[name] for run in own]))
        for loss, own in with_loss.items()
    }
    through = chosen if chosen is not None else choose_loss(name, pairs)
    if through is None or through not in with_loss:
        return _without("no loss in the table falls with compute in enough runs of this score", "task", through)
    own, (losses, scores) = with_loss[through], pairs[through]
    loss = laws[through]
    if isinstance(loss.law, NoLaw):
        return _without(f"{through}: {loss.law.reason}", "task", through)
    ceiling = ceiling_of(scores)
    sigmoid = fit_task_law(losses, scores, ceiling)
    at = loss.law.predict(loss.target.parameters, loss.target.tokens).loss
    fit_error = float(np.mean(np.abs(sigmoid.predict(losses) - scores) / np.maximum(scores, 1e-9)))
    value = float(sigmoid.predict(np.array([at]))[0])
    by_loss = _half_width(value, sigmoid.predict(loss.replicates(loss.law)))
    quantile = float(t.ppf((1 + CONFIDENCE) / 2, max(1, len(scores) - 3)))
    half = float(np.hypot(by_loss, quantile * sigmoid.deviation(losses, scores, at)))
    errors = _task_backtest(name, through, own, loss, ceiling)
    forecast = _forecast(value, half, fit_error, errors, _farther(own, loss.target), "task", through)
    return _downward(forecast, own, loss.target)


def _task_backtest(name: str, through: str, runs: Sequence[LadderRun], loss: _LossLaw, ceiling: float) -> Vector | None:
    """Relative errors of predicting the largest size's scores from the smaller sizes, loss and sigmoid chained."""
    backtest = loss.backtest()
    if backtest is None:
        return None
    large, predicted = backtest
    small = [run for run in runs if not any(run is other for other in large)]
    if len(small) < LEAST_RUNS:
        return None
    sigmoid = fit_task_law(
        np.array([run.scores[through] for run in small]), np.array([run.scores[name] for run in small]), ceiling
    )
    kept = [(run.scores[name], value) for run, value in zip(large, predicted, strict=True) if name in run.scores]
    if not kept:
        return None
    measured = np.array([score for score, _ in kept])
    errors = sigmoid.predict(np.array([value for _, value in kept])) - measured
    return np.asarray(errors / np.maximum(measured, 1e-9), np.float64)


def _half_width(value: float, replicates: Vector) -> float:
    """Distance from the value to the farther end of the replicates' 95% interval."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(replicates, [tail, 100 - tail])
    return max(value - float(low), float(high) - value)


def _forecast(
    value: float,
    half: float,
    fit_error: float,
    errors: Vector | None,
    farther: float,
    kind: str,
    through: str | None,
) -> Forecast:
    backtest = None if errors is None else float(np.sqrt(np.mean(errors**2)))
    if backtest is not None:
        half = float(np.hypot(half, _normal() * backtest * farther * abs(value)))
    predictable = half <= WIDEST * abs(value)
    reason = None
    if not predictable:
        reason = f"its 95% interval is ±{half / abs(value):.0%} of the value, more than {WIDEST:.0%}"
    elif backtest is None:
        reason = "not backtested: without the largest size the runs make no law, so the interval assumes its form"
    return Forecast(value, (value - half, value + half), fit_error, backtest, kind, through, predictable, reason)


def _downward(forecast: Forecast, runs: Sequence[LadderRun], target: Target) -> Forecast:
    """The forecast, not called predictable if the target is smaller than all runs, where nothing was backtested."""
    for name, wanted, least in (
        ("parameters", target.parameters, min(run.parameters for run in runs)),
        ("tokens", target.tokens, min(run.tokens for run in runs)),
    ):
        if wanted * SAME < least:
            reason = f"the target has fewer {name} than every run, and the backtest is about larger ones only"
            return replace(forecast, predictable=False, reason=reason)
    return forecast


def _farther(runs: Sequence[LadderRun], target: Target) -> float:
    """How many times as far the target is from the largest run as that is from the smaller sizes; at least 1."""
    compute = np.array([run.parameters * float(run.tokens) for run in runs])
    sizes = np.array([run.parameters for run in runs])
    small = compute[sizes * SAME < sizes.max()]
    if not len(small) or compute.max() <= small.max():
        return 1.0
    step = np.log(compute.max() / small.max())
    return float(max(1.0, np.log(target.parameters * float(target.tokens) / compute.max()) / step))


def _points(parameters: Sequence[float], tokens: Sequence[float]) -> Points:
    return Points(np.log(np.asarray(parameters, np.float64)), np.log(np.asarray(tokens, np.float64)))


def _normal() -> float:
    return float(norm.ppf((1 + CONFIDENCE) / 2))
