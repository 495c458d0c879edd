"""Parts of `gpu.py` that need several processes: runs that share a GPU, and two ranks on two GPUs.

As a script it is one of these processes:

    gpu_runs.py run PROXY LENGTH DEVICE SECONDS     tokens per second of a run
    gpu_runs.py rank PROXY LENGTH DEVICE            losses of three steps, under torchrun
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory

import checkout  # noqa: F401  before anything of mixproof is imported
import gpu_claims as claims
from gpu_budget import Setting
from gpu_report import Part
from gpu_ways import request_of, step_losses
from mixproof.train.distributed import process_group
from mixproof.train.model.state import build_state
from proxies import seconds

SAME_LOSS = 1e-2
"""Largest relative difference of a loss between one rank and two, which add in another order."""
GOAL = 2.5


def measure_sharing(part: Part, *, size: str, setting: Setting) -> None:
    """Measure one run alone, then several at a time on the same device, each in a process of its own."""
    with_mps = "CUDA_MPS_PIPE_DIRECTORY" in os.environ
    alone = total_rate(1, size, setting)
    together = total_rate(setting.runs, size, setting) if setting.runs > 1 else alone
    figure = f"{together / alone:.2f} times ({alone:,.0f} and {together:,.0f} tokens/s)"
    part.add(f"{setting.runs} runs of {size} on one device{', MPS' if with_mps else ''}", figure)
    if not with_mps:
        on_cuda = setting.device == "cuda"
        part.judge(claims.SHARING, together >= GOAL * alone if on_cuda else None, figure if on_cuda else "no GPU")


def measure_sharing_with_mps(part: Part, *, size: str, setting: Setting) -> None:
    """The same through NVIDIA's Multi-Process Service, whose kernels of several processes run side by side."""
    with multi_process_service():
        measure_sharing(part, size=size, setting=setting)


@contextmanager
def multi_process_service() -> Iterator[None]:
    """Run the daemon with folders of its own, which change no setting of the device."""
    daemon = shutil.which("nvidia-cuda-mps-control")
    if daemon is None:
        raise RuntimeError("nvidia-cuda-mps-control is not in PATH")
    with TemporaryDirectory() as folder:
        os.environ.update(CUDA_MPS_PIPE_DIRECTORY=folder, CUDA_MPS_LOG_DIRECTORY=folder)
        process = subprocess.Popen([daemon, "-f"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            subprocess.run([daemon], input="quit\n", text=True, timeout=20, check=False)
            process.kill()


def total_rate(runs: int, size: str, setting: Setting) -> float:
    """Tokens per second of all runs, which start together once all of them have warmed up."""
    command = [sys.executable, __file__, "run", setting.shape_of(size), str(setting.length), setting.device]
    running = [_started([*command, str(setting.run_seconds)]) for _ in range(runs)]
    for each in running:
        assert each.stdout
        each.stdout.readline()  # it has compiled and warmed up, or it has failed
    for each in running:
        assert each.stdin
        with suppress(BrokenPipeError):  # it has failed, and its output is asked for below
            each.stdin.write("begin\n")
            each.stdin.flush()
    return sum(float(_output(each)) for each in running)


def measure_ranks(part: Part, *, size: str, setting: Setting) -> None:
    """Compare three steps of two ranks, started by torchrun, with those of one rank."""
    shape = setting.shape_of(size)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    both = _started([*command, "rank", shape, str(setting.length), setting.device])
    two = [float(loss) for loss in _output(both).split()]
    with process_group(setting.device) as ranks:
        request = request_of(shape, setting.length, setting.device)
        one = step_losses(build_state(request, ranks), request, ranks, 3)
    difference = max(abs(a - b) / a for a, b in zip(one, two, strict=True))
    part.add(f"ranks, {size}", f"losses of two ranks and of one differ by {difference:.1e}")
    part.judge(claims.RANKS, difference < SAME_LOSS, f"{difference:.1e}")


def _started(command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


def _output(process: subprocess.Popen[str]) -> str:
    """What a process prints.

    Raises:
        RuntimeError: the last line of its errors, when it failed.
    """
    output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError((errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
    return output


def as_run(proxy: str, length: int, device: str, run_seconds: float) -> None:
    """Train for some seconds after two steps, and print tokens per second of wall time."""
    with process_group(device) as ranks:
        request = request_of(proxy, length, device)
        state = build_state(request, ranks)
        step_losses(state, request, ranks, 2)
        seconds(ranks.device)
        print("ready", flush=True)
        sys.stdin.readline()  # the others are compiling, and their rates would count as shared
        start, steps = time.perf_counter(), 0
        while not steps or time.perf_counter() - start < run_seconds:
            step_losses(state, request, ranks, 1)
            steps += 1
        seconds(ranks.device)
        print(steps * request.budget.global_batch_size * length / (time.perf_counter() - start))


def as_rank(proxy: str, length: int, device: str) -> None:
    """Train three steps as one of several ranks; the first prints the losses."""
    with process_group(device) as ranks:
        request = request_of(proxy, length, device)
        losses = step_losses(build_state(request, ranks), request, ranks, 3)
        if ranks.first:
            print(*losses)


if __name__ == "__main__":
    kind, name, window, where, *rest = sys.argv[1:]
    if kind == "run":
        as_run(name, int(window), where, float(rest[0]))
    else:
        as_rank(name, int(window), where)
