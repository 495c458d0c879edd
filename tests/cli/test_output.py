"""What stands on stdout and what on stderr."""

from __future__ import annotations

import json

import pytest

from mixproof.cli.output import emit_json
from mixproof.cli.progress.show import stage_progress
from mixproof.pipeline.cluster.task_progress import TaskProgress


def test_what_libraries_print_while_stages_run_is_no_result(capfd: pytest.CaptureFixture[str]) -> None:
    with stage_progress() as progress:
        progress(TaskProgress("read", 0, 2))
        print("(raylet) Raylet is terminated.")  # as Ray does where a node dies
    emit_json({"build": "16162dde"})
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {"build": "16162dde"}
    assert shown.err == "(raylet) Raylet is terminated.\n"
