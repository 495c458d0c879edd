"""What a layer computes between its matrix products, forward and backward: norm, gate, rotation.

Megatron Core composes these of small torch operations, each of which makes a pass over the activations and keeps its
inputs: the backward pass of an RMSNorm alone makes a dozen passes. Here each is one function with an explicit
derivative, which keeps little and makes few passes; compiled, it makes one.

The same formulas run operation by operation (`PLAIN`) or compiled (`compiled()`). The two differ in the last digits,
because a compiled sum adds in a different order. Functions are compiled for fixed shapes and again for each run, so a
run uses the same kernels even if its process has done other work before.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .compiler_cache import use_private_cache


@dataclass(frozen=True)
class LayerMath:
    """The functions of a layer and their derivatives; `_norm` and so on document arguments and results."""

    norm: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    norm_gradients: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    gate: Callable[[Tensor], Tensor]
    gate_gradient: Callable[[Tensor, Tensor], Tensor]
    rotate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    rotate_gradient: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def rms_norm(states: Tensor, gain: Tensor, epsilon: float, math: LayerMath) -> Tensor:
    """Divide `states` [..., hidden] by their root mean square and multiply by `gain` [hidden]."""
    normed: Tensor = _Norm.apply(states, gain, epsilon, math)  # type: ignore[no-untyped-call]
    return normed


def swiglu(gate_and_up: Tensor, math: LayerMath) -> Tensor:
    """Compute silu(gate) × up of [..., gate then up]."""
    gated: Tensor = _Gate.apply(gate_and_up, math)  # type: ignore[no-untyped-call]
    return gated


def rotated(mixed: Tensor, turns: Tensor, math: LayerMath) -> tuple[Tensor, Tensor, Tensor]:
    """Split one matrix product into queries, keys and values; rotate queries and keys by their positions.

    Args:
        mixed: [sequence, batch, groups, queries per group + 2, head_dim]: queries, key and value of each group.
        turns: [2, sequence, 1 or batch, 1, 1, head_dim] cosines and sines.
        math: plain or compiled.

    Returns:
        Queries [batch, heads, sequence, head_dim], then keys and values [batch, groups, sequence, head_dim].
    """
    parts: tuple[Tensor, Tensor, Tensor] = _Rotation.apply(mixed, turns, math)  # type: ignore[no-untyped-call]
    return parts


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, gain: Tensor, epsilon: float, math: LayerMath) -> Tensor:  # noqa: ANN401
        rows = states.detach().reshape(-1, states.size(-1))
        normed, scale = math.norm(rows, gain.detach(), epsilon)
        ctx.save_for_backward(rows, gain, scale)
        ctx.math = math
        return normed.view(states.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_normed: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        rows, gain, scale = ctx.saved_tensors
        of_rows, of_gain = ctx.math.norm_gradients(of_normed.reshape(rows.shape), rows, gain, scale)
        return of_rows.view(of_normed.shape), of_gain, None, None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_and_up: Tensor, math: LayerMath) -> Tensor:  # noqa: ANN401
        rows = gate_and_up.detach().reshape(-1, gate_and_up.size(-1))
        ctx.save_for_backward(rows)
        ctx.math = math
        gated: Tensor = math.gate(rows)
        return gated.view(*gate_and_up.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_gated: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (rows,) = ctx.saved_tensors
        of_rows = ctx.math.gate_gradient(of_gated.reshape(len(rows), -1), rows)
        return of_rows.view(*of_gated.shape[:-1], -1), None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mixed: Tensor, turns: Tensor, math: LayerMath) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        turns = turns.to(mixed.dtype)
        ctx.save_for_backward(turns)
        ctx.math = math
        return math.rotate(mixed.detach(), turns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_parts: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (turns,) = ctx.saved_tensors
        return ctx.math.rotate_gradient(*of_parts, turns), None, None


def _norm(rows: Tensor, gain: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return normalized rows [n, hidden] in their own dtype and the scale of each row [n, 1] in float32."""
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32)
    scale = torch.rsqrt(length.square() / rows.size(-1) + epsilon)
    return (rows * scale).mul_(gain).to(rows.dtype), scale


def _norm_gradients(of_normed: Tensor, rows: Tensor, gain: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the rows, in their own dtype, and of the gain; computed in float32."""
    unit = rows * scale
    product = of_normed * unit
    along = (product @ gain)[:, None] / -rows.size(-1)
    return torch.addcmul(of_normed * gain, unit, along).mul_(scale).to(rows.dtype), product.sum(0)


def _gate(rows: Tensor) -> Tensor:
    """Map [n, 2 ffn] to [n, ffn]."""
    gate, up = rows.chunk(2, -1)
    return functional.silu(gate).mul_(up)


def _gate_gradient(of_gated: Tensor, rows: Tensor) -> Tensor:
    """Return the gradient of the rows."""
    gate, up = rows.chunk(2, -1)
    of_gate = torch.ops.aten.silu_backward(of_gated * up, gate)
    return torch.cat([of_gate, functional.silu(gate).mul_(of_gated)], -1)


def _rotate(mixed: Tensor, turns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `rotated`."""
    cosines, sines = turns
    turned = mixed[..., :-1, :]
    turned = turned * cosines + _quarter(turned) * sines
    queries = turned[..., :-1, :].permute(1, 2, 3, 0, 4).flatten(1, 2)
    keys, values = turned[..., -1, :], mixed[..., -1, :]
    return queries.contiguous(), keys.permute(1, 2, 0, 3).contiguous(), values.permute(1, 2, 0, 3).contiguous()


def _rotate_gradient(of_queries: Tensor, of_keys: Tensor, of_values: Tensor, turns: Tensor) -> Tensor:
    """Return the gradient of `mixed`: rotate back."""
    cosines, sines = turns
    batch, groups, sequence, size = of_keys.shape
    grouped = of_queries.reshape(batch, groups, -1, sequence, size)
    turned = torch.cat([grouped, of_keys[:, :, None]], 2).permute(3, 0, 1, 2, 4)
    back = turned * cosines - _quarter(turned) * sines
    return torch.cat([back, of_values.permute(2, 0, 1, 3)[:, :, :, None]], 3)


def _quarter(states: Tensor) -> Tensor:
    """Rotate each pair (a, b), half a vector apart, by 90 degrees: (-b, a)."""
    first, second = states.chunk(2, -1)
    return torch.cat((-second, first), -1)


PLAIN = LayerMath(_norm, _norm_gradients, _gate, _gate_gradient, _rotate, _rotate_gradient)


def compiled() -> LayerMath:
    """Return the same functions; torch compiles each on its first call."""
    use_private_cache()
    torch.compiler.reset()
    # in this process: a pool of compiler processes would outlive the six functions
    options: dict[str, str | int | bool | Callable[..., Any]] = {"compile_threads": 1}
    functions = (getattr(PLAIN, field.name) for field in fields(PLAIN))
    return LayerMath(*(torch.compile(one, fullgraph=True, dynamic=False, options=options) for one in functions))


def why_not_compiled(device_type: str) -> str | None:
    """Say why this machine cannot compile for `cpu` or `cuda`; None if it can."""
    if device_type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        return None if shutil.which(compiler) else f"no C++ compiler: {compiler} is not in PATH"
    if find_spec("triton") is None:
        return "no Triton: the package triton is not installed"
    compilers = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    if not any(map(shutil.which, compilers)):  # Triton compiles what launches its kernels
        return f"no C compiler for Triton: {' and '.join(compilers)} not in PATH"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return (
        None
        if header.exists()
        else f"no header for Triton: {header} does not exist; install Python's development files"
    )
