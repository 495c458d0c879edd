"""Every command of the guides, run on small inputs: `python docs/guide_commands.py FOLDER [PAGE...]`.

For each page, its specs are written with small numbers, the files that they name are generated, and its `console`
blocks run in order in one shell, which the first failing command ends. Names that a reader fills in are filled in:
RUN is a run of `spec.yaml`, and that is the first spec of docs/guides/ablate-mixtures.md. Blocks that need a
network, a cluster or another tool are not run; they are listed at the end.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from guide_inputs import shrink, write_inputs

DOCS = Path(__file__).resolve().parent
PAGES = sorted([*DOCS.glob("guides/*.md"), *DOCS.glob("coming-from/*.md")])
BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOT_HERE = re.compile(r"pip install|benchmarks/gpu|s3://|\bray (up|job)\b|sbatch|kubectl|/team/")
"""What needs a network, a cluster, a GPU, or a store of somebody else."""
FILLED_IN = {
    r"\bbuilds/ID/": "builds/$BUILD/",
    r"\bRUN\b": "$RUN",
    r"\bOTHER_RUN\b": "$OTHER_RUN",
    r"/shared/store|/data/store": "$MIXPROOF_STORE",
    r"/data/": "data/",
    r"(?<= )store/": "$MIXPROOF_STORE/",
    r"--step 100\b": "--step 10",
    r"--rounds 64,32,16\b": "--rounds 6,3",
}
"""What a reader writes for the names in a page; the small runs have 16 steps."""
SHARED = DOCS / "guides" / "ablate-mixtures.md"
"""The page whose first spec other pages call `spec.yaml`."""


class Page:
    """The specs and commands of one page, in a folder of its own; all pages share a store."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.name, self.folder = path.stem, folder / path.stem
        blocks = BLOCK.findall(path.read_text())
        self.specs = [yaml.safe_load(text) for kind, text in blocks if kind == "yaml"]
        console = [text for kind, text in blocks if kind == "console"]
        self.commands = [text for text in console if not NOT_HERE.search(text)]
        self.left_out = [text for text in console if NOT_HERE.search(text)]

    def write(self) -> None:
        """Write specs and inputs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        specs = self.specs
        if self._reads_shared_spec():
            specs = [{**_shared_spec(), "name": "spec"}, *specs]
        names = self._file_names(specs)
        for name, spec in zip(names, specs, strict=True):
            small = shrink(spec)
            (self.folder / name).write_text(yaml.safe_dump(small, sort_keys=False))
            write_inputs(small, self.folder)

    def run(self, environment: dict[str, str]) -> None:
        """Run the commands.

        Raises:
            CalledProcessError: when one of them fails.
        """
        if self._reads_shared_spec():
            environment |= self._made_before(environment)
        script = "\n".join(["set -euo pipefail", *(_shown(text) for text in self.commands)])
        for name, value in FILLED_IN.items():
            script = re.sub(name, value, script)
        subprocess.run(["/bin/bash", "-c", script], cwd=self.folder, env=environment, check=True)

    def _reads_shared_spec(self) -> bool:
        return any(re.search(r"\bspec\.yaml|\bRUN\b", text) for text in self.commands)

    def _made_before(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What the page takes for granted: a build of `spec.yaml`, and its runs if the page names one."""
        command = "run" if any(re.search(r"\bRUN\b", text) for text in self.commands) else "build"
        called = ["mixproof", command, "spec.yaml", "--json"]
        done = subprocess.run(called, cwd=self.folder, env=environment, check=True, stdout=subprocess.PIPE)
        made = json.loads(done.stdout)
        if command == "build":
            return {"BUILD": made["build"]}
        runs = [run["run"] for run in made["train"]["runs"]]
        return {"BUILD": made["build"]["build"], "RUN": runs[0], "OTHER_RUN": runs[1]}

    def _file_names(self, specs: list[dict[str, Any]]) -> list[str]:
        """File names of specs: those after their names, and for a spec that no command calls so, what commands call."""
        called = re.findall(r"[\w-]+\.yaml", "\n".join(self.commands))
        called += [spec["extends"] for spec in specs if "extends" in spec]
        names = [f"{spec['name']}.yaml" for spec in specs]
        spare = [name for name in dict.fromkeys(called) if name not in names and "runtime_env" not in name]
        return [name if name in called or not spare else spare.pop(0) for name in names]


def _shared_spec() -> dict[str, Any]:
    spec = yaml.safe_load(next(text for kind, text in BLOCK.findall(SHARED.read_text()) if kind == "yaml"))
    return {**spec, "mixtures": {name: spec["mixtures"][name] for name in ("natural", "by_hand")}}


def _shown(block: str) -> str:
    """A block of a script that shows each command before it runs."""
    lines = [line for line in block.replace("\\\n", " ").strip().splitlines() if line.strip()]
    return "\n".join(f"echo {shlex.quote(f'$ {line}')} >&2\n{_accepted(line)}" for line in lines)


def _accepted(line: str) -> str:
    """A command that may end with a verdict: exit code 1 if small runs cannot decide; they are comparable."""
    if line.startswith(("mixproof compare", "mixproof search", "mixproof run", "mixproof ladder")):
        return f"({line} || test $? -eq 1) 2>&1 | tee out.txt\n! grep 'nothing is comparable' out.txt || exit 1"
    if " found.yaml" in line:
        return f"if test -e found.yaml; then {line}; else echo 'not run: nothing was recommended' >&2; fi"
    return line


def main(folder: Path, names: list[str]) -> int:
    """Run the pages; the number of those that failed, at most 1."""
    failed = 0
    left_out = []
    for path in PAGES:
        page = Page(path, folder)
        if not page.commands or (names and page.name not in names):
            continue
        started = time.monotonic()
        page.write()
        environment = {**os.environ, "MIXPROOF_STORE": str(folder / "store"), "COLUMNS": "100"}
        try:
            page.run(environment)
            outcome = "all commands ran"
        except subprocess.CalledProcessError as error:
            failed, outcome = 1, f"exit code {error.returncode}"
        left_out += [f"{page.name}: {line}" for text in page.left_out for line in text.strip().splitlines() if line]
        print(f"== {page.name}: {outcome}, {time.monotonic() - started:.0f} s", flush=True)
    print("not run here:", *left_out, sep="\n  ")
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
