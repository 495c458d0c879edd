"""`benchmarks/gpu.py --dry-run` takes every path that a CPU has and judges nothing about GPUs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import environment

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu.py"


def test_the_gpu_script_runs_dry_on_a_cpu_and_says_what_it_did_not_measure() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--dry-run"], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    measured, _, judged = done.stdout.partition("\nclaim ")
    for way in ("mixproof, plain", "mixproof, compiled", "hugging face, compiled", "megatron, its own layers"):
        assert f"{way}, nano" in measured
    verdicts = {line[:70].rstrip(): line[70:].split("  ")[0].strip() for line in judged.splitlines()[1:]}
    assert verdicts["compiled agrees with plain layers, nano, float32"] == "holds"
    assert verdicts["a resumed run is bit-identical, nano"] == "holds"
    speeds = [claim for claim in verdicts if "ahead of" in claim or "runs of" in claim or "memory" in claim]
    assert len(speeds) == 3
    assert {verdicts[claim] for claim in speeds} == {"not measured"}
    assert "does not hold" not in verdicts.values()
