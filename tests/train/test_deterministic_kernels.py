"""Resumption to the bit on a GPU, as far as a CPU can tell: all operations of a run have deterministic kernels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mixproof.train.distributed import use_deterministic_kernels
from mixproof.train.loop.run import train_run
from mixproof.train.request import RunRequest

NONE_ON_CUDA = {"put_", "histc", "bincount", "median", "kthvalue", "nll_loss2d_forward", "ctc_loss"}
"""Operations without a deterministic kernel on CUDA, of those that a language model could use; `cumsum` of floats has
none either. From the documentation of `torch.use_deterministic_algorithms`."""


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types half of it
    """Notes every operation, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[tuple[str, bool]] = set()

    def __torch_dispatch__(
        self,
        function: Any,  # noqa: ANN401  as torch calls it
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        self.seen.add((function.overloadpacket.__name__, first is not None and first.is_floating_point()))
        return function(*args, **(kwargs or {}))


def test_a_run_uses_no_operation_without_a_deterministic_kernel(make_request: Callable[..., RunRequest]) -> None:
    with Operations() as operations:
        train_run(make_request())
    names = {name for name, _ in operations.seen}
    assert {"embedding_dense_backward", "scatter_add_", "_fused_adamw_"} <= names  # the whole step was seen
    assert not names & NONE_ON_CUDA
    assert ("cumsum", True) not in operations.seen


@pytest.fixture
def torch_settings() -> Iterator[None]:
    """Restore what the test changes for the whole process."""
    matmul: Any = torch.backends.cuda.matmul
    deterministic: Any = torch.utils.deterministic
    before = torch.get_float32_matmul_precision(), matmul.allow_bf16_reduced_precision_reduction
    filled = deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision(before[0])
    matmul.allow_bf16_reduced_precision_reduction = before[1]
    deterministic.fill_uninitialized_memory = filled


@pytest.mark.usefixtures("torch_settings")
def test_only_deterministic_kernels_are_allowed_and_float32_is_not_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NCCL_NVLS_ENABLE", raising=False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.set_float32_matmul_precision("high")  # as NVIDIA's containers do
    use_deterministic_kernels()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()  # attention would not be deterministic
    assert torch.get_float32_matmul_precision() == "highest"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # the user's own
    assert os.environ["NCCL_NVLS_ENABLE"] == "0"
