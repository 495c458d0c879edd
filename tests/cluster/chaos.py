"""Random faults on a cluster in a box: `make chaos`, or `python tests/cluster/chaos.py --faults 100 --seed 1`.

Every trial runs a build, the same build as a job of Ray, or a search, with a new store on S3, or a run of two ranks on
two nodes in a folder, while one to twelve faults strike at random moments. In the end the store must hold the bytes
that one machine without faults makes. A workload's first trial has no faults and says how long it takes. Faults strike
within that time, and a command hangs that takes ten times as long and more than 400 s. Prints a line a trial with what
failed commands said, and ends with exit code 1 if a trial differs, hangs, crashes, or shows a traceback.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), *(str(ROOT / room) for room in ("ledger", "mixtures", "pipeline", "tokenize"))]

from cluster.box import Box, cluster_in_a_box  # noqa: E402  the path is set first
from cluster.experiment import local_spec, new_store, run_here, upload  # noqa: E402
from cluster.faults import FAULTS, FAULTS_IN_A_FOLDER, FAULTS_OF_JOBS  # noqa: E402
from cluster.namespaces import has_namespaces  # noqa: E402
from cluster.trial import LEAST_LIMIT, Expected, Trial, run_trial  # noqa: E402
from cluster.workload import ALL_STAGES, WORKLOADS, Workload  # noqa: E402

MOST_FAULTS = 12
"""In one trial."""
SHARES = {"build": 0.4, "job": 0.25, "search": 0.2, "ranks": 0.15}
"""Of the trials, by workload."""
HANG = 10
"""A command hangs that takes so many times as long as one without faults, and more than LEAST_LIMIT."""


@dataclass
class Series:
    """Trials on one box."""

    box: Box
    folder: Path
    spec: Path
    bucket: str
    usual: dict[str, tuple[Expected, float]] = field(default_factory=dict)
    """By workload: what to expect, and how many seconds it takes without faults."""
    trials: list[Trial] = field(default_factory=list)

    def run(self, workload: Workload, faults: Sequence[str], dice: random.Random) -> None:
        """Run one trial and print its line; before the first one of a workload, one without faults."""
        if workload.name not in self.usual:
            same = (one for name, (one, _) in self.usual.items() if WORKLOADS[name].verb == workload.verb)
            expected = next(same, None) or run_here(self.folder, workload)
            quiet = self._trial(workload, expected, limit=3600)
            self.usual[workload.name] = expected, quiet.seconds
        expected, seconds = self.usual[workload.name]
        limit = max(LEAST_LIMIT, HANG * seconds)
        self._trial(workload, expected, limit, faults, dice, seconds)

    def _trial(
        self,
        workload: Workload,
        expected: Expected,
        limit: float,
        faults: Sequence[str] = (),
        dice: random.Random | None = None,
        span: float = 0,
    ) -> Trial:
        spec = local_spec(self.folder, workload) if workload.in_a_folder else self.spec
        store = new_store(self.folder, workload, self.bucket)
        trial = run_trial(self.box, workload, spec, store, expected, faults, dice, span, limit)
        self._note(trial)
        return trial

    def _note(self, trial: Trial) -> None:
        self.trials.append(trial)
        print(f"{time.strftime('%H:%M:%S')}  {trial}", flush=True)

    @property
    def faults(self) -> int:
        """How many have struck."""
        return sum(len(trial.faults) for trial in self.trials)

    def summary(self) -> str:
        """Faults by kind, reactions, and what failed."""
        kinds = Counter(fault.rpartition(" at ")[0] for trial in self.trials for fault in trial.faults)
        reactions = sum((Counter(trial.reactions) for trial in self.trials), Counter[str]())
        counted = ", ".join(f"{name} {times}x" for name, times in (kinds + reactions).most_common())
        failed = sum(bool(trial.problems) for trial in self.trials)
        longest = max(trial.seconds for trial in self.trials)
        trials = f"{self.faults} faults in {len(self.trials)} trials, {failed} failed; the longest took {longest:.0f} s"
        return f"{trials}\n{counted}"


def _faults_of(workload: Workload) -> Mapping[str, object]:
    """What can befall a workload."""
    if workload.in_a_folder:
        return FAULTS_IN_A_FOLDER
    return FAULTS_OF_JOBS if workload.is_job else FAULTS


def main() -> int:
    """Run the trials; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="number of the first trial, to repeat one")
    parser.add_argument("--only", choices=sorted(FAULTS_OF_JOBS), nargs="+", help="these faults alone")
    parser.add_argument("--workload", choices=sorted(WORKLOADS), nargs="+", default=[*SHARES], help="these alone")
    asked = parser.parse_args()
    if not has_namespaces():
        print("chaos needs root and `ip netns`: nodes with networks of their own", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave the cluster and remove it
    folder = Path(tempfile.mkdtemp(prefix="mixproof-chaos-", dir="/var/tmp"))
    with cluster_in_a_box(folder, workers=3, disks=dict.fromkeys(range(3), "300m"), takes_jobs=True) as box:
        series = Series(box, folder, *upload(box, folder, ALL_STAGES))
        for number in count(asked.first):
            if series.faults >= asked.faults:
                break
            dice = random.Random(f"{asked.seed}/{number}")  # noqa: S311  dice of a test
            shares = [SHARES[name] for name in asked.workload]
            workload = WORKLOADS[dice.choices(asked.workload, shares)[0]]
            known = sorted(_faults_of(workload))
            faults = [dice.choice(asked.only or known) for _ in range(dice.randint(1, MOST_FAULTS))]
            print(f"trial {number} of seed {asked.seed}", flush=True)
            series.run(workload, faults[: asked.faults - series.faults], dice)
    print(series.summary())
    print(f"logs in {folder}")
    return int(any(trial.problems for trial in series.trials))


if __name__ == "__main__":
    sys.exit(main())
