"""One trial: a command on a cluster in a box, a fault at a random moment, and the same command until it succeeds."""

from __future__ import annotations

import json
import random
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from cluster.box import Box
from cluster.faults import FAULTS, Strike, heal
from mixproof.ledger.store import Store

COMMAND_SECONDS = 300
"""A command that takes longer than this hangs; without a fault it takes about 20 s."""
COMMANDS = 3
"""How often the same command is run at most, the first included."""
RESULTS = ("encode", "builds", "tokenizer", "heldout")


@dataclass(frozen=True)
class Trial:
    """What happened."""

    fault: str
    after_seconds: float
    codes: tuple[int | None, ...]
    """Exit codes of the commands; None: the command hung."""
    seconds: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        codes = ", ".join("hung" if code is None else str(code) for code in self.codes)
        outcome = "; ".join(self.problems) or "same bytes"
        return f"{self.fault} after {self.after_seconds:.1f} s: exit {codes}, {self.seconds:.0f} s: {outcome}"


def results(store: Store) -> dict[str, bytes]:
    """Everything in a store that a build's id stands for, by name."""
    names = [name for stage in RESULTS for name in store.find(stage)]
    return store.read([name for name in names if not name.endswith("circumstances.json") and "/by-spec/" not in name])


def run_trial(
    box: Box, spec: Path, bucket: str, expected: Mapping[str, bytes], fault: str, dice: random.Random, span: float
) -> Trial:
    """Build into a new store while `fault` strikes within the first `span` seconds, then compare the store's bytes."""
    url = f"{bucket}/{uuid.uuid4().hex}"
    started, after = time.monotonic(), dice.uniform(0, span)
    codes: list[int | None] = []
    problems: list[str] = []
    for number in range(COMMANDS):
        command = box.mixproof("build", spec, "--store", url, "--json")
        if number == 0:
            time.sleep(after)
            striker = Thread(target=FAULTS[fault], args=(Strike(box, command, dice),))
            striker.start()
        output, errors = _finish(command)
        if number == 0:
            striker.join()
        codes.append(command.returncode if output is not None else None)
        if output is None:
            problems.append(f"the command did not end within {COMMAND_SECONDS} s")
        if "Traceback" in errors:
            problems.append(f"a traceback: {errors[-1500:]}")
        if command.returncode == 0 and output is not None:
            problems += _differences(json.loads(output)["build"], Store(url), expected)
            break
        heal(box)
    else:
        problems.append(f"the same command failed {COMMANDS} times: {errors[-1500:]}")
    heal(box)
    return Trial(fault, after, tuple(codes), time.monotonic() - started, tuple(problems))


def _finish(command: subprocess.Popen[str]) -> tuple[str | None, str]:
    """Output and errors of a command; no output if it hung."""
    try:
        return command.communicate(timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        command.kill()
        return None, command.communicate()[1]


def _differences(build: str, store: Store, expected: Mapping[str, bytes]) -> list[str]:
    found = results(store)
    problems = [f"{name} differs" for name in sorted(expected.keys() & found.keys()) if expected[name] != found[name]]
    problems += [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    problems += [f"{name} is new" for name in sorted(found.keys() - expected.keys())]
    if f"builds/{build}/manifest.json" not in expected:
        problems.append(f"another build, {build}")
    return problems
