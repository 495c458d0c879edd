"""How fast an attempt trains: `throughput.jsonl`, a line about every ten seconds, and the curves of TensorBoard.

Speed, memory and time left are true of an attempt and not of the run, so they are in no checksum and no key: the
lines of all attempts stand one behind the other, and what steps did is in `metrics.jsonl`.

MFU is the operations of training (`proxies.flops_per_token`: matrices and causal attention, nothing recomputed) a
second, as a share of what the device can do at most in bfloat16 without sparsity, by its maker's data sheet. A device
that is not in the list, a CPU among them, has no MFU.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass

import torch

from mixproof.train.distributed import Ranks
from mixproof.train.ownership import Ownership
from mixproof.train.proxies import flops_per_token
from mixproof.train.request import RunRequest

from .metrics import StepMetrics

THROUGHPUT = "throughput.jsonl"
SECONDS_A_LINE = 10.0
PEAK_FLOPS = {
    "B200": 2.25e15,
    "H200": 9.89e14,
    "H100 PCIe": 7.56e14,
    "H100": 9.89e14,
    "A100": 3.12e14,
    "L40S": 3.62e14,
    "A10G": 7.0e13,
    "L4": 1.21e14,
}
"""Dense bfloat16 operations a second by a part of the device's name, the more special names first; from the data sheets
of NVIDIA's B200, H200, H100, A100, L40S, A10G and L4."""


@dataclass(frozen=True)
class Throughput:
    """What the steps since the line before took."""

    step: int
    """Steps done."""
    seconds: float
    """Since the attempt began to train."""
    tokens_per_second: float
    """Over all ranks."""
    seconds_left: float
    """Of training, at this speed."""
    mfu: float | None
    """Share of the devices' peak; None where that is not known."""
    memory_bytes: int
    """The most that the first rank had allocated so far: on the GPU, or of the process on a CPU."""


def peak_flops(device_name: str) -> float | None:
    """Operations a second of a device at most, by its name; None where it is not known."""
    return next((peak for part, peak in PEAK_FLOPS.items() if part in device_name), None)


class Pace:
    """Measures one attempt and writes it down; on the first rank."""

    def __init__(self, request: RunRequest, ranks: Ranks, ownership: Ownership, consumed_samples: int) -> None:
        """Start the clock."""
        self._path = ownership.folder / THROUGHPUT
        self._ownership, self._budget, self._device = ownership, request.budget, ranks.device
        on_cuda = ranks.device.type == "cuda"
        peak = peak_flops(torch.cuda.get_device_name(ranks.device)) if on_cuda else None
        operations = flops_per_token(request.shape, request.tokenizer.vocab_size, self._budget.sequence_length)
        self._mfu_a_token = operations / (peak * ranks.size) if peak else None
        self._started = self._last_line = time.monotonic()
        self._tokens = consumed_samples * self._budget.sequence_length

    def step(self, metrics: StepMetrics) -> Throughput | None:
        """Count a step; return what was measured where a line was due."""
        now = time.monotonic()
        over = metrics.samples >= self._budget.samples
        if now - self._last_line < SECONDS_A_LINE and not over:
            return None
        speed = (metrics.tokens - self._tokens) / (now - self._last_line)
        found = Throughput(
            step=metrics.step,
            seconds=round(now - self._started, 3),
            tokens_per_second=round(speed, 1),
            seconds_left=round((self._budget.tokens_planned - metrics.tokens) / speed, 1),
            mfu=round(self._mfu_a_token * speed, 4) if self._mfu_a_token else None,
            memory_bytes=memory_bytes(self._device),
        )
        self._last_line, self._tokens = now, metrics.tokens
        self._ownership.check()
        with self._path.open("ab") as file:
            file.write(json.dumps(asdict(found)).encode() + b"\n")
        return found


def memory_bytes(device: torch.device) -> int:
    """The most memory that was taken so far: allocated on a GPU, resident of this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kilobytes
