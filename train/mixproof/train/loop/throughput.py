"""`throughput.jsonl`: how fast an attempt trains, one line about every ten seconds.

Speed, memory and remaining time are facts about an attempt and not about the run, so they are in no checksum and no
key. The file has the lines of all attempts, one attempt after another; `metrics.jsonl` has the metrics of the steps.

MFU (model FLOPs utilization) is the training FLOPs per second (`proxies.flops_per_token`: matrices and causal
attention, without recomputation) over the device's peak in dense bfloat16 from its data sheet. Devices that are not in
the table, including all CPUs, have no MFU.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from dataclasses import asdict, dataclass

import torch

from mixproof.ledger.files import open_no_link
from mixproof.train.distributed import Ranks
from mixproof.train.ownership import Ownership
from mixproof.train.proxies import flops_per_token
from mixproof.train.request import RunRequest

from .metrics import StepMetrics

THROUGHPUT = "throughput.jsonl"
SECONDS_PER_LINE = 10.0
PEAK_FLOPS = {
    "GB200": 2.5e15,
    "B200": 2.25e15,
    "GH200": 9.89e14,
    "H200 NVL": 8.35e14,
    "H200": 9.89e14,
    "H100 NVL": 8.35e14,
    "H100 PCIe": 7.56e14,
    "H100": 9.89e14,
    "H800": 9.89e14,
    "A100": 3.12e14,
    "A800": 3.12e14,
    "L40S": 3.62e14,
    "L40": 1.81e14,
    "L4": 1.21e14,
    "A30": 1.65e14,
    "A10": 1.25e14,
    "A10G": 7.0e13,
}
"""Dense bfloat16 FLOPs per second by words of the device's name, more specific names first; from NVIDIA's data sheets,
halved where those count structured sparsity."""


@dataclass(frozen=True)
class Throughput:
    """Measurements over the steps since the previous line."""

    step: int
    """Steps done."""
    seconds: float
    """Since the attempt started training."""
    tokens_per_second: float
    """Over all ranks."""
    seconds_left: float
    """Of training, at the current speed."""
    mfu: float | None
    """Share of the devices' peak; None if the peak is not known."""
    memory_bytes: int
    """Peak memory of rank 0 so far: allocated on the GPU, or resident in the process on a CPU."""


def peak_flops(device_name: str) -> float | None:
    """Return the peak FLOPs per second of a device by its name; None if it is not known, as of a MIG slice."""
    if "MIG" in device_name:
        return None
    return next((peak for part, peak in PEAK_FLOPS.items() if re.search(rf"\b{part}\b", device_name)), None)


class ThroughputLog:
    """Measures and records one attempt, on rank 0."""

    def __init__(self, request: RunRequest, ranks: Ranks, ownership: Ownership, consumed_samples: int) -> None:
        """Start the clock."""
        self._path = ownership.folder / THROUGHPUT
        self._ownership, self._budget, self._device = ownership, request.budget, ranks.device
        on_cuda = ranks.device.type == "cuda"
        peak = peak_flops(torch.cuda.get_device_name(ranks.device)) if on_cuda else None
        self._shape, self._vocab_size = request.shape, request.tokenizer.vocab_size
        self._peak = peak * ranks.size if peak else None
        self._started = self._last_line = time.monotonic()
        self._tokens = consumed_samples * self._budget.sequence_length

    def step(self, metrics: StepMetrics) -> Throughput | None:
        """Count a step; return the measurements if a line was due."""
        now = time.monotonic()
        is_last = metrics.samples >= self._budget.samples
        if now - self._last_line < SECONDS_PER_LINE and not is_last:
            return None
        speed = (metrics.tokens - self._tokens) / (now - self._last_line)
        found = Throughput(
            step=metrics.step,
            seconds=round(now - self._started, 3),
            tokens_per_second=round(speed, 1),
            seconds_left=round((self._budget.tokens_planned - metrics.tokens) / speed, 1),
            mfu=round(self._flops_per_token(metrics.samples) * speed / self._peak, 4) if self._peak else None,
            memory_bytes=memory_bytes(self._device),
        )
        self._last_line, self._tokens = now, metrics.tokens
        self._ownership.check()
        with os.fdopen(open_no_link(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as file:
            file.write(json.dumps(asdict(found)).encode() + b"\n")
        return found

    def _flops_per_token(self, consumed_samples: int) -> int:
        """FLOPs of one token in the phase of the last step."""
        phase = self._budget.phases[self._budget.phase_at(consumed_samples - 1)]
        return flops_per_token(self._shape, self._vocab_size, self._budget.length_of(phase))


def memory_bytes(device: torch.device) -> int:
    """Return the peak memory so far: allocated on a GPU, resident in this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kilobytes
