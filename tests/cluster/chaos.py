"""Random faults on a cluster in a box: `make chaos`, or `python tests/cluster/chaos.py --faults 100 --seed 1`.

Every trial builds into a new store on S3 while a fault strikes at a random moment; in the end the store must hold the
bytes that one machine without faults makes. Prints a line a trial, and ends with exit code 1 if one differs or hangs.
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
from cluster.experiment import build_here, upload  # noqa: E402
from cluster.faults import FAULTS  # noqa: E402
from cluster.namespaces import has_namespaces  # noqa: E402
from cluster.trial import run_trial  # noqa: E402


def main() -> int:
    """Run the trials; the number of those that failed, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(FAULTS), help="this fault alone")
    asked = parser.parse_args()
    if not has_namespaces():
        print("chaos needs root and `ip netns`: nodes with networks of their own", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave the cluster and remove it
    dice = random.Random(asked.seed)  # noqa: S311  dice of a test
    folder = Path(tempfile.mkdtemp(prefix="mixproof-chaos-", dir="/var/tmp"))
    failed = 0
    with cluster_in_a_box(folder, workers=3) as box:
        spec, bucket = upload(box, folder)
        expected = build_here(folder)
        for number in range(1, asked.faults + 1):
            fault = asked.only or dice.choice(sorted(FAULTS))
            trial = run_trial(box, spec, bucket, expected, fault, dice, span=18)
            failed += bool(trial.problems)
            print(f"{number:4d}  {trial}", flush=True)
    print(f"{asked.faults} faults, {failed} trials failed; logs in {folder}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
