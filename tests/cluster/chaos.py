"""Random faults on a cluster in a box: `make chaos`, or `python tests/cluster/chaos.py --faults 100 --seed 1`.

Every trial runs a build, the same build as a job of Ray, or a search, with a new store on S3, while one to four faults
strike at random moments; in the end the store must hold the bytes that one machine without faults makes. Prints a line
a trial with what failed commands said, and ends with exit code 1 if a trial differs, hangs, or shows a traceback.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), *(str(ROOT / room) for room in ("ledger", "mixtures", "pipeline", "tokenize"))]

from cluster.box import cluster_in_a_box  # noqa: E402  the path is set first
from cluster.experiment import ALL_STAGES, run_here, upload  # noqa: E402
from cluster.faults import FAULTS, FAULTS_OF_JOBS  # noqa: E402
from cluster.namespaces import has_namespaces  # noqa: E402
from cluster.trial import run_trial  # noqa: E402
from cluster.workload import WORKLOADS  # noqa: E402

MOST_FAULTS = 4
"""In one trial."""
TRIALS_OF_TEN = {"build": 5, "job": 4, "search": 1}
"""How many of ten trials run a workload, on average."""


def main() -> int:
    """Run the trials; the number of those that failed, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(FAULTS_OF_JOBS), help="this fault alone")
    parser.add_argument("--workload", choices=sorted(WORKLOADS), help="this workload alone")
    asked = parser.parse_args()
    if not has_namespaces():
        print("chaos needs root and `ip netns`: nodes with networks of their own", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave the cluster and remove it
    dice = random.Random(asked.seed)  # noqa: S311  dice of a test
    folder = Path(tempfile.mkdtemp(prefix="mixproof-chaos-", dir="/var/tmp"))
    failed = 0
    struck, trials = 0, 0
    with cluster_in_a_box(folder, workers=3, disks=dict.fromkeys(range(3), "300m"), takes_jobs=True) as box:
        spec, bucket = upload(box, folder, ALL_STAGES)
        expected = run_here(folder, WORKLOADS.values(), ALL_STAGES)
        while struck < asked.faults:
            number = min(dice.randint(1, MOST_FAULTS), asked.faults - struck)
            drawn = dice.choices([*TRIALS_OF_TEN], [*TRIALS_OF_TEN.values()])[0]
            workload = WORKLOADS[asked.workload or drawn]
            known = FAULTS_OF_JOBS if workload.is_job else FAULTS
            faults = [asked.only or dice.choice(sorted(known)) for _ in range(number)]
            trial = run_trial(box, workload, spec, bucket, expected[workload.name], faults, dice)
            failed += bool(trial.problems)
            struck += len(trial.faults)
            trials += 1
            print(f"{trials:4d}  {trial}", flush=True)
    print(f"{struck} faults in {trials} trials, {failed} trials failed; logs in {folder}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
