"""What doctor looks at: limits of containers, places of stores, extras."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from mixproof.cli.machine.extras import ALL, EXTRAS, Extra, find_extras, install_line, version_of
from mixproof.cli.machine.processors import find_memory, find_processors
from mixproof.cli.machine.readiness import check_readiness
from mixproof.cli.machine.storage import find_storage

ROOT = Path(__file__).resolve().parents[3]


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    declared = {
        name: tuple(re.split(r"[\[<>=]", requirement)[0] for requirement in project[name])
        for name in project
        if name not in ("all", "dev", "filters")
    }
    assert declared == EXTRAS
    assert project["all"] == [f"mixproof[{','.join(ALL)}]"]
    assert project["filters"] == ["mixproof[documents]"]


def test_a_cgroup_limits_processors_and_memory(tmp_path: Path) -> None:
    assert find_processors(tmp_path).usable == len(os.sched_getaffinity(0))
    assert find_memory(tmp_path).limit is None
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    assert find_processors(tmp_path).usable == 0.5
    assert find_memory(tmp_path).limit == 1_000_000
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert find_processors(tmp_path).usable == len(os.sched_getaffinity(0))
    assert find_memory(tmp_path).limit is None


def test_a_cgroup_of_version_1_limits_as_well(tmp_path: Path) -> None:
    for name, text in (
        ("cpu/cpu.cfs_quota_us", "25000"),
        ("cpu/cpu.cfs_period_us", "100000"),
        ("memory/memory.limit_in_bytes", "2000000"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert find_processors(tmp_path).usable == 0.25
    assert find_memory(tmp_path).limit == 2_000_000
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert find_processors(tmp_path).usable == len(os.sched_getaffinity(0))
    assert find_memory(tmp_path).limit is None


def test_a_store_that_is_not_there_yet_is_judged_by_the_folder_above_it(tmp_path: Path) -> None:
    found = find_storage(str(tmp_path / "not" / "yet"))
    assert (found.exists, found.problem) == (False, None)
    assert found.free_bytes is not None and found.free_bytes > 0
    assert list(tmp_path.iterdir()) == []
    assert find_storage(str(tmp_path)).exists


def test_a_store_below_a_file_or_where_nothing_can_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert find_storage(str(tmp_path / "file" / "store")).problem == f"{tmp_path / 'file'} is a file"
    problem = find_storage("/proc/store").problem
    assert problem is not None and problem.startswith("cannot write to /proc: ")


def test_versions_are_those_of_the_environment() -> None:
    assert find_extras()["train"].packages["torch"] == version_of("torch") is not None
    assert version_of("no-such-distribution") is None


def test_commands_name_the_extras_that_they_lack() -> None:
    extras = {name: Extra(name, dict.fromkeys(packages, "1")) for name, packages in EXTRAS.items()}
    assert all(one.ready for one in check_readiness(extras))
    extras["train"] = Extra("train", {"torch": None, "pandas": "1"})
    assert extras["train"].missing == ("torch",)
    missing = {one.what: one.missing for one in check_readiness(extras) if not one.ready}
    assert missing == {
        "train, audit, run, search, demo": ("train",),
        "train with external.tasks": ("train",),
        "train with --wandb": ("train",),
        "search with the predictor lightgbm": ("train",),
        "export": ("train",),
    }
    assert re.fullmatch(r"pip install (-e )?'.*\[train,export\]'", install_line("train", "export"))
