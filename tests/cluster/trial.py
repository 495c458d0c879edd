"""One trial: a command on a cluster in a box, faults at random moments, and the same command until it succeeds."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from cluster.box import Box
from cluster.faults import FAULTS_OF_JOBS, Strike, heal
from cluster.workload import Workload, answer, lasting
from mixproof.ledger.store.store import Store

COMMANDS = 2
"""How often the same command is run at most, in addition to once per fault."""
LEAST_LIMIT = 400.0
"""A command that takes more seconds hangs; on a quiet machine, a build takes 20 without faults."""
CRASHES = (-signal.SIGSEGV, -signal.SIGABRT)
"""Exit codes of a command that no fault has killed."""
REACTIONS = {
    "another node tried": "runs again on another node",
    "more memory": "runs again with more memory",
    "node left out": "is faulty and gets no more calls",
    "other code": "a node gets no calls, and others run them",
    "silent node": "no task runs within",
    "lost tasks": "Ray has lost",
}
"""What a command says when it reacts to a fault, by a short name."""


@dataclass(frozen=True)
class Expected:
    """What one machine without faults makes: files by name, and the lasting part of what the command says."""

    files: Mapping[str, bytes]
    said: Mapping[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One command of a trial."""

    code: int | None
    """Its exit code; None: it hung."""
    answer: Mapping[str, Any] | None
    """The JSON that it wrote; None: it failed."""
    log: str
    """What it said to people."""


@dataclass(frozen=True)
class Trial:
    """What happened."""

    workload: str
    faults: tuple[str, ...]
    """The faults that struck, each with the second of its command."""
    attempts: tuple[Attempt, ...]
    seconds: float
    problems: tuple[str, ...]

    @property
    def reactions(self) -> dict[str, int]:
        """How often the commands said that they react to a fault, by the names of REACTIONS."""
        log = " ".join(" ".join(one.log.split()) for one in self.attempts)
        return {name: log.count(phrase) for name, phrase in REACTIONS.items()}

    def __str__(self) -> str:
        codes = ", ".join("hung" if one.code is None else str(one.code) for one in self.attempts)
        reacted = "".join(f", {name} {times}x" for name, times in self.reactions.items() if times)
        faults, outcome = ", ".join(self.faults) or "no fault", "; ".join(self.problems) or "same bytes"
        failed = "".join(f"\n        {' '.join(one.log[-300:].split())}" for one in self.attempts if not one.answer)
        return f"{self.workload}: {faults}: exit {codes}, {self.seconds:.0f} s{reacted}: {outcome}{failed}"


def run_trial(
    box: Box,
    workload: Workload,
    spec: Path,
    url: str,
    expected: Expected,
    faults: Sequence[str] = (),
    dice: random.Random | None = None,
    span: float = 0,
    limit: float = LEAST_LIMIT,
) -> Trial:
    """Run a command with a new store while faults strike, then compare the store's bytes and what the command said.

    The faults strike within `span` seconds of the command's start, and a command hangs that takes more than `limit`
    seconds. When a command ends, the faults that have not struck strike the next one.
    """
    dice = dice or random.Random(0)  # noqa: S311  dice of a test
    queue = sorted((dice.uniform(0, span), fault) for fault in faults)
    box.remove_copies()
    struck: list[str] = []
    attempts: list[Attempt] = []
    others: list[str] = []
    started = time.monotonic()
    while not (attempts and attempts[-1].answer) and len(attempts) < COMMANDS + len(faults):
        command = workload.start(box, spec, url)
        at = Strike(box, command, dice, workload.workers, lambda: workload.start(box, spec, url), others)
        striker = Thread(target=_strike, args=(at, queue, struck))
        striker.start()
        attempts.append(_finish(command, workload, limit))
        striker.join()
        heal(box)
    return Trial(
        workload=workload.name,
        faults=tuple(struck),
        attempts=tuple(attempts),
        seconds=time.monotonic() - started,
        problems=(*_problems(attempts, workload, Store(url), expected), *_problems_of_others(others)),
    )


def _strike(at: Strike, queue: list[tuple[float, str]], struck: list[str]) -> None:
    """Let the faults of a queue strike at their seconds, side by side, until the command ends; wait for their ends."""
    started = time.monotonic()
    strikes: list[Thread] = []
    while queue and at.command.poll() is None:
        after, fault = queue[0]
        if time.monotonic() < started + after:
            time.sleep(0.05)
            continue
        del queue[0]
        struck.append(f"{fault} at {after:.1f} s")
        strikes.append(Thread(target=FAULTS_OF_JOBS[fault], args=(at,)))
        strikes[-1].start()
    for strike in strikes:
        strike.join()


def _finish(command: subprocess.Popen[str], workload: Workload, limit: float) -> Attempt:
    """Wait for a command's end; what mixproof says to people is in the output of a job, and in the errors otherwise."""
    try:
        output, errors = command.communicate(timeout=limit)
        code = command.returncode
    except subprocess.TimeoutExpired:
        command.kill()
        (output, errors), code = command.communicate(), None
    found = answer(output) if code in workload.codes else None
    if found and found.get("failed"):  # runs of a search that failed run again with the same command
        found = None
    return Attempt(code, found, output if workload.is_job else errors)


def _problems(attempts: Sequence[Attempt], workload: Workload, store: Store, expected: Expected) -> Iterator[str]:
    for one in attempts:
        if one.code is None:
            yield f"a command hung: {one.log[-1500:]}"
        if one.code in CRASHES:
            yield f"a command crashed: {one.log[-1500:]}"
        if "Traceback" in one.log:
            yield f"a traceback: {one.log[-1500:]}"
    last = attempts[-1]
    if last.answer is None:
        yield f"the same command failed {len(attempts)} times: {last.log[-1500:]}"
    else:
        yield from _differences(lasting(last.answer, store), workload.results(store), expected)


def _problems_of_others(logs: Sequence[str]) -> Iterator[str]:
    """Problems of commands that ran beside the same command: they may be superseded, but neither hang nor crash."""
    for log in logs:
        if "Traceback" in log or "hung for" in log:
            yield f"a second command: {log[-1500:]}"


def _differences(said: Mapping[str, Any], found: Mapping[str, bytes], expected: Expected) -> Iterator[str]:
    files = expected.files
    yield from (f"{name} differs" for name in sorted(files.keys() & found.keys()) if files[name] != found[name])
    yield from (f"{name} is missing" for name in sorted(files.keys() - found.keys()))
    yield from (f"{name} is new" for name in sorted(found.keys() - files.keys()))
    if said != expected.said:
        yield f"the command says {said} instead of {expected.said}"
