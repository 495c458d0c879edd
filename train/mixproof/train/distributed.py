"""Process groups: one rank or several, gloo on CPU and nccl on CUDA, on the same code path.

Under torchrun a process finds its rank in the environment (`RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`,
`LOCAL_RANK`); Ray Train joins the ranks before it calls them (`launch/rank_group.py`). Without either, the process is
the only rank and its rendezvous store is in memory: it takes no port, so any number of runs can share a machine.
Megatron keeps its groups in module globals and Ray reuses workers, so the groups are always destroyed at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch import Tensor
from torch._C._distributed_c10d import HashStore

BUCKET_WEIGHTS = 16 * 1024 * 1024
"""Gradients per exchange: 64 MB in float32."""


@dataclass(frozen=True)
class Ranks:
    """The rank of this process among the processes of its run."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes the files of the run."""
        return self.rank == 0

    def agree(self, value: str) -> str:
        """Return rank 0's value on every rank."""
        values: list[str] = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def sum(self, tensor: Tensor) -> None:
        """Sum a tensor over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def barrier(self) -> None:
        """Wait for every rank."""
        if self.size > 1:
            dist.barrier(device_ids=None if self.device.index is None else [self.device.index])


@contextmanager
def process_group(device_type: str | None = None) -> Iterator[Ranks]:
    """Join the run's process groups (data parallel only), and leave them at the end, also after an error.

    Args:
        device_type: `cpu` or `cuda`; None: CUDA if available.
    """
    kind = device_type or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(kind)
    if kind == "cuda":
        device = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        use_deterministic_kernels()
    backend = "nccl" if kind == "cuda" else "gloo"
    joined = dist.is_initialized()  # Ray Train joins its ranks before it calls them, and leaves afterwards
    if joined:
        assert dist.get_backend() == backend, f"the process group uses {dist.get_backend()}, not {backend}"
    elif "WORLD_SIZE" in os.environ and "RANK" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        parallel_state.initialize_model_parallel()
        yield Ranks(rank=dist.get_rank(), size=dist.get_world_size(), device=device)
    finally:
        if parallel_state.model_parallel_is_initialized():
            parallel_state.destroy_model_parallel()
        if not joined:
            dist.destroy_process_group()


def sum_gradients(parameters: Sequence[Tensor], ranks: Ranks) -> None:
    """Sum the gradients over the ranks, in place.

    The buckets are the same at every step. A ring all-reduce adds the ranks' parts in an order that depends on the
    position in the bucket, and torch's DDP reorders its buckets after the first step of each attempt, so with three
    ranks or more a resumed run would add in a different order than an uninterrupted one. The cost is that exchange and
    backward pass do not overlap; there is one exchange per step, however many micro batches the step has.
    """
    if ranks.size == 1:
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        assert parameter.grad is not None, "every weight contributes to the loss"
        bucket.append(parameter.grad)
        if sum(gradient.numel() for gradient in bucket) >= BUCKET_WEIGHTS:
            _sum_bucket(bucket, ranks)
            bucket = []
    if bucket:
        _sum_bucket(bucket, ranks)


def _sum_bucket(gradients: Sequence[Tensor], ranks: Ranks) -> None:
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    ranks.sum(flat)
    for gradient, part in zip(gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def use_deterministic_kernels() -> None:
    """Make a resumed run repeat an uninterrupted one on CUDA, with float32 sums in float32.

    With `warn_only=True` torch's flash and memory-efficient attention would still add gradients in any order. Of the
    operations for which torch has no deterministic kernel, this package uses none. Every other setting here is torch's
    default unless the environment changes it, except two: weight gradients of small matrices are long sums that cuBLAS
    splits, and it would add the parts in bfloat16; and `torch.empty` would be filled with NaN, which costs a kernel.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")  # sums in NVSwitch have no fixed order
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch's stubs
    torch.set_float32_matmul_precision("highest")  # NVIDIA's containers set TORCH_ALLOW_TF32_CUBLAS_OVERRIDE
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
