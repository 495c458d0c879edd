"""The sizes of runs: parameters and tokens, and the terms that fall with them.

A term is (size / largest size)^-exponent, as in L = E + A / N^a + B / D^b (Hoffmann et al. 2022), so it is 1 at the
largest size that was run and falls towards 0 beyond it. Where tokens grow with parameters, as in a ladder with one
ratio, nothing separates the two terms, and there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.predictors.predictor import FloatArray

PARAMETERS, TOKENS = "parameters", "tokens"
SIZES = (PARAMETERS, TOKENS)
COLLINEAR = 0.99
"""Correlation of the logarithms above which parameters and tokens have one term."""


@dataclass(frozen=True)
class Sizes:
    """The size of every run."""

    names: tuple[str, ...]
    """`parameters`, `tokens` or both."""
    values: FloatArray
    """[rows, names]"""

    def of(self, rows: NDArray[np.int64]) -> Sizes:
        """The sizes of some rows."""
        return Sizes(self.names, self.values[rows])

    @property
    def distinct(self) -> FloatArray:
        """The sizes that were run [sizes, names], ascending."""
        return np.unique(self.values, axis=0)

    @property
    def terms(self) -> tuple[int, ...]:
        """Columns of `values` that have a term."""
        logs = np.log(self.distinct)
        varied = [column for column in range(len(self.names)) if np.ptp(logs[:, column]) > 0]
        if len(varied) == len(SIZES) and (len(logs) <= len(SIZES) or abs(np.corrcoef(logs.T)[0, 1]) > COLLINEAR):
            varied = varied[:1]
        return tuple(varied)

    @property
    def largest(self) -> FloatArray:
        """Logarithm of the largest size [terms]."""
        return np.asarray(np.log(self.values[:, list(self.terms)].max(axis=0)), np.float64)

    def target(self, given: Mapping[str, int]) -> FloatArray:
        """The size to predict [names].

        Raises:
            SpecError: when a number is missing, or has no column.
        """
        for name in given:
            if name not in self.names:
                raise SpecError(f"--target {name}: the mixtures that were run have no column {name!r}; remove it")
        missing = [name for name in self.names if name not in given]
        if missing:
            raise SpecError(f"--target: give {' and '.join(missing)} as well, which the mixtures that were run have")
        return np.array([float(given[name]) for name in self.names])


def check_sizes(sizes: Sizes) -> None:
    """Refuse runs of one size.

    Raises:
        SpecError: when no law of size can be fitted.
    """
    if not sizes.terms:
        size = zip(sizes.names, sizes.distinct[0].tolist(), strict=True)
        listed = ", ".join(f"{value:,.0f} {name}" for name, value in size)
        raise SpecError(f"all mixtures were run at one size ({listed}); --target needs runs of at least two sizes")
