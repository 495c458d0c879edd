"""`mixproof doctor` as a user runs it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

from conftest import Finished, environment, mixproof_command

Mixproof = Callable[..., Finished]


def test_it_says_what_the_machine_has_and_what_commands_need(mixproof: Mixproof, tmp_path: Path) -> None:
    found = mixproof("doctor", "--store", tmp_path, "--json")
    assert found.code == 0
    assert found.json["ok"] is True
    assert found.json["python"] == platform.python_version()
    assert found.json["processors"]["present"] == os.cpu_count()
    assert found.json["store"] | {"free_bytes": 0} == {
        "store": str(tmp_path),
        "exists": True,
        "free_bytes": 0,
        "problem": None,
    }
    train = found.json["extras"]["train"]
    assert train["installed"] is (None not in train["packages"].values())
    assert found.json["commands"][0]["what"].startswith("plan, build")
    assert all((one["install"] is None) is one["ready"] for one in found.json["commands"])


def test_a_store_that_cannot_be_used_ends_with_exit_code_1(mixproof: Mixproof) -> None:
    found = mixproof("doctor", "--store", "/proc/store")
    assert found.code == 1
    assert "The store cannot be used: cannot write to /proc" in found.out


def test_no_line_is_longer_than_eighty_columns(tmp_path: Path) -> None:
    narrow = environment() | {"COLUMNS": "80"}
    done = subprocess.run(
        mixproof_command("doctor", "--store", "."), env=narrow, cwd="/", capture_output=True, text=True, check=False
    )
    head = done.stdout.partition("Extras")[0]
    assert max(len(line) for line in head.splitlines()) <= 80
    assert "processors" in head and "memory" in head
