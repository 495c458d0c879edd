"""One trial: a command on a cluster in a box, faults at random moments, and the same command until it succeeds."""

from __future__ import annotations

import random
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from cluster.box import Box
from cluster.faults import FAULTS_OF_JOBS, Strike, heal
from cluster.workload import Workload, answer, lasting
from mixproof.ledger.store import Store

COMMANDS = 2
"""How often the same command is run at most, in addition to once per fault."""
REACTIONS = {
    "another node tried": "runs again on another node",
    "more memory": "runs again with more memory",
    "node left out": "is faulty and gets no more calls",
    "silent node": "no task runs within",
}
"""What a command says when it reacts to a fault, by a short name."""


@dataclass(frozen=True)
class Expected:
    """What one machine without faults makes: files by name, and what the command says."""

    files: Mapping[str, bytes]
    said: Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """What happened."""

    workload: str
    faults: tuple[str, ...]
    """The faults that struck, each with the second of its command."""
    codes: tuple[int | None, ...]
    """Exit codes of the commands; None: the command hung."""
    seconds: float
    problems: tuple[str, ...]
    errors: tuple[str, ...]
    """What the commands that failed said."""
    reactions: Mapping[str, int]
    """How often commands said that they react to a fault, by the names of REACTIONS."""

    def __str__(self) -> str:
        codes = ", ".join("hung" if code is None else str(code) for code in self.codes)
        outcome = "; ".join(self.problems) or "same bytes"
        said = "".join(f"\n        {error}" for error in self.errors)
        reacted = "".join(f", {name} {times}x" for name, times in self.reactions.items() if times)
        faults = ", ".join(self.faults) or "no fault"
        return f"{self.workload}: {faults}: exit {codes}, {self.seconds:.0f} s{reacted}: {outcome}{said}"


def run_trial(
    box: Box,
    workload: Workload,
    spec: Path,
    bucket: str,
    expected: Expected,
    faults: Sequence[str],
    dice: random.Random,
    span: float | None = None,
) -> Trial:
    """Run a command with a new store while faults strike, then compare the store's bytes and what the command said.

    When a command ends, the faults that have not struck strike the next one. They strike within `span` seconds, or as
    many as the workload says.
    """
    url = f"{bucket}/{uuid.uuid4().hex}"
    queue = sorted((dice.uniform(0, span or workload.span_seconds), fault) for fault in faults)
    struck: list[str] = []
    codes: list[int | None] = []
    problems: list[str] = []
    errors: list[str] = []
    log = ""
    started = time.monotonic()
    for _ in range(COMMANDS + len(faults)):
        command = workload.start(box, spec, url)
        striker = Thread(target=_strike, args=(Strike(box, command, dice), queue, struck))
        striker.start()
        output, said = _finish(command, workload)
        striker.join()
        log += said
        codes.append(command.returncode if output is not None else None)
        if output is None:
            problems.append(f"the command did not end within {workload.hang_seconds:.0f} s")
        if "Traceback" in said:
            problems.append(f"a traceback: {said[-1500:]}")
        if command.returncode in workload.codes and output is not None:
            problems += _differences(answer(output), workload.results(Store(url)), expected)
            break
        errors.append(" ".join(said[-300:].split()))
        heal(box)
    else:
        problems.append(f"the same command failed {len(codes)} times: {said[-1500:]}")
    heal(box)
    reactions = {name: " ".join(log.split()).count(phrase) for name, phrase in REACTIONS.items()}
    seconds = time.monotonic() - started
    return Trial(workload.name, tuple(struck), tuple(codes), seconds, tuple(problems), tuple(errors), reactions)


def _strike(at: Strike, queue: list[tuple[float, str]], struck: list[str]) -> None:
    """Let the faults of a queue strike at their seconds, until the command ends."""
    started = time.monotonic()
    while queue:
        after, fault = queue[0]
        while time.monotonic() < started + after:
            if at.command.poll() is not None:
                return
            time.sleep(0.05)
        del queue[0]
        struck.append(f"{fault} at {after:.1f} s")
        FAULTS_OF_JOBS[fault](at)


def _finish(command: subprocess.Popen[str], workload: Workload) -> tuple[str | None, str]:
    """Output of a command, or None if it hung, and what mixproof said to people; a job says it in its output."""
    try:
        output, errors = command.communicate(timeout=workload.hang_seconds)
    except subprocess.TimeoutExpired:
        command.kill()
        hung, errors = command.communicate()
        return None, hung if workload.is_job else errors
    return output, output if workload.is_job else errors


def _differences(said: Mapping[str, Any], found: Mapping[str, bytes], expected: Expected) -> list[str]:
    files = expected.files
    problems = [f"{name} differs" for name in sorted(files.keys() & found.keys()) if files[name] != found[name]]
    problems += [f"{name} is missing" for name in sorted(files.keys() - found.keys())]
    problems += [f"{name} is new" for name in sorted(found.keys() - files.keys())]
    if lasting(said) != lasting(expected.said):
        problems.append(f"the command says {lasting(said)} instead of {lasting(expected.said)}")
    return problems
