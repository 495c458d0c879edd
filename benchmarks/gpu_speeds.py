"""Speeds of `gpu.py`: all ways to train a proxy in turns, and CUDA graphs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import torch
from torch import Tensor

import gpu_claims as claims
from gpu_budget import Setting
from gpu_report import Part
from gpu_ways import GRAPHS, PEER, graph_ways, training_ways
from mixproof.train.distributed import Ranks, process_group
from mixproof.train.loop.throughput import peak_flops
from mixproof.train.model.layer_backend import COMPILED
from mixproof.train.proxies import PROXIES, flops_per_token
from proxies import VOCAB_SIZE, Speeds, Step, seconds


def measure_speeds(part: Part, *, size: str, setting: Setting) -> None:
    """Measure every way to train this proxy; rows and verdicts are reported after each round."""
    with process_group(setting.device) as ranks:
        batch = random_batch(setting, ranks)
        ways = {}
        for name, make in training_ways(setting.shape_of(size), setting.length, ranks).items():
            with part.attempt(f"{name}, {size}"):
                begin, step = time.perf_counter(), make()
                step(*batch)
                step(*batch)
                ways[name] = step
                part.add(f"{name}, {size}", f"ready after {time.perf_counter() - begin:.0f} s")
        speeds: Speeds = {name: [] for name in ways}
        for number in range(setting.rounds):
            measure_round(ways, speeds, number, batch, setting, ranks)
            report_speeds(part, speeds, size, setting, ranks)
        judge_speeds(part, speeds, size, setting, ranks)


def random_batch(setting: Setting, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Tokens and labels of a step, [samples, length] each."""
    shape = (setting.tokens // setting.length, setting.length + 1)
    ids = torch.randint(VOCAB_SIZE, shape, generator=torch.Generator().manual_seed(1))
    return ids[:, :-1].contiguous().to(ranks.device), ids[:, 1:].contiguous().to(ranks.device)


def measure_round(
    ways: Mapping[str, Step], speeds: Speeds, number: int, batch: tuple[Tensor, Tensor], setting: Setting, ranks: Ranks
) -> None:
    """Append the speed of each way, one after the other, in every other round in the opposite order."""
    for name in list(ways) if number % 2 == 0 else list(ways)[::-1]:
        ways[name](*batch)  # its weights lay idle
        begin = seconds(ranks.device)
        for _ in range(setting.steps):
            ways[name](*batch)
        speeds[name].append(setting.steps * batch[0].numel() / (seconds(ranks.device) - begin))


def report_speeds(part: Part, speeds: Speeds, size: str, setting: Setting, ranks: Ranks) -> None:
    """Report the median of each way so far, and judge by it: a part that is ended later keeps this."""
    peak = peak_of(ranks)
    flops = flops_per_token(PROXIES[setting.shape_of(size)], VOCAB_SIZE, setting.length)
    for name, each in speeds.items():
        speed = statistics.median(each)
        mfu = f", MFU {speed * flops / peak:.1%}" if peak else ""
        part.add(f"{name}, {size}", f"{speed:,.0f} tokens/s{mfu}, {len(each)} of {setting.rounds} rounds")
    if ranks.device.type == "cuda":
        judge_speeds(part, speeds, size, setting, ranks)


def peak_of(ranks: Ranks) -> float | None:
    """FLOPs per second of the device in bfloat16; None if they are not known."""
    return peak_flops(torch.cuda.get_device_name(ranks.device)) if ranks.device.type == "cuda" else None


def judge_speeds(part: Part, speeds: Speeds, size: str, setting: Setting, ranks: Ranks) -> None:
    """Compare the fastest of mixproof's backends with the peer and with the goal of MFU."""
    median = {name: statistics.median(each) for name, each in speeds.items()}
    ours = max((name for name in median if name.startswith("mixproof")), key=lambda name: median[name])
    on_cuda = ranks.device.type == "cuda"
    if not on_cuda or PEER not in median:
        part.judge(claims.ahead_of_peer(size), None, f"{PEER} has no speed, see its row" if on_cuda else "no GPU")
    else:
        ratio = median[ours] / median[PEER]
        part.judge(claims.ahead_of_peer(size), ratio > 1, f"{ratio:.2f} times, {ours}")
    if size == "350m":
        peak, flops = peak_of(ranks), flops_per_token(PROXIES[setting.shape_of(size)], VOCAB_SIZE, setting.length)
        mfu = median[ours] * flops / peak if peak else None
        part.judge(
            claims.UTILIZATION,
            None if mfu is None else mfu >= 0.4,
            ("no GPU" if not on_cuda else "the device's peak is not known") if mfu is None else f"{mfu:.1%}, {ours}",
        )
    if size == "62m":
        ratio = median.get(f"mixproof, {COMPILED}", 0) / median["mixproof, plain"]
        figure = f"{ratio:.2f} times" if ratio else "no usable Triton, see its row"
        part.judge(claims.COMPILED_FASTER, ratio > 1 if ratio and on_cuda else None, figure if on_cuda else "no GPU")


def measure_graphs(part: Part, *, size: str, setting: Setting) -> None:
    """Measure the best backend with its forward and backward pass as one CUDA graph, and without."""
    if setting.device == "cpu":
        part.add(f"graphs, {size}", "no GPU")
        return
    with process_group(setting.device) as ranks:
        batch = random_batch(setting, ranks)
        ways = {name: make() for name, make in graph_ways(setting.shape_of(size), setting.length, ranks).items()}
        speeds: Speeds = {name: [] for name in ways}
        for number in range(setting.rounds + 1):
            measure_round(ways, speeds, number, batch, setting, ranks)
    with_graph, without = (
        statistics.median(each[1:])
        for name, each in sorted(speeds.items(), key=lambda item: not item[0].endswith(GRAPHS))
    )
    part.add(
        f"graphs, {size}", f"{with_graph / without:.2f} times as fast ({without:,.0f} and {with_graph:,.0f} tokens/s)"
    )
