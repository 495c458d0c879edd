"""The predictors from which the search chooses, by name, simplest first."""

from __future__ import annotations

from .bimix import fit_bimix
from .gaussian_process import fit_gaussian_process
from .linear import fit_linear
from .mixing_law import fit_mixing_law
from .predictor import Fit
from .ridge import fit_ridge
from .trees import fit_trees, is_installed

LINEAR, RIDGE, TREES, PROCESS = "linear", "ridge", "lightgbm", "gaussian_process"
BIMIX, MIXING_LAW = "bimix", "mixing_law"


def families() -> dict[str, Fit]:
    """Every predictor available on this machine; LightGBM only if it is installed."""
    found: dict[str, Fit] = {
        LINEAR: fit_linear,
        BIMIX: fit_bimix,
        MIXING_LAW: fit_mixing_law,
        RIDGE: fit_ridge,
        PROCESS: fit_gaussian_process,
    }
    if is_installed():
        found[TREES] = fit_trees
    return found
