"""Where the random-number generators of a rank stand: for checkpoints, and for work that must leave them alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker


def random_numbers(device: torch.device) -> dict[str, Any]:
    """States of torch's generators, and of Megatron's on CUDA."""
    numbers: dict[str, Any] = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        numbers["cuda"] = torch.cuda.get_rng_state(device)
        numbers["tracker"] = get_cuda_rng_tracker().get_states()
    return numbers


def set_random_numbers(numbers: dict[str, Any], device: torch.device) -> None:
    """Put the generators where `random_numbers` found them."""
    torch.set_rng_state(numbers["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(numbers["cuda"], device)
        get_cuda_rng_tracker().set_states(numbers["tracker"])


@contextmanager
def random_numbers_kept(device: torch.device) -> Iterator[None]:
    """Leave the generators as they are found, whatever is drawn inside."""
    numbers = random_numbers(device)
    try:
        yield
    finally:
        set_random_numbers(numbers, device)
