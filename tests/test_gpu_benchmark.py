"""`benchmarks/gpu.py`: its plan, its parts in processes of their own, and a dry run that judges nothing about GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import environment
from gpu_budget import Setting, plan_parts, seconds_of, step_seconds
from gpu_children import Child, PartFailedError, Work
from gpu_claims import CLAIMS, SIZES
from gpu_report import Judgement, Part, Report, Row

ROOT = Path(__file__).resolve().parent.parent
H200 = 9.89e14


def test_the_gpu_script_runs_dry_on_a_cpu_and_has_a_line_for_each_claim_of_the_guide() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--dry-run"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    measured, _, judged = done.stdout.partition("\nclaim ")
    for way in ("mixproof, plain", "mixproof, compiled", "hugging face, compiled", "megatron, its own layers"):
        assert f"{way}, 62m" in measured
    lines = judged.splitlines()[1:]
    assert len(lines) == len(CLAIMS)
    verdicts = {}
    for claim, line in zip(CLAIMS, lines, strict=True):
        assert line.startswith(claim.text)
        verdict, _, reason = line[len(claim.text) :].strip().partition("  ")
        assert reason.strip()
        verdicts[claim.text] = verdict
    on_any_device = {text for text, verdict in verdicts.items() if verdict == "confirmed"}
    assert on_any_device == {
        "every installed backend agrees with the plain layers within 5%, 62m",
        "the check rejects an attention scale that is off by a tenth",
        "a resumed run is the same to the bit",
        "a run continues with another backend from the same checkpoint",
        "scores do not depend on the backend, to the bit",
    }
    assert set(verdicts.values()) == {"confirmed", "not measured"}


def test_the_guide_has_the_claims_of_the_script_in_their_order() -> None:
    guide = (ROOT / "docs" / "guides" / "train-on-gpus.md").read_text()
    table = guide.partition("## Claims\n")[2].partition("\n## ")[0].strip().splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in table] == [claim.text for claim in CLAIMS]


def test_the_seconds_of_a_part_follow_from_its_flops() -> None:
    # 62m at 2,048: 6 x 61.7 million matrix weights with the output layer, and 6 x 32 x 6 x 64 x 2,048 of attention
    flops = 6 * (32 * (384 * (384 + 256) + 384 * 384 + 3 * 384 * 1024) + 32_000 * 384) + 6 * 32 * 6 * 64 * 2048
    assert step_seconds("62m", Setting(), H200) == pytest.approx(16_384 * flops / (H200 * 0.12))
    assert seconds_of("memory", "62m", Setting(), H200) == pytest.approx(8 + 5 + 2 * 16_384 * flops / (H200 * 0.12))
    slow = seconds_of("speeds", "350m", Setting(), 7e13)
    assert slow > 5 * seconds_of("speeds", "350m", Setting(), H200)


def test_everything_fits_into_nine_minutes_of_an_h200_and_what_does_not_fit_elsewhere_is_left_out_by_name() -> None:
    parts = plan_parts(Setting(), SIZES, 540, peak=H200, gpus=1, mps=False)
    assert sum(part.seconds for part in parts if not part.left_out) < 540
    left_out = {part.name: part.left_out for part in parts if part.left_out}
    assert left_out == {"ranks, 62m": "needs two GPUs, found 1", "sharing with MPS, 62m": "needs --mps"}
    assert {claim.part for claim in CLAIMS} <= {part.name for part in parts}
    slow = plan_parts(Setting(), SIZES, 300, peak=7e13, gpus=1, mps=False)
    assert sum(part.seconds for part in slow if not part.left_out) < 300
    (reason,) = [part.left_out for part in slow if part.name == "speeds, 350m"]
    assert reason.startswith("needs about ") and reason.endswith(" s are left of the budget")
    small = plan_parts(Setting(), ["62m"], 540, peak=H200, gpus=2, mps=True)
    assert {part.left_out for part in small if part.size == "350m"} == {"350m was not requested"}
    assert all(not part.left_out for part in small if part.size == "62m")


def test_a_part_that_crashes_hangs_or_raises_keeps_what_it_found() -> None:
    def crash() -> Work:
        def work(part: Part) -> None:
            part.add("before", "1")
            os.kill(os.getpid(), signal.SIGKILL)

        return work

    def hang() -> Work:
        def work(part: Part) -> None:
            part.judge("a claim", True, "2")
            time.sleep(60)

        return work

    def out_of_memory() -> Work:
        raise MemoryError("CUDA out of memory\nmore")

    for prepare, found, reason in (
        (crash, Row("before", "1"), "crashed: SIGKILL"),
        (hang, Judgement("a claim", "confirmed", "2"), "not done after 1 s, ended"),
        (out_of_memory, None, "MemoryError: CUDA out of memory"),
    ):
        report = Report()
        with pytest.raises(PartFailedError) as failure:
            report.take(Child(prepare).findings(1.0 if prepare is hang else 20.0))
        assert str(failure.value) == reason
        kept = [*report.rows, *report.judgements.values()]
        assert kept == ([found] if found else [])


def test_claims_of_a_failed_part_are_not_measured_for_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    first, second, third = (claim for claim in CLAIMS if claim.part == "resume, 62m")
    report.take([Judgement(first.text, "confirmed", "2 + 2 steps"), Judgement(second.text, "refuted", "4%")])
    report.miss("resume, 62m", "crashed: SIGSEGV", failed=True)
    assert report.finish() == 1
    lines = capsys.readouterr().out.splitlines()
    of_claim = {claim.text: line for claim in CLAIMS for line in lines if line.startswith(claim.text)}
    assert of_claim[first.text].endswith("confirmed     2 + 2 steps")
    assert of_claim[second.text].endswith("refuted       4%")
    assert of_claim[third.text].endswith("not measured  crashed: SIGSEGV")
    assert lines[-1] == "failed: resume, 62m"
    untouched = Report()
    assert untouched.finish() == 0
