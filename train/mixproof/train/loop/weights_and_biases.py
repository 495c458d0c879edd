"""A run's curves for Weights & Biases, with `--wandb PROJECT`; TensorBoard always has the same curves.

A Weights & Biases run has the run's key as its id, so a resumed attempt continues the same curves. Points are plotted
against the step number, so repeated steps give the same points again. Only numbers, names and the recipe are sent: no
console output, no code, no paths. The wandb package decides where and whether they are sent (`wandb login`,
`WANDB_MODE=offline`, `WANDB_ENTITY`). Its files are in the run's folder `wandb/`, in no checksum and no key.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from mixproof.ledger.errors import RequestError

from .curves import points_of
from .metrics import StepMetrics

if TYPE_CHECKING:  # their modules load torch, and a command checks its options first
    from mixproof.train.request import RunRequest

    from .throughput import Throughput

STEP = "step/number"


def check_wandb(project: str | None) -> None:
    """Check, before any work, that Weights & Biases is available if `--wandb` is given.

    Raises:
        RequestError: when the package is not installed or nobody is logged in.
    """
    if project is None:
        return
    if importlib.util.find_spec("wandb") is None:
        raise RequestError(
            f"--wandb {project}: Weights & Biases is not installed; run: pip install 'mixproof[wandb]', or omit "
            "--wandb: TensorBoard has the same curves"
        )
    import wandb

    try:
        wandb.login(verify=False)  # prompts on a terminal; sends nothing
    except wandb.Error as error:
        raise RequestError(
            f"--wandb {project}: {error}; log in with `wandb login` or WANDB_API_KEY, or set WANDB_MODE=offline to "
            "keep the curves in the run's folder for a later `wandb sync`"
        ) from error


class WandbCurves:
    """Writes the curves of one attempt."""

    def __init__(self, request: RunRequest, folder: Path) -> None:
        """Start or resume the run of this key in the project of `request`; `folder` is the run's.

        Raises:
            RequestError: when the package is not installed on the worker, or cannot start the run.
        """
        check_wandb(request.wandb)
        import wandb

        try:
            self._run = wandb.init(
                project=request.wandb,
                id=request.key,
                name=request.name,
                group=request.spec_name,
                config=request.identity,
                dir=str(folder),
                resume="allow",
                settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
            )
        except wandb.Error as error:
            raise RequestError(
                f"--wandb {request.wandb}: {error}; set WANDB_MODE=offline to keep the curves in the run's folder, or "
                "omit --wandb: TensorBoard has the same curves"
            ) from error
        self._run.define_metric("*", step_metric=STEP)

    def add(self, metrics: StepMetrics, throughput: Throughput | None) -> None:
        """Add the points of a step."""
        self._run.log({STEP: metrics.step, **points_of(metrics, throughput)})

    def close(self) -> None:
        """Finish the Weights & Biases run."""
        self._run.finish()
