"""Measure how fast this machine trains a proxy, in a few seconds.

One forward and backward pass after another goes through a model of the proxy's layers, few of them, in the proxy's
sequence length. What is measured is its FLOP/s, which a model of more layers has as well; compiled layers, the
optimizer, data and several runs side by side are not in it.
"""

from __future__ import annotations

import time

import torch
from megatron.core.models.gpt import GPTModel

from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.distributed import process_group
from mixproof.train.model.model import build_model
from mixproof.train.model.training_loss import training_loss
from mixproof.train.proxies import flops_per_token

MOST_LAYERS = 2
MOST_TOKENS = 2_048
"""Tokens of a pass: one sequence, or the start of a longer one."""


def measure_training(
    architecture: Architecture, vocab_size: int, sequence_length: int, *, threads: int, seconds: float = 3.0
) -> tuple[float, str]:
    """Measure the training speed of a proxy on the first GPU, or on the CPU where there is none.

    Args:
        architecture: the proxy's shape.
        vocab_size: number of token ids.
        sequence_length: tokens per sample.
        threads: of a run on the CPU.
        seconds: how long to measure, after one pass that is not counted; a pass that has begun is finished.

    Returns:
        Tokens per second, and the device: `cpu` or `cuda`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    length = min(sequence_length, MOST_TOKENS)
    small = architecture.model_copy(update={"layers": min(architecture.layers, MOST_LAYERS)})
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        with process_group(device) as ranks:
            model = build_model(
                small, vocab_size=vocab_size, sequence_length=length, rope_base=10_000, seed=1, device=ranks.device
            )
            model.train()
            passes, elapsed = _passes(model, vocab_size, length, ranks.device, seconds)
    finally:
        torch.set_num_threads(before)
    flops_per_second = passes * length * flops_per_token(small, vocab_size, length) / elapsed
    return flops_per_second / flops_per_token(architecture, vocab_size, sequence_length), device


def _passes(model: GPTModel, vocab_size: int, length: int, device: torch.device, seconds: float) -> tuple[int, float]:
    """Number of passes, and the seconds that they took; the first one, which is slower, is not counted."""
    ids = torch.arange(length, device=device)[None] % vocab_size
    positions, weights = torch.arange(length, device=device)[None], torch.ones(1, length, device=device)
    started, passes = 0.0, -1
    while passes < 1 or time.monotonic() - started < seconds:
        with (
            torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"),
            model.rotary_pos_emb.at_positions(None),
        ):
            loss, _ = training_loss(model, ids, positions, None, ids, weights)
        torch.autograd.backward(loss)
        model.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        passes += 1
        if passes == 0:
            started = time.monotonic()
    return passes, time.monotonic() - started
