"""The predictors that the search chooses from, by name, in order of simplicity."""

from __future__ import annotations

from .gaussian_process import fit_gaussian_process
from .linear import fit_linear
from .predictor import Fit
from .ridge import fit_ridge
from .trees import fit_trees, is_installed

LINEAR, RIDGE, TREES, PROCESS = "linear", "ridge", "lightgbm", "gaussian_process"


def families() -> dict[str, Fit]:
    """Return every predictor that can be fitted on this machine; LightGBM only where it is installed."""
    found: dict[str, Fit] = {LINEAR: fit_linear, RIDGE: fit_ridge, PROCESS: fit_gaussian_process}
    if is_installed():
        found[TREES] = fit_trees
    return found
