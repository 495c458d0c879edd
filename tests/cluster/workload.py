"""What runs on a cluster in a box while faults strike: a build, the same build as a job of Ray, and a search."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.box import Box
from mixproof.ledger.store import Store

BUILD_STAGES = ("encode", "builds", "tokenizer", "heldout")
"""Their outputs are what a build's id stands for."""
VOLATILE = ("circumstances.json", "/by-spec/")
"""Parts of names of files that say when and where something ran."""
VOLATILE_KEYS = ("store", "manifest", "stages_run", "stages_reused", "runs_reused", "output")
"""What a command says of this attempt rather than of its result."""


@dataclass(frozen=True)
class Workload:
    """A command, and which of a store's files it must reproduce."""

    name: str
    verb: str
    """mixproof's command."""
    trains: bool = False
    is_job: bool = False
    codes: tuple[int, ...] = (0,)
    """Exit codes of a finished command."""

    def start(self, box: Box, spec: Path, url: str) -> subprocess.Popen[str]:
        """Start it for a spec and the URL of a store."""
        begin = box.submit if self.is_job else box.mixproof
        return begin(self.verb, spec, "--store", url, "--json")

    def results(self, store: Store) -> dict[str, bytes]:
        """Everything in a store that the command must reproduce, by name."""
        names = [name for stage in BUILD_STAGES for name in store.find(stage)]
        if self.trains:
            names += [name for name in store.find("train") if name.endswith("/run.json")]
        return store.read([name for name in names if not any(part in name for part in VOLATILE)])


def answer(output: str) -> dict[str, Any] | None:
    """The JSON that a command wrote, if it did; the output of a job has log lines around it."""
    line = next((line for line in reversed(output.splitlines()) if line.startswith("{")), "null")
    value: dict[str, Any] | None = json.loads(line)
    return value


def lasting(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a command said, without what concerns this attempt only."""
    return {key: value for key, value in said.items() if key not in VOLATILE_KEYS}


BUILD = Workload("build", "build")
JOB = Workload("job", "build", is_job=True)
SEARCH = Workload("search", "search", trains=True, codes=(0, 1))
WORKLOADS = {workload.name: workload for workload in (BUILD, JOB, SEARCH)}
