"""Whether runs can tell the five constants of a scaling law apart: asked before anything is fitted.

A power of the parameters has a floor, a scale and an exponent: two sizes cannot tell these three apart, whatever the
losses are; so with tokens. Sizes that lie within a tenth of each other count as one, because rounding to whole steps or
another vocabulary makes such differences. And where tokens go with parameters in one fixed proportion (20 a
parameter), a law cannot say which of the two lowered the loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ENOUGH = 3
"""Different sizes, and different numbers of tokens, that a law takes."""
SAME = 1.1
"""Largest ratio of two numbers that count as one."""
LEAST_RANGE = 2.0
"""Smallest ratio of the largest to the smallest."""
FEWEST_RUNS = 6
"""One more than there are constants."""
TYPICAL_EXPONENT = 0.35
LARGEST_CONDITION = 1e4
"""Of the law's derivatives by its constants, with columns of length 1: 60 for 4 x 4 runs over factors of 17 and 32, 880
for 3 x 3 over factors of 2; 10^16 for a fixed number of tokens a parameter, 800 where that number varies by a tenth."""


def why_no_law(parameters: Sequence[float], tokens: Sequence[float]) -> str | None:
    """Say why runs at these parameters and (effective) tokens make no law; None where they may."""
    if not parameters:
        return "there is no law without runs"
    for values, things, one, two in (
        (parameters, "model sizes", "proxy", "proxies"),
        (tokens, "numbers of tokens", "number of tokens", "numbers of tokens"),
    ):
        found = count_different(values)
        if found < ENOUGH:
            return (
                f"{f'one {one} makes' if found == 1 else f'two {two} make'} no law: it takes runs at {ENOUGH} "
                f"different {things} at least, because a floor, a scale and an exponent are three unknowns"
            )
        if max(values) / min(values) < LEAST_RANGE:
            return (
                f"the {things} differ by a factor of {max(values) / min(values):.2f} in all, too little for an "
                f"exponent; it takes {LEAST_RANGE:g} at least"
            )
    points = len({(_bin(n, parameters), _bin(d, tokens)) for n, d in zip(parameters, tokens, strict=True)})
    if points < FEWEST_RUNS:
        return (
            f"runs at {points} combinations of size and tokens make no law: it has 5 constants, so it takes "
            f"{FEWEST_RUNS} different ones at least"
        )
    if condition(parameters, tokens) > LARGEST_CONDITION:
        return (
            "parameters and tokens grow together in these runs, so no law can say which of the two lowered the loss; "
            "add runs of one size at other numbers of tokens"
        )
    return None


def count_different(values: Sequence[float]) -> int:
    """Count numbers that differ by more than a tenth, from the smallest on."""
    return len({_bin(value, values) for value in values})


def condition(parameters: Sequence[float], tokens: Sequence[float]) -> float:
    """How hard it is to tell the constants apart: the condition number of the law's derivatives by them."""
    by_parameters, by_tokens = _columns(parameters), _columns(tokens)
    columns = np.column_stack([np.ones(len(parameters)), by_parameters, by_tokens])
    return float(np.linalg.cond(columns / np.linalg.norm(columns, axis=0)))


def _columns(values: Sequence[float]) -> NDArray[np.float64]:
    """[runs, 2] derivatives of a power term by its scale and its exponent, about its middle."""
    logs = np.log(np.asarray(values, np.float64))
    centred = logs - logs.mean()
    power = np.exp(-TYPICAL_EXPONENT * centred)
    return np.column_stack([power, centred * power])


def _bin(value: float, values: Sequence[float]) -> float:
    """The smallest of the numbers that count as one with `value`."""
    first = -1.0
    for candidate in sorted(values):
        if first < 0 or candidate > first * SAME:
            first = candidate
        if candidate >= value:
            return first
    raise AssertionError(f"{value} is none of the values")
