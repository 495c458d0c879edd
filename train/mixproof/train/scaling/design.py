"""Whether a set of runs identifies the five constants of a scaling law; checked before fitting.

A power term in the parameters has a floor, a scale and an exponent. Two sizes cannot identify these three, whatever
the losses are; the same holds for tokens. Sizes within 10% of each other count as one, because rounding to whole steps
or a different vocabulary causes such differences. And if tokens are a fixed multiple of parameters in all runs (20 per
parameter, for example), a law cannot attribute the loss to one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ENOUGH = 3
"""Different sizes, and different token counts, that a law needs."""
SAME = 1.1
"""Largest ratio of two numbers that count as equal."""
LEAST_RANGE = 2.0
"""Minimum ratio of the largest to the smallest."""
FEWEST_RUNS = 6
"""One more than the number of constants."""
TYPICAL_EXPONENT = 0.35
LARGEST_CONDITION = 1e4
"""Maximum condition number of the Jacobian by the constants, with unit columns: 60 for 4 x 4 runs over factors of 17
and 32, 880 for 3 x 3 over factors of 2; 10^16 for a fixed number of tokens per parameter, 800 if it varies by 10%."""


def why_no_law(parameters: Sequence[float], tokens: Sequence[float]) -> str | None:
    """Why runs with these parameters and (effective) tokens do not identify a law; None if they may."""
    if not parameters:
        return "a scaling law needs runs; there are none"
    for values, unit in ((parameters, "model size"), (tokens, "token count")):
        if reason := _too_few_values(values, unit):
            return reason
    points = len({(_bin(n, parameters), _bin(d, tokens)) for n, d in zip(parameters, tokens, strict=True)})
    if points < FEWEST_RUNS:
        return (
            f"a scaling law has 5 constants, so it needs runs at {FEWEST_RUNS} or more combinations of model size and "
            f"token count; these runs have {points}"
        )
    if condition(parameters, tokens) > LARGEST_CONDITION:
        return (
            "parameters and tokens grow together in these runs, so a law cannot tell which of the two lowered the "
            "loss; add runs of one size with different token counts"
        )
    return None


def _too_few_values(values: Sequence[float], unit: str) -> str | None:
    found, factor = count_different(values), max(values) / min(values)
    if found < ENOUGH:
        return (
            f"a scaling law needs runs at {ENOUGH} or more different {unit}s, because it has a floor, a scale and an "
            f"exponent to fit; these runs have {found}"
        )
    if factor < LEAST_RANGE:
        return (
            f"the {unit}s of these runs differ by a factor of {factor:.2f} at most, which is too little to fit an "
            f"exponent; at least {LEAST_RANGE:g} is needed"
        )
    return None


def count_different(values: Sequence[float]) -> int:
    """Count values that differ by more than 10%, starting from the smallest."""
    return len({_bin(value, values) for value in values})


def condition(parameters: Sequence[float], tokens: Sequence[float]) -> float:
    """The condition number of the law's Jacobian by its constants: how well these runs identify them."""
    by_parameters, by_tokens = _columns(parameters), _columns(tokens)
    columns = np.column_stack([np.ones(len(parameters)), by_parameters, by_tokens])
    return float(np.linalg.cond(columns / np.linalg.norm(columns, axis=0)))


def _columns(values: Sequence[float]) -> NDArray[np.float64]:
    """[runs, 2] derivatives of a power term by its scale and its exponent, centred."""
    logs = np.log(np.asarray(values, np.float64))
    centred = logs - logs.mean()
    power = np.exp(-TYPICAL_EXPONENT * centred)
    return np.column_stack([power, centred * power])


def _bin(value: float, values: Sequence[float]) -> float:
    """Return the smallest of the values that are grouped with `value` as one size."""
    first = -1.0
    for candidate in sorted(values):
        if first < 0 or candidate > first * SAME:
            first = candidate
        if candidate >= value:
            return first
    raise AssertionError(f"{value} is none of the values")
