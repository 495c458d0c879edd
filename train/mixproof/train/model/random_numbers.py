"""States of a rank's random-number generators, for checkpoints and for work that must not advance them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of torch's generators, on CUDA of Megatron's as well."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
        state["tracker"] = get_cuda_rng_tracker().get_states()
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
        get_cuda_rng_tracker().set_states(state["tracker"])


@contextmanager
def preserved_random_state(device: torch.device) -> Iterator[None]:
    """Restore the generators at the end; draws inside the context do not affect what follows."""
    state = random_state(device)
    try:
        yield
    finally:
        set_random_state(state, device)
