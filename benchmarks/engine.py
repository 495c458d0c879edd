"""Ray's share of a build: the same build with Ray and with a plain process pool, in turns.

    python benchmarks/engine.py SPEC [--rounds 3] [--workers 2] [--work DIRECTORY]

Each round builds the spec twice into an empty store: one process calls the functions of the stages through Ray, as
`mixproof build` does, the other through `concurrent.futures`. Reported are CPU seconds of all processes, wall time, and
the median of the rounds' ratios. Both must give the same build.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from command_cost import ProcessUse
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.tokenize.build import build


class Pool(Cluster):
    """Runs calls in a pool of processes that starts when it is made, without Ray."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers=workers)
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[object, ...]], **options: Any) -> list[Any]:  # noqa: ANN401
        """Call `function` for each of `calls`; results in their order."""
        futures = [self._pool.submit(function, *call) for call in calls]
        return [future.result() for future in futures]

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


@dataclass(frozen=True)
class Cost:
    """What one build took, and its id."""

    cpu_seconds: float
    wall_seconds: float
    build: str


def measure(engine: str, spec: Path, workers: int, work: Path | None) -> Cost:
    """Build once in a new process, and wait for every process that it leaves behind.

    Raises:
        SystemExit: when it fails.
    """
    with tempfile.TemporaryDirectory(dir=work) as store:
        command = [sys.executable, __file__, "--build", engine, str(spec), store, str(workers)]
        start = time.monotonic()
        with ProcessUse() as cpu:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall = time.monotonic() - start
    if done.returncode:
        sys.exit(done.stderr)
    return Cost(cpu.seconds, wall, done.stdout.strip())


def build_once(engine: str, spec: str, store: str, workers: str) -> None:
    """Build with one engine and print the build's id."""
    loaded = load_spec(Path(spec))
    if engine == "pool":
        pool = Pool(int(workers))
        result = build(loaded, Store(store), pool)
        pool.close()
    else:
        with Cluster(workers=int(workers)) as cluster:
            result = build(loaded, Store(store), cluster)
    print(result.manifest.build)


def main() -> None:
    """Measure and print a table."""
    if sys.argv[1:2] == ["--build"]:
        build_once(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    loaded = load_spec(given.spec)
    size = sum(file.bytes for files in find_files(loaded.spec, loaded.base).values() for file in files)
    print(f"{len(loaded.spec.sources)} sources, {size / 1e6:.1f} MB of files", flush=True)
    costs: dict[str, list[Cost]] = {"ray": [], "pool": []}
    for number in range(given.rounds):
        for engine in ("ray", "pool") if number % 2 else ("pool", "ray"):
            cost = measure(engine, given.spec, given.workers, given.work)
            costs[engine].append(cost)
            print(
                f"{engine:<5} {cost.cpu_seconds:7.1f} CPU s {cost.wall_seconds:7.1f} s wall  {cost.build[:12]}  "
                f"load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    if len({cost.build for each in costs.values() for cost in each}) > 1:
        sys.exit("the engines gave different builds")
    pairs = list(zip(costs["ray"], costs["pool"], strict=True))
    cpu = statistics.median(ray.cpu_seconds / pool.cpu_seconds for ray, pool in pairs)
    wall = statistics.median(ray.wall_seconds / pool.wall_seconds for ray, pool in pairs)
    print(f"Ray takes {cpu:.2f} times the pool's CPU seconds and {wall:.2f} times its wall time")


if __name__ == "__main__":
    main()
