"""The head of a reward model: a linear map from the hidden state of an answer's last token to its rewards.

It is a module of the GPTModel, so that optimizer, checkpoints and gradients hold it like any other weight. There is no
bias, as in transformers' LlamaForSequenceClassification: only differences of rewards count, and a regression learns its
mean through the hidden state.
"""

from __future__ import annotations

import torch
from megatron.core.models.gpt import GPTModel

from mixproof.ledger.fingerprint import derive_seed

from .model import INIT_STD

REWARD_HEAD = "reward_head"
"""Name of the module, and start of the names of its weights."""


def add_reward_head(model: GPTModel, hidden: int, outputs: int, seed: int) -> torch.nn.Linear:
    """Add a head with the initial weights of `seed`, float32, on the model's device; return it."""
    generator = torch.Generator().manual_seed(derive_seed(REWARD_HEAD, seed))
    device = next(model.parameters()).device
    head = torch.nn.Linear(hidden, outputs, bias=False, device="meta" if device.type == "meta" else "cpu")
    if device.type != "meta":
        with torch.no_grad():
            head.weight.copy_(torch.randn(outputs, hidden, generator=generator) * INIT_STD)
    setattr(model, REWARD_HEAD, head.to(device))
    return head


def reward_head_of(model: GPTModel) -> torch.nn.Linear:
    """Return the head of a reward model."""
    head = getattr(model, REWARD_HEAD)
    assert isinstance(head, torch.nn.Linear), "the model of a reward run has one"
    return head
