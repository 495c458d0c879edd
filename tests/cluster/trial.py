"""One trial: a command on a cluster in a box, faults at random moments, and the same command until it succeeds."""

from __future__ import annotations

import json
import random
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from cluster.box import Box
from cluster.faults import FAULTS, Strike, heal
from mixproof.ledger.store import Store

COMMAND_SECONDS = 400
"""A command that takes longer than this hangs; without a fault it takes about 20 s."""
COMMANDS = 2
"""How often the same command is run at most, in addition to once per fault."""
RESULTS = ("encode", "builds", "tokenizer", "heldout")


@dataclass(frozen=True)
class Trial:
    """What happened."""

    faults: tuple[str, ...]
    """The faults that struck, each with the second of its command."""
    codes: tuple[int | None, ...]
    """Exit codes of the commands; None: the command hung."""
    seconds: float
    problems: tuple[str, ...]
    errors: tuple[str, ...]
    """What the commands that failed said."""

    def __str__(self) -> str:
        codes = ", ".join("hung" if code is None else str(code) for code in self.codes)
        outcome = "; ".join(self.problems) or "same bytes"
        said = "".join(f"\n        {error}" for error in self.errors)
        return f"{', '.join(self.faults) or 'no fault'}: exit {codes}, {self.seconds:.0f} s: {outcome}{said}"


def results(store: Store) -> dict[str, bytes]:
    """Everything in a store that a build's id stands for, by name."""
    names = [name for stage in RESULTS for name in store.find(stage)]
    return store.read([name for name in names if not name.endswith("circumstances.json") and "/by-spec/" not in name])


def run_trial(
    box: Box,
    spec: Path,
    bucket: str,
    expected: Mapping[str, bytes],
    faults: Sequence[str],
    dice: random.Random,
    span: float,
) -> Trial:
    """Build into a new store while faults strike, each within `span` seconds, then compare the store's bytes.

    When a command ends, the faults that have not struck strike the next one.
    """
    url = f"{bucket}/{uuid.uuid4().hex}"
    queue = sorted((dice.uniform(0, span), fault) for fault in faults)
    struck: list[str] = []
    codes: list[int | None] = []
    problems: list[str] = []
    said: list[str] = []
    started = time.monotonic()
    for _ in range(COMMANDS + len(faults)):
        command = box.mixproof("build", spec, "--store", url, "--json")
        striker = Thread(target=_strike, args=(Strike(box, command, dice), queue, struck))
        striker.start()
        output, errors = _finish(command)
        striker.join()
        codes.append(command.returncode if output is not None else None)
        if output is None:
            problems.append(f"the command did not end within {COMMAND_SECONDS} s")
        if "Traceback" in errors:
            problems.append(f"a traceback: {errors[-1500:]}")
        if command.returncode == 0 and output is not None:
            problems += _differences(json.loads(output)["build"], Store(url), expected)
            break
        said.append(" ".join(errors[-300:].split()))
        heal(box)
    else:
        problems.append(f"the same command failed {len(codes)} times: {errors[-1500:]}")
    heal(box)
    return Trial(tuple(struck), tuple(codes), time.monotonic() - started, tuple(problems), tuple(said))


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
        FAULTS[fault](at)


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
