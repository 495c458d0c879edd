"""`circumstances.json`: facts about an attempt and not about the run, so in no checksum and no key."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version

import torch

from mixproof.train.distributed import Ranks

from .throughput import memory_bytes

PACKAGES = ("torch", "megatron-core", "numpy")


def wall_times(started: float, seconds_training: float, seconds_evaluating: float) -> dict[str, object]:
    """State when an attempt started (`started`, from `time.time`) and ended (now), and how its time was spent."""
    return {
        "started": datetime.fromtimestamp(started, UTC).isoformat(),
        "ended": datetime.now(UTC).isoformat(),
        "wall_milliseconds": int((time.time() - started) * 1000),
        "training_milliseconds": int(seconds_training * 1000),
        "evaluation_milliseconds": int(seconds_evaluating * 1000),
    }


def tokens_per_second(tokens: int, seconds: float) -> int:
    """Return whole tokens per second; 0 if no time has passed."""
    return int(tokens / seconds) if seconds else 0


def machine(ranks: Ranks) -> dict[str, object]:
    """State the hardware and the package versions of an attempt."""
    on_cuda = ranks.device.type == "cuda"
    return {
        "ranks": ranks.size,
        "memory_bytes": memory_bytes(ranks.device),
        "device": torch.cuda.get_device_name(ranks.device) if on_cuda else "cpu",
        "machine": platform.platform(),
        "versions": {name: version(name) for name in PACKAGES},
    }
