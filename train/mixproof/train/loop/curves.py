"""The points that a step adds to the curves of a run, for both TensorBoard and Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .metrics import StepMetrics

if TYPE_CHECKING:  # its module loads torch
    from .throughput import Throughput


def points_of(metrics: StepMetrics, throughput: Throughput | None) -> dict[str, float]:
    """Return the points of a step by curve; speed and memory only with a line of `throughput.jsonl`."""
    points = {"loss/all": metrics.loss, "step/learning rate": metrics.lr, "step/gradient norm": metrics.grad_norm}
    points |= {f"loss/{source}": loss for source, loss in metrics.loss_of.items()}
    if throughput is not None:
        points["speed/tokens per second"] = throughput.tokens_per_second
        points["speed/memory bytes"] = float(throughput.memory_bytes)
        if throughput.mfu is not None:
            points["speed/MFU"] = throughput.mfu
    return points
