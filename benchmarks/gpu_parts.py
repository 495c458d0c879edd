"""The parts of `gpu.py`, each in a process of its own: checks of correctness here, speeds in `gpu_speeds.py`."""

from __future__ import annotations

import platform
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import torch
from megatron.core.extensions.transformer_engine import HAVE_TE
from megatron.core.models.gpt import GPTModel
from megatron.core.utils import get_te_version

import gpu_claims as claims
from gpu_budget import Setting
from gpu_report import Part
from gpu_runs import measure_ranks, measure_sharing, measure_sharing_with_mps
from gpu_speeds import measure_graphs, measure_speeds
from gpu_ways import request_of, step_losses
from mixproof.train.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from mixproof.train.distributed import Ranks, process_group
from mixproof.train.evaluate.evaluate import evaluate
from mixproof.train.evaluate.heldout_parts import HeldoutDocuments
from mixproof.train.loop.throughput import memory_bytes, peak_flops
from mixproof.train.model.attention import SdpaCoreAttention
from mixproof.train.model.backend_check import (
    MAX_DIFFERENCE,
    gradients,
    reason_to_reject,
    relative_difference,
    seeded_batch,
    seeded_model,
)
from mixproof.train.model.layer_backend import LayerBackend, available_backends
from mixproof.train.model.layer_math import PLAIN
from mixproof.train.model.micro_batch import step_plan
from mixproof.train.model.model import use_math
from mixproof.train.model.state import build_state
from mixproof.train.ownership import Ownership
from mixproof.train.proxies import PROXIES, memory_of
from mixproof.train.request import RunRequest
from proxies import VOCAB_SIZE

BF16_ROUNDING = (0.002, 0.03)
"""The largest difference of two correct backends is between these in bfloat16 (the guide: 1.1% to 1.3% on CPUs)."""
FLOAT32_ROUNDING = 1e-5
"""Of a product of 1,024 terms; TF32 gives about 3e-4."""
STEPS = 2
NO_GPU = "no GPU"


class Work(Protocol):
    """The work of a part."""

    def __call__(self, part: Part, *, size: str, setting: Setting) -> None:
        """Measure, and report rows and verdicts."""


def describe_machine(part: Part, *, size: str, setting: Setting) -> None:
    """Report device, versions and what decides which backends there are."""
    if setting.device == "cpu":
        device, peak, gpus = "CPU, nothing about GPUs is measured", None, 0
    else:
        gpus = torch.cuda.device_count()
        device, peak = torch.cuda.get_device_name(0), peak_flops(torch.cuda.get_device_name(0))
        memory = torch.cuda.get_device_properties(0).total_memory
        part.add("memory of the device", f"{memory / 1e9:.0f} GB")
        part.add("CUDA, cuDNN", f"{torch.version.cuda}, {torch.backends.cudnn.version()}")  # type: ignore[no-untyped-call]
        torch.zeros(1, device="cuda").sum().item()  # fails here if the device cannot be used
    part.add("device", device)
    part.add("GPUs", str(gpus))
    part.add("peak, dense bfloat16", f"{peak:.3g} FLOP/s" if peak else "not known: MFU is not measured")
    engine = str(get_te_version()) if HAVE_TE else "not installed"
    part.add("versions", f"Python {platform.python_version()}, torch {torch.__version__}, Transformer Engine {engine}")
    part.add("C compiler", shutil.which("gcc") or shutil.which("clang") or "none: Triton needs one")


def check_precision(part: Part, *, size: str, setting: Setting) -> None:
    """Check the dtypes of a step, and that float32 products are not in TF32."""
    with process_group(setting.device) as ranks:
        request = request_of(setting.shape_of(size), setting.length, setting.device)
        state = build_state(request, ranks)
        seen: list[torch.dtype] = []
        learner = state.learner or state.model
        learner.decoder.layers[0].mlp.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output[0].dtype)
        )
        step_losses(state, request, ranks, 1)
        kept = {weight.dtype for weight in state.model.parameters()}
        kept |= {moment.dtype for one in state.optimizer.state.values() for moment in one.values()}
        left, right = torch.randn(2, 1024, 1024, generator=torch.Generator().manual_seed(1)).to(ranks.device)
        exact = left.double() @ right.double()
        error = float((left @ right - exact).norm() / exact.norm())
    figure = f"kept in {names_of(kept)}, computed in {names_of(set(seen))}; error of a float32 product {error:.1e}"
    part.add(f"precision, {size}", figure)
    right_dtypes = kept == {torch.float32} and set(seen) == {torch.bfloat16}
    holds = right_dtypes and error < FLOAT32_ROUNDING
    part.judge(
        claims.PRECISION, holds if setting.device == "cuda" else None, figure if setting.device == "cuda" else NO_GPU
    )


def names_of(dtypes: set[torch.dtype]) -> str:
    """Names without the module."""
    return " and ".join(sorted(str(each).removeprefix("torch.") for each in dtypes))


def check_backends(part: Part, *, size: str, setting: Setting) -> None:
    """Compare every backend that is installed with the plain layers, in both dtypes."""
    on_cuda = setting.device == "cuda"
    with process_group(setting.device) as ranks:
        request = request_of(setting.shape_of(size), setting.length, setting.device)
        backends, rejected = available_backends(request, ranks)
        for one in rejected:
            part.add(f"{one.backend}, {size}", f"not available: {one.reason}")
        worst: dict[str, float] = {}
        for in_bfloat16 in (True, False) if on_cuda else (False,):
            dtype = "bfloat16" if in_bfloat16 else "float32"
            for backend in backends:
                name = f"{backend.name} against plain, {size}, {dtype}"
                with part.attempt(name):
                    worst[name] = float("inf")  # if it fails
                    begin = time.perf_counter()
                    worst[name] = largest_difference(backend, request, ranks, in_bfloat16=in_bfloat16)
                    taken = f"{time.perf_counter() - begin:.0f} s with compilation"
                    part.add(name, f"largest difference of a gradient {worst[name]:.2%}, {taken}")
        agree = max(worst.values()) <= MAX_DIFFERENCE if worst else None
        figure = f"largest {max(worst.values()):.2%}" if worst else "neither Transformer Engine nor Triton is usable"
        part.judge(claims.backends_agree(size), agree, figure)
        if size == "62m":
            rounded = [difference for name, difference in worst.items() if name.endswith("bfloat16")]
            low, high = BF16_ROUNDING
            near = all(low <= each <= high for each in rounded) if rounded else None
            figure = ", ".join(f"{each:.2%}" for each in rounded) or (NO_GPU if not on_cuda else figure)
            part.judge(claims.ROUNDING, near, figure)
            check_rejection(part, request, ranks)
            check_document_mask(part, setting, ranks)


def largest_difference(backend: LayerBackend, request: RunRequest, ranks: Ranks, *, in_bfloat16: bool) -> float:
    """Largest relative difference of a gradient between a backend and the plain layers."""
    plan = step_plan(request, ranks)
    batch = seeded_batch(VOCAB_SIZE, plan, ranks.device)
    model = seeded_model(request, ranks.device)
    plain = gradients(model, model, batch, plan, in_bfloat16)
    other = gradients(backend.wrap(model), model, batch, plan, in_bfloat16)
    return max(relative_difference(plain[each], other[each]) for each in plain)


def check_rejection(part: Part, request: RunRequest, ranks: Ranks) -> None:
    """A wrong backend must be rejected on this device as well."""

    def rescaled(model: GPTModel) -> GPTModel:
        for module in model.modules():
            if isinstance(module, SdpaCoreAttention):
                module.softmax_scale = 1.1 / request.shape.head_dim**0.5
        return model

    reason = reason_to_reject(rescaled, request, ranks, in_bfloat16=ranks.device.type == "cuda")
    part.judge(claims.REJECTS, reason is not None, reason or "accepted")


def check_document_mask(part: Part, setting: Setting, ranks: Ranks) -> None:
    """Under a document mask torch's attention is used between Transformer Engine's matrices."""
    if not HAVE_TE or setting.device == "cpu":
        part.judge(claims.MASKED, None, NO_GPU if setting.device == "cpu" else "transformer-engine is not installed")
        return
    request = request_of(setting.shape_of("62m"), setting.length, setting.device, document_mask=True)
    backend = available_backends(request, ranks)[0][0]
    with part.attempt(f"{backend.name} with document_mask"):
        difference = largest_difference(backend, request, ranks, in_bfloat16=True)
        figure = f"{backend.name}: {difference:.2%}"
        part.judge(claims.MASKED, backend.name.endswith("attention of torch") and difference <= MAX_DIFFERENCE, figure)


def check_resume(part: Part, *, size: str, setting: Setting) -> None:
    """Save half-way; go on in a fresh state, with the same and with the plain layers; score with both."""
    with process_group(setting.device) as ranks, TemporaryDirectory() as folder:
        request = request_of(setting.shape_of(size), setting.length, setting.device)
        whole = build_state(request, ranks)
        ownership = Ownership(Path(folder))
        ownership.take()
        step_losses(whole, request, ranks, STEPS)
        saved = save_checkpoint(Path(folder), whole, ranks, ownership)
        expected = step_losses(whole, request, ranks, STEPS)

        resumed = build_state(request, ranks)
        load_checkpoint(saved, resumed, ranks)
        found = step_losses(resumed, request, ranks, STEPS)
        pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
        same = expected == found and all(torch.equal(one, other) for one, other in pairs)
        figure = f"{STEPS} + {STEPS} steps, {whole.layers.backend}, losses {expected[-1]:.6f} and {found[-1]:.6f}"
        part.add(f"resumed, {size}", figure)
        part.judge(claims.RESUMES, same, figure)

        other = build_state(request, ranks)
        load_checkpoint(saved, other, ranks)
        use_math(other.model, PLAIN)
        other.learner = other.model
        found = step_losses(other, request, ranks, STEPS)
        difference = max(abs(one - two) / one for one, two in zip(expected, found, strict=True))
        figure = f"{whole.layers.backend}, then plain: losses differ by {difference:.1e}"
        part.add(f"resumed with plain layers, {size}", figure)
        if whole.layers.backend == "plain":
            part.judge(claims.CHANGES, None, "only plain layers passed their check here")
        else:
            part.judge(claims.CHANGES, difference < 1e-2, figure)
        check_scores(part, whole.model, resumed.model, request, ranks)


def check_scores(part: Part, trained: GPTModel, plain: GPTModel, request: RunRequest, ranks: Ranks) -> None:
    """Score the weights of `trained` in it and in `plain`."""
    with torch.no_grad():
        for one, other in zip(plain.parameters(), trained.parameters(), strict=True):
            one.copy_(other)
    use_math(plain, PLAIN)
    length = request.budget.sequence_length
    ids = np.random.default_rng(1).integers(3, VOCAB_SIZE, 4 * length).astype(np.int32)
    starts = np.arange(5, dtype=np.int64) * length
    documents = HeldoutDocuments("source", ids, starts, [""] * 4, np.arange(4), np.full(4, length), [""] * 4)
    scores = [
        evaluate(model, documents, eod_id=2, sequence_length=length, device=ranks.device).nll_nats
        for model in (trained, plain)
    ]
    same = bool(np.array_equal(scores[0], scores[1]))
    part.judge(
        claims.SCORES, same, f"{scores[0].sum() / len(ids):.6f} and {scores[1].sum() / len(ids):.6f} nats per token"
    )


def check_memory(part: Part, *, size: str, setting: Setting) -> None:
    """Compare the peak memory of a few steps with the estimate of `plan`."""
    name = f"memory, {size}"
    if setting.device == "cpu":
        part.judge(claims.memory_fits(size), None, NO_GPU)
        return
    with process_group(setting.device) as ranks:
        request = request_of(setting.shape_of(size), setting.length, setting.device)
        step_losses(build_state(request, ranks), request, ranks, STEPS)
        samples = step_plan(request, ranks).micro_batch_size
        found = memory_bytes(ranks.device)
    shape = PROXIES[setting.shape_of(size)]
    expected = memory_of(shape, VOCAB_SIZE, setting.length, micro_batch_size=samples, activation_width=2).training
    figure = f"{found / 1e9:.2f} GB, estimate {expected / 1e9:.2f} GB"
    part.add(name, figure)
    part.judge(claims.memory_fits(size), abs(found - expected) <= 0.25 * expected, figure)


WORKS: dict[str, Work] = {
    "machine": describe_machine,
    "precision": check_precision,
    "backends": check_backends,
    "resume": check_resume,
    "ranks": measure_ranks,
    "memory": check_memory,
    "speeds": measure_speeds,
    "sharing": measure_sharing,
    "graphs": measure_graphs,
    "sharing with MPS": measure_sharing_with_mps,
}
