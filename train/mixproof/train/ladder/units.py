"""Refuse sizes in different units: a run of `190` among runs of 190,000,000, or a target of 7B beside runs of `190`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mixproof.ledger.errors import RequestError

from .ladder import LadderRun, Target

LARGEST_STEP = 1000
"""Ratio of two neighbouring sizes of a ladder above which one of them has another unit."""
FARTHEST_TARGET = {"parameters": 10**5, "tokens": 10**7}
"""Ratio of the target to the largest run above which one of the two has another unit."""


def check_units(runs: Sequence[LadderRun], target: Target) -> None:
    """Refuse runs and a target whose sizes cannot be in one unit.

    Raises:
        RequestError: naming the two numbers.
    """
    for name, values, wanted in (
        ("parameters", sorted({run.parameters for run in runs}), target.parameters),
        ("tokens", sorted({run.tokens for run in runs}), target.tokens),
    ):
        for low, high in pairwise(values):
            if high > LARGEST_STEP * low:
                raise RequestError(
                    f"{name}: {low:,} and {high:,} are neighbouring sizes of this ladder, so one of them seems to have "
                    "another unit; write whole numbers or quantities such as 190M in all rows"
                )
        if wanted > FARTHEST_TARGET[name] * values[-1]:
            raise RequestError(
                f"--target {name}={wanted:,}: the largest run has {values[-1]:,}, so the runs seem to have another "
                "unit; write whole numbers or quantities such as 190M in all rows"
            )
