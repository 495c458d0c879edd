"""Which checkpoints of a run are declared by its spec, and which older ones to delete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixproof.train.request import RunRequest

from .trunk import trunks_of


def is_declared(request: RunRequest, samples: int) -> bool:
    """Whether the spec declares a checkpoint at `samples`: the end, the end of a trunk, or `checkpoint_every`."""
    budget = request.budget
    every = budget.checkpoint_steps
    if samples == budget.samples or samples in {trunk.samples for trunk in trunks_of(request)}:
        return True
    return every is not None and samples % (every * budget.global_batch_size) == 0


def superfluous(request: RunRequest, older: Sequence[Path]) -> list[Path]:
    """Select the checkpoints to delete: those that are not declared, and declared ones beyond `checkpoint_keep`.

    Args:
        request: the run.
        older: checkpoints before the newest one, oldest first.
    """
    keep = request.checkpoint_keep
    samples_of = {path: int(path.name.split("_")[1]) for path in older}
    declared = [path for path in older if is_declared(request, samples_of[path])]
    kept = declared if keep is None else declared[max(0, len(declared) - keep + 1) :]  # the newest one counts
    trunks = {trunk.samples for trunk in trunks_of(request)}
    return [path for path in older if path not in kept and samples_of[path] not in trunks]
