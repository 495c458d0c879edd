"""Everything that `docs/guides/train-on-gpus.md` claims, checked and measured on one GPU machine in about ten minutes.

    python benchmarks/gpu.py [--dry-run] [--minutes 9] [--proxies 62m 350m] [--sequence-length 2048] [--rounds 5]

It needs no network and no data: token ids are random. First the checks: layer backends against the plain layers in
bfloat16 and float32, a run resumed from a checkpoint to the bit, two ranks against one if there are two GPUs, memory
against the estimate. Then speeds, all ways in turns: mixproof's backends, with and without CUDA graphs,
LlamaForCausalLM compiled whole, Megatron's own layers; and four runs that share a GPU against one. It ends with a
table and a verdict for each claim. What fails with an error is a row, not the end. After `--minutes`, no part begins,
and its claims are not measured. Exit code 1: a claim does not hold.

It runs from a bare checkout. Beside torch and transformers it imports megatron-core, pydantic (with pydantic-core,
annotated-types and typing-inspection), numpy and packaging; transformer-engine is used if it is installed.

`--dry-run` takes every path that a CPU has, at the size of `nano`, and judges no speed.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from megatron.core.extensions.transformer_engine import HAVE_TE
from torch import Tensor

import checkout  # noqa: F401  before anything of mixproof is imported
from gpu_report import Report
from gpu_ways import GRAPHS, request_of, step_losses, training_ways
from mixproof.train.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from mixproof.train.distributed import Ranks, process_group
from mixproof.train.loop.throughput import memory_bytes, peak_flops
from mixproof.train.model.backend_check import (
    MAX_DIFFERENCE,
    gradients,
    relative_difference,
    seeded_batch,
    seeded_model,
)
from mixproof.train.model.layer_backend import available_backends
from mixproof.train.model.micro_batch import step_plan
from mixproof.train.model.state import build_state
from mixproof.train.ownership import Ownership
from mixproof.train.proxies import PROXIES, flops_per_token, memory_of
from proxies import VOCAB_SIZE, measure, seconds

RUNS = 4
SECONDS_OF_RUN = 20.0
PATIENCE_SECONDS = 180
"""For processes of their own, which compile first."""
STEPS_PER_TURN = 10
"""On a GPU, where one step may take 20 ms."""
WORK = "--as-run"
RANK = "--as-rank"
BF16_ROUNDING = (0.002, 0.03)
"""The largest difference of two correct backends is between these in bfloat16 (the guide: 1.1% to 1.3% on CPUs)."""


def check_backends(report: Report, proxy: str, length: int, ranks: Ranks) -> None:
    """Compare every backend that is installed with the plain layers, in both dtypes."""
    request = request_of(proxy, length, ranks.device.type)
    backends, _ = available_backends(request, ranks)
    on_cuda = ranks.device.type == "cuda"
    if not on_cuda:
        report.judge("backends agree with plain layers in bfloat16", None, "no GPU")
    for in_bfloat16 in (True, False) if on_cuda else (False,):
        dtype = "bfloat16" if in_bfloat16 else "float32"
        for backend in backends:
            name = f"{backend.name} agrees with plain layers, {proxy}, {dtype}"
            with report.attempt(name):
                plan = step_plan(request, ranks)
                batch = seeded_batch(VOCAB_SIZE, plan, ranks.device)
                model = seeded_model(request, ranks.device)
                plain = gradients(model, model, batch, plan, in_bfloat16)
                other = gradients(backend.wrap(model), model, batch, plan, in_bfloat16)
                worst = max(relative_difference(plain[each], other[each]) for each in plain)
                report.add(name, f"largest difference of a gradient {worst:.2%}")
                report.judge(name, worst <= MAX_DIFFERENCE, f"{worst:.2%}, limit {MAX_DIFFERENCE:.0%}")
                if in_bfloat16:
                    low, high = BF16_ROUNDING
                    claim = f"rounding to bfloat16 alone is about 1%, {backend.name}, {proxy}"
                    report.judge(claim, low <= worst <= high, f"{worst:.2%}")
    if not HAVE_TE:
        report.judge("Transformer Engine's layers agree with plain layers", None, "transformer-engine is not installed")


def check_resume(report: Report, proxy: str, length: int, ranks: Ranks, steps: int) -> None:
    """Train, save half-way, load into a fresh state and train on: the weights must be the same to the bit."""
    name = f"a resumed run is bit-identical, {proxy}"
    with report.attempt(name), tempfile.TemporaryDirectory() as folder:
        request = request_of(proxy, length, ranks.device.type)
        whole = build_state(request, ranks)
        ownership = Ownership(Path(folder))
        ownership.take()
        step_losses(whole, request, ranks, steps)
        saved = save_checkpoint(Path(folder), whole, ranks, ownership)
        expected = step_losses(whole, request, ranks, steps)
        resumed = build_state(request, ranks)
        load_checkpoint(saved, resumed, ranks)
        found = step_losses(resumed, request, ranks, steps)
        pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
        same = expected == found and all(torch.equal(one, other) for one, other in pairs)
        report.add(name, f"layers {whole.layers.backend}, losses {expected[-1]:.6f} and {found[-1]:.6f}")
        report.judge(name, same, f"{steps} + {steps} steps, {whole.layers.backend}")


def check_ranks(report: Report, proxy: str, length: int, ranks: Ranks) -> None:
    """Compare a step of two ranks, started by torchrun, with that of one rank."""
    name = f"two ranks agree with one, {proxy}"
    if torch.cuda.device_count() < 2:
        report.judge(name, None, f"{torch.cuda.device_count()} GPUs")
        return
    with report.attempt(name):
        state = build_state(request_of(proxy, length, ranks.device.type), ranks)
        one = step_losses(state, request_of(proxy, length, ranks.device.type), ranks, 3)
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", __file__, RANK, proxy]
        both = [_started([*command, str(length)])]
        with _patience(both):
            two = [float(each) for each in _outputs(both)[0].split()]
        difference = max(abs(a - b) / a for a, b in zip(one, two, strict=True))
        report.add(name, f"largest difference of a loss {difference:.2e}")
        report.judge(name, difference < 1e-2, f"{difference:.2e}")


def check_memory(report: Report, proxy: str, length: int, ranks: Ranks) -> None:
    """Compare the peak memory of a few steps with the estimate of `plan`."""
    name = f"memory is within 25% of the estimate, {proxy}"
    if ranks.device.type != "cuda":
        report.judge(name, None, "no GPU")
        return
    with report.attempt(name):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        request = request_of(proxy, length, "cuda")
        step_losses(build_state(request, ranks), request, ranks, 2)
        samples = step_plan(request, ranks).micro_batch_size
        expected = memory_of(PROXIES[proxy], VOCAB_SIZE, length, micro_batch_size=samples, activation_width=2).training
        found = memory_bytes(ranks.device)
        figure = f"{found / 1e9:.2f} GB, estimate {expected / 1e9:.2f} GB"
        report.add(name, figure)
        report.judge(name, abs(found - expected) <= 0.25 * expected, figure)


def measure_speeds(report: Report, proxy: str, length: int, samples: int, rounds: int, ranks: Ranks) -> None:
    """Measure every way to train this proxy in turns."""
    ids = torch.randint(VOCAB_SIZE, (samples, length + 1), generator=torch.Generator().manual_seed(1))
    batch = ids[:, :-1].contiguous().to(ranks.device), ids[:, 1:].contiguous().to(ranks.device)
    ways: dict[str, Callable[[Tensor, Tensor], float]] = {}
    made = training_ways(proxy, length, ranks)
    for name, make in sorted(made.items(), key=lambda way: way[0].endswith(GRAPHS)):  # graphs hold memory: last
        with report.attempt(f"{name}, {proxy}"):
            ways[name] = make()
            ways[name](*batch)
    on_cuda = ranks.device.type == "cuda"
    steps = STEPS_PER_TURN if on_cuda else 1
    measured = measure(ways, rounds, batch, ranks.device, steps)
    speeds = {name: statistics.median(each) for name, each in measured.items()}
    peak = peak_flops(torch.cuda.get_device_name()) if on_cuda else None
    flops = flops_per_token(PROXIES[proxy], VOCAB_SIZE, length)
    for name, speed in speeds.items():
        mfu = f", MFU {speed * flops / peak:.1%}" if peak else ""
        report.add(f"{name}, {proxy}", f"{speed:,.0f} tokens/s{mfu}")
    ours = max((name for name in speeds if name.startswith("mixproof")), key=lambda name: speeds[name])
    peer = "hugging face, compiled"
    ratio = speeds[ours] / speeds[peer] if peer in speeds else None
    claim = f"ahead of compiled LlamaForCausalLM, {proxy}"
    missing = "no GPU" if not on_cuda else f"{peer}: no speed, see above"
    if on_cuda and ratio:
        report.judge(claim, ratio > 1, f"{ratio:.2f} times")
    else:
        report.judge(claim, None, missing)
    if proxy == "350m":
        mfu_of = speeds[ours] * flops / peak if peak else None
        figure = "no GPU, or its peak is not known" if mfu_of is None else f"{mfu_of:.1%}, {ours}"
        report.judge("at least 40% MFU, 350m", None if mfu_of is None else mfu_of >= 0.4, figure)
    graphed = [name for name in speeds if name.endswith(GRAPHS)]
    for name in (name for name in graphed if name.removesuffix(GRAPHS) in speeds):
        gain = speeds[name] / speeds[name.removesuffix(GRAPHS)]
        report.add(f"{name} against without", f"{gain:.2f} times as fast")


def measure_sharing(report: Report, proxy: str, length: int, runs: int, run_seconds: float, ranks: Ranks) -> None:
    """Measure one run alone, then several at a time on the same device, each in a process of its own."""
    name = f"{RUNS} runs of {proxy} on one GPU are at least 2.5 times one run's rate"
    with report.attempt(name):
        command = [sys.executable, __file__, WORK, proxy, str(length), str(run_seconds)]

        def rate(number: int) -> float:
            running = [_started(command) for _ in range(number)]
            with _patience(running):
                for each in running:
                    assert each.stdout
                    each.stdout.readline()  # it has compiled and warmed up, or it has failed
                return sum(float(output) for output in _outputs(running, "start\n"))

        alone = rate(1)
        together = rate(runs) if runs > 1 else alone
        figure = f"{together / alone:.2f} times ({alone:,.0f} and {together:,.0f} tokens/s)"
        report.add(f"{runs} runs of {proxy} on one device", figure)
        on_cuda = ranks.device.type == "cuda"
        report.judge(name, together >= 2.5 * alone if on_cuda else None, figure if on_cuda else "no GPU")


def _started(command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)


@contextmanager
def _patience(processes: list[subprocess.Popen[str]]) -> Iterator[None]:
    """End processes, with what they started, that take too long, so that a hang costs one row and not the table."""

    def end() -> None:
        for each in processes:
            with suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)

    timer = threading.Timer(PATIENCE_SECONDS, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        end()


def _outputs(processes: list[subprocess.Popen[str]], start: str = "") -> list[str]:
    """What processes print; the last line of its errors if one fails. All are told to start before one is awaited."""
    for each in processes:
        assert each.stdin
        with suppress(BrokenPipeError):  # it has failed, and says so below
            each.stdin.write(start)
            each.stdin.flush()
    ended = [(*each.communicate(), each.returncode) for each in processes]
    for _, errors, code in ended:
        if code:
            hung = f"no result in {PATIENCE_SECONDS} s" if code == -signal.SIGKILL else f"exit code {code}"
            raise RuntimeError(hung if code < 0 else (errors.strip().splitlines() or [hung])[-1])
    return [output for output, _, _ in ended]


def as_run(proxy: str, length: int, run_seconds: float) -> None:
    """Train for some seconds after two steps, and print tokens per second of wall time."""
    with process_group() as ranks:
        request = request_of(proxy, length, ranks.device.type)
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


def as_rank(proxy: str, length: int) -> None:
    """Train three steps as one of several ranks; the first prints the losses."""
    with process_group() as ranks:
        request = request_of(proxy, length, ranks.device.type)
        losses = step_losses(build_state(request, ranks), request, ranks, 3)
        if ranks.first:
            print(*losses)


def main() -> int:
    """Check, measure, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--proxies", nargs="+", default=["62m", "350m"], choices=sorted(PROXIES))
    parser.add_argument("--sequence-length", type=int, default=2048)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if not given.dry_run and not torch.cuda.is_available():
        parser.error("no GPU is visible to PyTorch; --dry-run checks the script on a CPU")
    proxies, length = (["nano"], 64) if given.dry_run else (given.proxies, given.sequence_length)
    rounds, runs, run_seconds = (1, 1, 0.0) if given.dry_run else (given.rounds, RUNS, SECONDS_OF_RUN)
    if given.dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(1)
    report = Report(seconds=60 * given.minutes)
    with process_group("cpu" if given.dry_run else "cuda") as ranks:
        device = torch.cuda.get_device_name() if ranks.device.type == "cuda" else "CPU, nothing about GPUs is measured"
        report.add("device", device)
        report.add("versions", f"torch {torch.__version__}, Transformer Engine {'yes' if HAVE_TE else 'no'}")
        for proxy in proxies:
            if report.has_time(f"checks, {proxy}"):
                check_backends(report, proxy, length, ranks)
                check_resume(report, proxy, length, ranks, steps=2)
                check_ranks(report, proxy, length, ranks)
                check_memory(report, proxy, length, ranks)
            name = f"speeds, {proxy}"
            with report.attempt(name):
                samples = 1 if given.dry_run else step_plan(request_of(proxy, length, "cuda"), ranks).micro_batch_size
                if report.has_time(name):
                    measure_speeds(report, proxy, length, samples, rounds, ranks)
            torch.cuda.empty_cache()
    if report.has_time("runs that share a GPU"):
        measure_sharing(report, proxies[0], length, runs, run_seconds, ranks)
    return report.finish()


if __name__ == "__main__":
    if WORK in sys.argv[1:2]:
        as_run(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    elif RANK in sys.argv[1:2]:
        as_rank(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main())
