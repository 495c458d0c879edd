"""The dependency audit says plainly when it knows nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[1] / ".ci" / "audit_report.py"
CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found on the index"}
FIXABLE = {"name": "c", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
UNFIXED = {"name": "d", "version": "1", "vulns": [{"id": "CVE-2", "fix_versions": []}]}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([CLEAN] * 9 + [SKIPPED], 0, "dependency audit: 9 of 10 packages looked up, 0 vulnerabilities"),
        ([CLEAN] * 8 + [SKIPPED] * 2, 3, "dependency audit: NOT DONE, 8 of 10 packages looked up"),
        ([SKIPPED], 3, "not looked up: b: not found on the index"),
        ([FIXABLE, SKIPPED], 1, "c 1: CVE-1, fixed in 2"),
        ([UNFIXED], 0, "d 1: CVE-2, no version fixes it"),
        (None, 3, "no route to host"),
    ],
)
def test_an_audit_without_answers_is_no_success(
    packages: list[object] | None, code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("no route to host\n")
    if packages is not None:
        (tmp_path / "found.json").write_text(json.dumps({"dependencies": packages}))
    done = subprocess.run(
        [sys.executable, REPORT, tmp_path / "found.json", tmp_path / "log"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout
