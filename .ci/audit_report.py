"""Report what pip-audit found; see `.ci/audit`.

Exit code 0: looked up; 1: a vulnerability that a newer version fixes; 3: less than nine tenths could be looked up.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SHOWN = 5
LEAST_SHARE = 0.9


def report(found: Path, log: Path) -> int:
    """Print the vulnerabilities, and what was not looked up; return the exit code."""
    packages = json.loads(found.read_bytes())["dependencies"] if found.is_file() else []
    audited = [package for package in packages if "vulns" in package]
    skipped = [package for package in packages if "vulns" not in package]
    known = [(package, one) for package in audited for one in package["vulns"]]
    for package, one in known:
        fix = f"fixed in {', '.join(one['fix_versions'])}" if one["fix_versions"] else "no version fixes it"
        print(f"{package['name']} {package['version']}: {one['id']}, {fix}")
    if not packages:
        print("".join(log.read_text().splitlines(keepends=True)[-SHOWN:]) if log.is_file() else "")
    for package in skipped[:SHOWN]:
        print(f"not looked up: {package['name']}: {package.get('skip_reason', 'no reason given')}")
    done = bool(packages) and len(audited) >= LEAST_SHARE * len(packages)
    state = "" if done else "NOT DONE, "
    print(
        f"dependency audit: {state}{len(audited)} of {len(packages)} packages looked up, {len(known)} vulnerabilities"
    )
    if any(one["fix_versions"] for _, one in known):
        return 1
    return 0 if done else 3


if __name__ == "__main__":
    sys.exit(report(Path(sys.argv[1]), Path(sys.argv[2])))
