"""How loss falls with parameters and tokens: a law fitted to runs, with intervals, or the reason why there is none.

The form is L = E + A / N^a + B / D^b (Hoffmann et al. 2022, "Chinchilla"). D is the number of effective tokens: if a
run repeats its text, tokens are replaced by the published estimate of their value (`mixtures.arithmetic.repetition`),
so that repeated and new tokens can be fitted together. N is the number of parameters, unchanged. This holds up to about
four epochs: on the 98 published runs of Muennighoff et al. (2023) with no more than that, half of the losses are within
0.4% of the law and it explains 99% of their variance; on all 296 runs, up to 9,000 epochs, where large models overfit,
it explains 54%. Runs with more epochs are therefore left out, and counted.

The constants are fitted with a robust loss on log L (`fit`). A fit is refused if the runs do not identify the constants
(`design`). Intervals come from a residual bootstrap; they are made symmetric at their wider side, and widened by
Student's t for the degrees of freedom that remain after five constants. On 60 synthetic sets of 16 runs with 0.3% noise
they covered the true constants and losses in 92% to 93% of cases, plain percentiles in 76% to 89%. Intervals state the
uncertainty if the form is right; they do not prove the form. Each prediction states how far it extrapolates.

The caller chooses the runs: finished, with a clean audit, of one mixture, tokenizer and held-out set.
"""

from __future__ import annotations

import math
import sys
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
LARGEST_LOG = math.log(sys.float_info.max)
CONFIDENCE = 0.95
MOST_EPOCHS = 4.5
"""Beyond it the value of repeated tokens is not known well enough; 4 epochs plus room for rounding."""
REPLICATES = 200
LOGS = ("E", "A", "B")
"""Constants that are fitted as logs."""


@dataclass(frozen=True)
class Observation:
    """One run."""

    parameters: float
    tokens: float
    """Tokens trained on, repeats included."""
    unique_tokens: float
    """Different tokens among them, summed over all sources."""
    loss: float
    """Nats per token, or another positive measure that falls to a floor."""

    @property
    def effective_tokens(self) -> float:
        """The number of new tokens that would be worth as much."""
        unique = min(self.unique_tokens, self.tokens)
        return effective_tokens(unique, self.tokens / unique)

    @property
    def epochs(self) -> float:
        """Passes over the unique tokens, at least 1."""
        return max(1.0, self.tokens / self.unique_tokens)

    @property
    def usable(self) -> bool:
        """Whether every number is finite and positive."""
        numbers = (self.parameters, self.tokens, self.unique_tokens, self.loss)
        return all(math.isfinite(number) and number > 0 for number in numbers)


@dataclass(frozen=True)
class NoLaw:
    """The reason why a set of runs does not determine a law."""

    reason: str

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {"law": None, "reason": self.reason}


@dataclass(frozen=True)
class Prediction:
    """The law's loss for one model size and number of tokens."""

    parameters: float
    tokens: float
    loss: float
    low: float
    """Lower end of the 95% interval of the law itself; single runs scatter around it."""
    high: float
    times_beyond: float
    """Extrapolation factor: 1 inside the range of the runs; 10 if parameters or tokens are ten times the largest, or
    a tenth of the smallest, that was fitted."""


@dataclass(frozen=True)
class Law:
    """A fitted law."""

    constants: dict[str, float]
    """E, A, B, a, b."""
    intervals: dict[str, tuple[float, float]]
    """95% interval of each constant; the constants are correlated."""
    observations: tuple[Observation, ...]
    residuals: tuple[float, ...]
    """log(loss) - log(predicted) of each observation: 0.01 is a loss 1% above the law."""
    left_out: tuple[Observation, ...]
    """Observations with too many epochs to be fitted."""
    replicates: NDArray[np.float64]
    """[replicates, 5] bootstrap fits: logs of E, A and B, then a and b."""

    @property
    def repeated(self) -> int:
        """Number of fitted observations that repeat text, and enter with their effective tokens."""
        return sum(seen.epochs > 1 for seen in self.observations)

    @property
    def scatter(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(np.square(self.residuals))))

    def predict(self, parameters: float, tokens: float) -> Prediction:
        """The loss of a model of `parameters` weights after `tokens` tokens without repetition, with its interval.

        Raises:
            ValueError: when an argument is not positive.
        """
        if min(parameters, tokens) <= 0:
            raise ValueError(f"parameters and tokens must be positive: {parameters}, {tokens}")
        point = Points(np.log([float(parameters)]), np.log([float(tokens)]))
        log_loss = float(log_losses(_logs(self.constants), point)[0])
        low, high = _interval(log_loss, log_losses(self.replicates, point)[:, 0], len(self.observations))
        beyond = max(
            _times_beyond(parameters, [seen.parameters for seen in self.observations]),
            _times_beyond(tokens, [seen.effective_tokens for seen in self.observations]),
        )
        loss, low, high = (_bounded_exp(log) for log in (log_loss, low, high))
        return Prediction(float(parameters), float(tokens), loss, low, high, beyond)

    def to_json(self, at: Sequence[tuple[float, float]] = ()) -> dict[str, Any]:
        """The JSON form, with predictions at pairs of parameters and tokens."""
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
            "predictions": [vars(self.predict(*pair)) for pair in at],
        }


def fit_law(observations: Sequence[Observation]) -> Law | NoLaw:
    """Fit the law to runs, or return the reason why they do not determine one.

    The same observations in the same order give the same law and the same intervals.
    """
    for number, seen in enumerate(observations):
        if not seen.usable:
            return NoLaw(f"observation {number} has a value that is not positive and finite: {vars(seen)}")
    fitted = tuple(seen for seen in observations if seen.epochs <= MOST_EPOCHS)
    effective = [seen.effective_tokens for seen in fitted]
    parameters = [float(seen.parameters) for seen in fitted]
    reason = why_no_law(parameters, effective)
    if reason is not None:
        left_out = len(observations) - len(fitted)
        return NoLaw(f"{reason} ({left_out} runs above {MOST_EPOCHS:g} epochs left out)" if left_out else reason)
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
    """Interval of a constant: of its log for A and B, of the value itself for E, a and b, and never below 0."""
    if name == "E":
        best, spread = math.exp(best), np.exp(spread)
    low, high = _interval(best, spread, runs)
    return (_bounded_exp(low), _bounded_exp(high)) if name in ("A", "B") else (max(low, 0.0), high)


def _bounded_exp(log: float) -> float:
    """The exponential of `log`, at most the largest float: few runs leave bounds that no float holds."""
    return math.exp(min(log, LARGEST_LOG))


def _interval(best: float, spread: NDArray[np.float64], runs: int) -> tuple[float, float]:
    """A symmetric 95% interval around `best`."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.percentile(spread, [100 * tail, 100 * (1 - tail)]).tolist()
    widened = stats.t.ppf(1 - tail, runs - len(CONSTANTS)) / stats.norm.ppf(1 - tail)
    half = float(max(best - low, high - best) * widened)
    return float(best) - half, float(best) + half


def _logs(constants: dict[str, float]) -> NDArray[np.float64]:
    return np.array([math.log(constants[name]) if name in LOGS else constants[name] for name in CONSTANTS])


def _times_beyond(value: float, seen: Sequence[float]) -> float:
    return float(max(1.0, value / max(seen), min(seen) / value))
