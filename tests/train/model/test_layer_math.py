"""What a layer does between its products: against torch's and Megatron's own functions; compiled against plain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from megatron.core.models.common.embeddings.rope_utils import apply_rotary_pos_emb
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from torch import Tensor
from torch.nn import functional

from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.distributed import Ranks
from mixproof.train.model import layer_math
from mixproof.train.model.attention import DeviceRotaryEmbedding
from mixproof.train.model.layer_backend import COMPILED_FROM_FLOPS
from mixproof.train.model.layer_history import LayerHistory, RejectedBackend
from mixproof.train.model.layer_math import PLAIN, compiled, rms_norm, rotated, swiglu, why_not_compiled
from mixproof.train.model.model import model_config, use_math
from mixproof.train.model.state import build_state
from mixproof.train.model.training_loss import training_loss
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]
SHAPE = Architecture(layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def alike(ours: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    """Values and gradients of a random weighting of them agree."""
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    weights = random(*ours.shape).detach()
    for one, other in zip(
        *(torch.autograd.grad((out * weights).sum(), inputs) for out in (ours, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


def test_a_norm_is_torchs() -> None:
    states, gain = random(5, 2, 24), random(24)
    alike(rms_norm(states, gain, 1e-5, PLAIN), functional.rms_norm(states, (24,), gain, 1e-5), states, gain)


def test_a_gate_is_silu_times_the_other_half() -> None:
    both = random(5, 2, 32)
    alike(swiglu(both, PLAIN), functional.silu(both[..., :16]) * both[..., 16:], both)


def test_a_rotation_is_megatrons(ranks: Ranks) -> None:
    mixed = random(6, 2, 2, 5, 8)  # two groups of three queries, a key and a value
    turns = DeviceRotaryEmbedding(kv_channels=8, rotary_base=100, device=torch.device("cpu"))(6)
    halves = RotaryEmbedding(8, 1.0, rotary_base=100, use_cpu_initialization=True).get_freqs_non_repeated(6)
    angles = torch.cat([halves, halves], -1)[:, None, None]
    config = model_config(SHAPE)
    turned = [apply_rotary_pos_emb(mixed[:, :, :, n], angles, config) for n in range(4)]
    queries = torch.stack(turned[:3], 3).flatten(2, 3)
    for ours, expected in zip(rotated(mixed, turns, PLAIN), (queries, turned[3], mixed[:, :, :, 4]), strict=True):
        torch.testing.assert_close(ours, expected.permute(1, 2, 0, 3), rtol=1e-5, atol=1e-6)
    weights = [random(2, heads, 6, 8).detach() for heads in (6, 2, 2)]
    turned_parts = [part.permute(1, 2, 0, 3) for part in (queries, turned[3], mixed[:, :, :, 4])]
    gradients = [
        torch.autograd.grad(torch.stack([(p * w).sum() for p, w in zip(parts, weights, strict=True)]).sum(), mixed)
        for parts in (rotated(mixed, turns, PLAIN), turned_parts)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=2e-6)


def test_compiled_layers_learn_the_same_and_score_the_same_bits(make_request: MakeRequest, ranks: Ranks) -> None:
    request = make_request()
    plain, fast = build_state(request, ranks), build_state(request, ranks)
    assert plain.layers == fast.layers == LayerHistory("plain")  # the run is too short to compile for
    use_math(fast.model, compiled())
    ids = torch.randint(600, (2, 33), generator=torch.Generator().manual_seed(1))
    tokens, labels = ids[:, :-1], ids[:, 1:]
    gradients = []
    for state in (plain, fast):
        loss, _ = training_loss(state.model, tokens, torch.arange(32)[None], None, labels, torch.ones(2, 32))
        gradients.append(torch.autograd.grad(loss, list(state.model.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        scores = [state.model.eval()(tokens, torch.arange(32)[None], None, labels=labels) for state in (plain, fast)]
    assert torch.equal(*scores)


def test_a_long_run_is_compiled_where_there_is_a_compiler(
    make_request: MakeRequest, ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = make_request(steps=COMPILED_FROM_FLOPS["cpu"])
    assert build_state(long, ranks).layers == LayerHistory("compiled")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert why_not_compiled("cpu") == "no C++ compiler: no-such-compiler is not in PATH"
    monkeypatch.setattr(layer_math, "find_spec", lambda _: object())  # as if Triton were installed
    monkeypatch.setenv("CC", "no-such-compiler")
    assert why_not_compiled("cuda") == "no C compiler for Triton: no-such-compiler not in PATH"
    rejected = RejectedBackend("compiled", "no C++ compiler: no-such-compiler is not in PATH")
    assert build_state(long, ranks).layers == LayerHistory("plain", (rejected,))
