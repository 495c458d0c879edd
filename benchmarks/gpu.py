"""Everything that `docs/guides/train-on-gpus.md` claims, checked and measured on one GPU machine in about ten minutes.

    python benchmarks/gpu.py [--dry-run] [--minutes 9] [--sizes 62m 350m] [--sequence-length 2048] [--rounds 3] [--mps]

It needs no network and no data: token ids are random. First it prints what it will do, and how long each part should
take by its FLOPs; what does not fit into `--minutes` is left out by name. Then, for proxies `62m` and `350m`: layer
backends against the plain layers in bfloat16 and float32, resumption to the bit, two ranks against one if there are
two GPUs, memory against the estimate, and the speed of all ways to train in turns: mixproof's backends,
LlamaForCausalLM compiled whole, Megatron's own layers. Last, runs that share a GPU, and CUDA graphs. Every part has a
process of its own, so a crash, a hang or memory that runs out costs that part alone. It ends with a line for each claim
of the guide: confirmed, refuted, or not measured and why. Exit code 1: a claim is refuted, or a part failed.

It runs from a bare checkout. Beside torch and transformers it imports megatron-core, pydantic (with pydantic-core,
annotated-types and typing-inspection), numpy and packaging; transformer-engine is used if it is installed.

`--mps` also shares the GPU through NVIDIA's Multi-Process Service, whose daemon it starts for that part.
`--dry-run` takes every path that a CPU has, with `nano` in place of `62m`; nothing about GPUs is measured.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from functools import partial
from importlib.util import find_spec

import checkout  # noqa: F401  before anything of mixproof is imported
from gpu_budget import PlannedPart, Setting, plan_parts
from gpu_children import Child, PartFailedError, Work
from gpu_claims import SIZES
from gpu_report import Report, Row

DRY_RUN = Setting(device="cpu", length=64, tokens=128, rounds=1, steps=1, runs=1, run_seconds=0.0, shape="nano")
MACHINE_SECONDS = 60.0


def prepare(kind: str, size: str, setting: Setting) -> Work:
    """Import what a part needs; returns its work."""
    from gpu_parts import WORKS

    return partial(WORKS[kind], size=size, setting=setting)


def describe(report: Report, setting: Setting) -> tuple[float | None, int]:
    """Report device and versions; returns the peak FLOPs per second of a GPU if it is known, and the number of GPUs."""
    found = list(Child(partial(prepare, "machine", "", setting)).findings(MACHINE_SECONDS))
    facts = dict(one for one in found if isinstance(one, Row))
    report.take(found)
    peak = facts["peak, dense bfloat16"].removesuffix(" FLOP/s")
    return float(peak) if peak[0].isdigit() else None, int(facts["GPUs"])


def run_parts(report: Report, parts: list[PlannedPart], setting: Setting, budget_seconds: float) -> None:
    """Run each part that is planned, while there is time; the next one imports meanwhile."""
    running = [part for part in parts if not part.left_out]
    start = [partial(Child, partial(prepare, part.kind, part.size, setting)) for part in running]
    ahead = [start[0]()] if start else []
    try:
        for number, part in enumerate(running):
            child = ahead.pop()
            ahead.extend(begin() for begin in start[number + 1 : number + 2])
            run_part(report, part, child, budget_seconds - report.seconds)
    finally:
        for child in ahead:
            child.end()


def run_part(report: Report, part: PlannedPart, child: Child, left_seconds: float) -> None:
    """Run a part, if what is left suffices for it."""
    if part.seconds > left_seconds:
        child.end()
        reason = f"needs about {part.seconds:.0f} s, {max(left_seconds, 0):.0f} s are left"
        report.miss(part.name, reason, failed=False)
        return
    begin = report.seconds
    try:
        report.take(child.findings(min(part.limit, left_seconds)))
    except PartFailedError as error:
        report.miss(part.name, str(error), failed=True)
    report.take([Row(part.name, f"took {report.seconds - begin:.0f} s of {part.seconds:.0f} s expected")])


def main() -> int:
    """Plan, run the parts, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--sequence-length", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mps", action="store_true")
    given = parser.parse_args()
    setting = DRY_RUN if given.dry_run else Setting(length=given.sequence_length, rounds=given.rounds)
    if given.dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends the script gets the table
    report = Report()
    try:
        if find_spec("transformer_engine") is None:
            import gpu_parts  # noqa: F401  once, for all parts; Transformer Engine may use CUDA as it is imported
        peak, gpus = describe(report, setting)
        sizes = ["62m"] if given.dry_run else given.sizes
        parts = plan_parts(setting, sizes, 60 * given.minutes, peak=peak, gpus=gpus, mps=given.mps)
        for part in parts:
            if part.left_out:
                report.miss(part.name, part.left_out, failed=False)
            else:
                report.take([Row(part.name, f"planned, about {part.seconds:.0f} s")])
        run_parts(report, parts, setting, 60 * given.minutes)
    except PartFailedError as error:
        parser.error(f"no GPU can be used: {error}; --dry-run checks the script on a CPU")
    except KeyboardInterrupt:
        report.failed.append("interrupted")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
