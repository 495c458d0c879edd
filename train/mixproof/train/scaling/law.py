"""How loss falls with parameters and tokens: a law fitted to runs, with intervals, or the reason why there is none.

The form is Hoffmann et al.'s (2022, "Chinchilla"), L = E + A / N^a + B / D^b. D are effective tokens: where a run
repeats its text, the published estimate of what repetition is worth stands in for the tokens (`repetition.py`), so that
repeated and new tokens can enter one fit. Parameters are taken as they are. That holds up to about four epochs: on the
98 published runs of Muennighoff et al. (2023) that repeat no more, half of the losses lie within 0.4% of the law and it
explains 99% of their variance; on all 296, up to 9,000 epochs, where large models overfit, it explains 54%. So runs
above are left out, and counted.

The constants are fitted by a robust loss on log L (`scaling_fit.py`), and a fit is refused where the runs cannot tell
its constants apart (`scaling_design.py`). Intervals come from a bootstrap of the residuals over the same runs, as wide
to both sides as to the wider one, and widened by Student's t for the degrees of freedom that five constants leave. On
60 synthetic sets of 16 runs with 0.3% of noise they held the true constants and losses in 92% or 93% of cases, plain
percentiles in 76% to 89%. They say how sure the law is where the form holds. They do not say that it holds: how far
beyond the runs a prediction reaches stands beside it.

The caller chooses the runs: finished, with a clean audit, of one mixture, tokenizer and held-out set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixproof.mixtures.arithmetic.repetition import effective_tokens

from .design import why_no_law
from .fit import Points, bootstrap, fit, log_losses

CONSTANTS = ("E", "A", "B", "a", "b")
CONFIDENCE = 0.95
MOST_EPOCHS = 4.5
"""Above, effective tokens say too little; a cap of 4 epochs is met within rounding."""
REPLICATES = 200
LOGS = ("E", "A", "B")
"""Constants that are fitted by their logs."""


@dataclass(frozen=True)
class Observation:
    """One run."""

    parameters: float
    tokens: float
    """Trained on, repeats included."""
    unique_tokens: float
    """Different tokens among them, over all sources: where only one source repeats, the mean over all counts."""
    loss: float
    """Nats per token, or any other measure above zero that falls to a floor."""

    @property
    def effective_tokens(self) -> float:
        """What the tokens are worth in new ones."""
        unique = min(self.unique_tokens, self.tokens)
        return effective_tokens(unique, self.tokens / unique)

    @property
    def epochs(self) -> float:
        """Passes over the unique tokens, at least 1."""
        return max(1.0, self.tokens / self.unique_tokens)

    @property
    def usable(self) -> bool:
        """Whether every number is finite and above zero."""
        numbers = (self.parameters, self.tokens, self.unique_tokens, self.loss)
        return all(math.isfinite(number) and number > 0 for number in numbers)


@dataclass(frozen=True)
class NoLaw:
    """Why these runs make no law."""

    reason: str

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {"law": None, "reason": self.reason}


@dataclass(frozen=True)
class Prediction:
    """The law's loss at one place."""

    parameters: float
    tokens: float
    loss: float
    low: float
    """Lower end of the 95% interval of the law, not of a single run, which scatters around it."""
    high: float
    times_beyond: float
    """How far outside the runs: 1 inside, 10 where parameters or tokens are ten times the largest, or a tenth of the
    smallest, that was fitted."""


@dataclass(frozen=True)
class Law:
    """A fitted law."""

    constants: dict[str, float]
    """E, A, B, a, b."""
    intervals: dict[str, tuple[float, float]]
    """95% of each constant; they are not independent of each other."""
    observations: tuple[Observation, ...]
    residuals: tuple[float, ...]
    """log(loss) - log(predicted) of each observation: 0.01 is a loss 1% above the law."""
    left_out: tuple[Observation, ...]
    """Observations that repeat too often to enter."""
    replicates: NDArray[np.float64]
    """[replicates, 5] logs of E, A and B, then a and b, fitted to runs that might as well have been."""

    @property
    def repeated(self) -> int:
        """Fitted observations that repeat text, whose tokens enter as what they are worth."""
        return sum(seen.epochs > 1 for seen in self.observations)

    @property
    def scatter(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(np.square(self.residuals))))

    def predict(self, parameters: float, tokens: float) -> Prediction:
        """The loss of a model of `parameters` weights after `tokens` tokens that do not repeat, with its interval.

        Raises:
            ValueError: for a number that is not above zero.
        """
        if min(parameters, tokens) <= 0:
            raise ValueError(f"both must be above zero: {parameters}, {tokens}")
        place = Points(np.log([float(parameters)]), np.log([float(tokens)]))
        log_loss = float(log_losses(_logs(self.constants), place)[0])
        low, high = _interval(log_loss, log_losses(self.replicates, place)[:, 0], len(self.observations))
        beyond = max(
            _times_beyond(parameters, [seen.parameters for seen in self.observations]),
            _times_beyond(tokens, [seen.effective_tokens for seen in self.observations]),
        )
        loss, low, high = (math.exp(log) for log in (log_loss, low, high))
        return Prediction(float(parameters), float(tokens), loss, low, high, beyond)

    def to_json(self, at: Sequence[tuple[float, float]] = ()) -> dict[str, Any]:
        """The JSON form, with predictions for pairs of parameters and tokens."""
        return {
            "law": "E + A / parameters^a + B / effective_tokens^b",
            "constants": self.constants,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "confidence": CONFIDENCE,
            "scatter": self.scatter,
            "repeated": self.repeated,
            "most_epochs": max(seen.epochs for seen in self.observations),
            "left_out": [vars(seen) for seen in self.left_out],
            "observations": [
                {**vars(seen), "effective_tokens": seen.effective_tokens, "residual": residual}
                for seen, residual in zip(self.observations, self.residuals, strict=True)
            ],
            "predictions": [vars(self.predict(*place)) for place in at],
        }


def fit_law(observations: Sequence[Observation]) -> Law | NoLaw:
    """Fit the law to runs, or say why these runs make none.

    The same observations in the same order give the same law, interval by interval.
    """
    for number, seen in enumerate(observations):
        if not seen.usable:
            return NoLaw(f"observation {number} holds a number that is not above zero and finite: {vars(seen)}")
    fitted = tuple(seen for seen in observations if seen.epochs <= MOST_EPOCHS)
    effective = [seen.effective_tokens for seen in fitted]
    parameters = [float(seen.parameters) for seen in fitted]
    reason = why_no_law(parameters, effective)
    if reason is not None:
        left_out = len(observations) - len(fitted)
        return NoLaw(f"{reason} ({left_out} above {MOST_EPOCHS:g} epochs do not count)" if left_out else reason)
    points = Points(np.log(parameters), np.log(effective))
    measured = np.log([seen.loss for seen in fitted])
    best = fit(points, measured)
    residuals = measured - log_losses(best, points)
    replicates = bootstrap(points, best, residuals, REPLICATES)
    return Law(
        constants={name: math.exp(best[i]) if name in LOGS else float(best[i]) for i, name in enumerate(CONSTANTS)},
        intervals={
            name: _interval_of(name, best[i], replicates[:, i], len(measured)) for i, name in enumerate(CONSTANTS)
        },
        observations=fitted,
        residuals=tuple(map(float, residuals)),
        left_out=tuple(seen for seen in observations if seen.epochs > MOST_EPOCHS),
        replicates=replicates,
    )


def _interval_of(name: str, best: float, spread: NDArray[np.float64], runs: int) -> tuple[float, float]:
    """Of a constant: scales on their logs, the floor and the exponents as they are, and none below 0."""
    if name == "E":
        best, spread = math.exp(best), np.exp(spread)
    low, high = _interval(best, spread, runs)
    return (math.exp(low), math.exp(high)) if name in ("A", "B") else (max(low, 0.0), high)


def _interval(best: float, spread: NDArray[np.float64], runs: int) -> tuple[float, float]:
    """95% about `best`, alike to both sides."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.percentile(spread, [100 * tail, 100 * (1 - tail)]).tolist()
    widened = stats.t.ppf(1 - tail, runs - len(CONSTANTS)) / stats.norm.ppf(1 - tail)
    half = float(max(best - low, high - best) * widened)
    return float(best) - half, float(best) + half


def _logs(constants: dict[str, float]) -> NDArray[np.float64]:
    return np.array([math.log(constants[name]) if name in LOGS else constants[name] for name in CONSTANTS])


def _times_beyond(value: float, seen: Sequence[float]) -> float:
    return float(max(1.0, value / max(seen), min(seen) / value))
