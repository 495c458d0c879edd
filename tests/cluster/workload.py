"""What runs on a cluster in a box while faults strike: a build, also as a job of Ray, a search, a run of two ranks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.box import Box
from conftest import SPEC
from mixproof.ledger.store.store import Store

DEDUP = """\
dedup:
  exact: true
  fuzzy: true
  semantic: {embedding: table, sources: [manual, guide, notes]}
  paragraphs: {sources: [manual, guide, notes]}
  substrings: {sources: [manual, guide, notes]}
  scope: all
  keep: [manual, guide]
"""
SEARCHED = "search: {rounds: [6, 2], repeats: 2, repeat_candidates: 1, finalists: 1}\n"
ALL_STAGES = (
    SPEC.replace("dedup: {exact: true, scope: all, keep: [manual, guide]}\n", DEDUP).replace("5120", "1024") + SEARCHED
)
"""A build with every stage; a search of eleven runs of two steps, in seconds a run."""
TWO_RANKS = (
    SPEC.replace("tokens: 5120,", "tokens: 20K, ranks: 2,")
    .replace("  mostly_code: {code: 80%, manual: 10%, guide: 5%, notes: 5%}\n", "")
    .replace("seeds: [1, 2]", "seeds: [1]")
)
"""One run of 40 steps of 512 tokens on two ranks."""
BUILD_STAGES = ("encode", "builds", "tokenizer", "heldout")
"""Their outputs are what a build's id stands for."""
RUN_STAGES = ("draw", "search")
"""Draws of runs, and candidates of searches."""
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
    spec: str = ALL_STAGES
    trains: bool = False
    is_job: bool = False
    in_a_folder: bool = False
    """Whether its store is a folder that all nodes see, with a build, instead of S3; ranks on nodes need one."""
    workers: int = 1
    """How many workers it needs."""
    codes: tuple[int, ...] = (0,)
    """Exit codes of a finished command."""

    def start(self, box: Box, spec: Path, url: str) -> subprocess.Popen[str]:
        """Start it for a spec and the URL of a store."""
        begin = box.submit if self.is_job else box.mixproof
        return begin(self.verb, spec, "--store", url, "--json")

    def results(self, store: Store) -> dict[str, bytes]:
        """Everything in a store that the command must reproduce, by name."""
        stages = BUILD_STAGES + (RUN_STAGES if self.trains else ())
        names = [name for stage in stages for name in store.find(stage)]
        if self.trains:
            names += [name for name in store.find("train") if name.endswith(("/run.json", "/scores.parquet"))]
        return store.read([name for name in names if not any(part in name for part in VOLATILE)])


def answer(output: str) -> dict[str, Any] | None:
    """The JSON that a command wrote, if it did; the output of a job has log lines around it."""
    line = next((line for line in reversed(output.splitlines()) if line.startswith("{")), "null")
    value: dict[str, Any] | None = json.loads(line)
    return value


def lasting(said: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """What a command said, without what concerns this attempt only; paths are relative to the store."""
    value: dict[str, Any] = json.loads(json.dumps(said).replace(f"{store}/", ""))
    return {key: part for key, part in value.items() if key not in VOLATILE_KEYS}


BUILD = Workload("build", "build")
JOB = Workload("job", "build", is_job=True)
SEARCH = Workload("search", "search", trains=True, codes=(0, 1))
RANKS = Workload("ranks", "train", TWO_RANKS, trains=True, in_a_folder=True, workers=2)
WORKLOADS = {workload.name: workload for workload in (BUILD, JOB, SEARCH, RANKS)}
