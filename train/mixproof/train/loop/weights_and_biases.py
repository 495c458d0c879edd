"""A run's curves in Weights & Biases, where `--wandb PROJECT` asks for them; TensorBoard has them always.

A run here is a run there, by its key: an attempt that goes on from a checkpoint goes on with the same curves, against
the number of the step, so that steps that are done again give the same points again. Only numbers, names and the
recipe are sent: no console, no code, no place. Where and whether they are sent is the package's own matter
(`wandb login`, `WANDB_MODE=offline`, `WANDB_ENTITY`); its files lie in the run's folder, `wandb/`, and are in no
checksum. Nothing of it is in a key.
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
    """Check, before any work, that what `--wandb` asks for can be had.

    Raises:
        RequestError: when the package is not installed, or does not know as whom it should send.
    """
    if project is None:
        return
    if importlib.util.find_spec("wandb") is None:
        raise RequestError(
            f"--wandb {project}: Weights & Biases is not installed; pip install 'mixproof[wandb]', or leave --wandb "
            "out: TensorBoard has the same curves"
        )
    import wandb

    try:
        wandb.login(verify=False)  # asks on a terminal; nothing is sent
    except wandb.Error as error:
        raise RequestError(
            f"--wandb {project}: {error}; `wandb login` or WANDB_API_KEY says as whom to send, and with "
            "WANDB_MODE=offline the curves stay in the run's folder for a later `wandb sync`"
        ) from error


class WandbCurves:
    """Writes the curves of one attempt."""

    def __init__(self, request: RunRequest, folder: Path) -> None:
        """Begin, or go on with, the run of this key in the project that `request` names; `folder` is the run's.

        Raises:
            RequestError: when the package is not installed where the run trains, or cannot begin.
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
                f"--wandb {request.wandb}: {error}; WANDB_MODE=offline keeps them in the run's folder, and without "
                "--wandb TensorBoard has them"
            ) from error
        self._run.define_metric("*", step_metric=STEP)

    def add(self, metrics: StepMetrics, throughput: Throughput | None) -> None:
        """Add a step's points, against its number."""
        self._run.log({STEP: metrics.step, **points_of(metrics, throughput)})

    def close(self) -> None:
        """Hand everything over."""
        self._run.finish()
