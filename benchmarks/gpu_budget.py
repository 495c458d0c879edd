"""How long each part of `gpu.py` should take, by its FLOPs, and which parts fit into the minutes.

A part takes the seconds of its fixed work (a CUDA context, a model, compilation) and FLOPs over the device's peak times
the share of it that is assumed. The shares and fixed seconds are assumptions until the script has run on a GPU: a part
is given `PATIENCE` times its estimate before it is ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mixproof.train.proxies import PROXIES, flops_per_token

VOCAB_SIZE = 32_000
"""As in `proxies.py`, which imports torch."""
MFU = {"62m": 0.12, "350m": 0.2}
"""Assumed share of the peak, over all ways to train."""
UNKNOWN_PEAK = 1e14
START_SECONDS = 8.0
"""A CUDA context, and a model with weights from the CPU."""
LAYERS_SECONDS = 35.0
"""Six small functions compiled in two dtypes; later parts find them in the cache on disk."""
CACHED_SECONDS = 5.0
PEER_SECONDS = 75.0
"""LlamaForCausalLM compiled whole, forward and backward."""
RUN_START_SECONDS = 15.0
"""A process that imports, builds and warms up."""
WAYS, GRAPH_WAYS, RUNS = 6, 2, 4
PATIENCE, LEAST_PATIENCE_SECONDS = 2.5, 60.0


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    device: str = "cuda"
    length: int = 2048
    tokens: int = 16_384
    """Of a step."""
    rounds: int = 3
    steps: int = 8
    """Of each way in each round."""
    runs: int = RUNS
    run_seconds: float = 15.0
    shape: str | None = None
    """Proxy that is built for every size; None: the size itself."""

    def shape_of(self, size: str) -> str:
        """Name of the proxy that is built for a size of the claims."""
        return self.shape or size


@dataclass(frozen=True)
class PlannedPart:
    """A part, and what it should take."""

    kind: str
    size: str
    seconds: float
    left_out: str = ""
    """Why it does not run; empty: it runs."""

    @property
    def name(self) -> str:
        """As claims and rows name it."""
        return f"{self.kind}, {self.size}"

    @property
    def limit(self) -> float:
        """Seconds after which it is ended."""
        return max(LEAST_PATIENCE_SECONDS, PATIENCE * self.seconds)


def plan_parts(
    setting: Setting, sizes: Sequence[str], budget_seconds: float, *, peak: float | None, gpus: int, mps: bool
) -> list[PlannedPart]:
    """List all parts in the order in which they run; what does not fit, from the end, is left out by name."""
    kinds = ("precision", "backends", "resume", "ranks", "memory", "speeds")
    order = [(kind, "62m") for kind in kinds]
    order += [(kind, "350m") for kind in ("backends", "memory", "speeds")]
    order += [("sharing", "62m"), ("graphs", "62m"), ("graphs", "350m"), ("sharing with MPS", "62m")]
    parts, left = [], budget_seconds
    for kind, size in order:
        part = PlannedPart(kind, size, seconds_of(kind, size, setting, peak))
        if size not in sizes:
            part = replace(part, left_out=f"{size} was not requested")
        elif kind == "ranks" and gpus < 2:
            part = replace(part, left_out=f"needs two GPUs, found {gpus}")
        elif kind == "sharing with MPS" and not mps:
            part = replace(part, left_out="needs --mps")
        elif part.seconds > left:
            part = replace(part, left_out=f"needs about {part.seconds:.0f} s, {left:.0f} s are left of the budget")
        left -= 0 if part.left_out else part.seconds
        parts.append(part)
    return parts


def seconds_of(kind: str, size: str, setting: Setting, peak: float | None) -> float:
    """Estimate a part."""
    step = step_seconds(size, setting, peak)
    turns = (setting.rounds + 1) * (setting.steps + 1) + 2
    of_kind = {
        "precision": 6 * step,
        "backends": LAYERS_SECONDS + 24 * step,
        "resume": CACHED_SECONDS + 12 * step,
        "ranks": 2 * RUN_START_SECONDS + 6 * step,
        "memory": CACHED_SECONDS + 2 * step,
        "speeds": CACHED_SECONDS + PEER_SECONDS + WAYS * turns * step,
        "sharing": 2 * (RUN_START_SECONDS + setting.run_seconds),
        "sharing with MPS": 2 * (RUN_START_SECONDS + setting.run_seconds),
        "graphs": CACHED_SECONDS + GRAPH_WAYS * turns * step,
    }
    return START_SECONDS + of_kind[kind]


def step_seconds(size: str, setting: Setting, peak: float | None) -> float:
    """Estimate a step of `setting.tokens` tokens on average over the ways to train."""
    flops = setting.tokens * flops_per_token(PROXIES[size], VOCAB_SIZE, setting.length)
    return flops / ((peak or UNKNOWN_PEAK) * MFU[size])
