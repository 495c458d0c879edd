"""A wrong request ends with exit code 2, says where and what would be right, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import SPEC, Finished, write_experiment

Mixproof = Callable[..., Finished]

WRONG = {
    "unknown key": ("dedup: {exact: true,", "dedup: {exakt: true,", ["dedup.exakt", "exact"]),
    "duplicate key": ("objective:", "name: again\nobjective:", ["name", "duplicate"]),
    "shares of 110%": ("manual: 40%", "manual: 50%", ["mixtures.prose", "110%"]),
    "a source that is not there": ("manual: 40%", "manuel: 40%", ["manuel", "manual"]),
    "no files": ("corpus/guide.jsonl", "corpus/gide.jsonl", ["guide", "gide.jsonl"]),
    "the same file twice": (
        '"corpus/guide.jsonl"',
        '["corpus/guide.jsonl", "corpus/g*.jsonl"]',
        ["guide.jsonl", "twice"],
    ),
    "no such checkpoint": ("length: 64", "length: 64\n  init_from: checkpoint", ["init_from", "no such checkpoint"]),
    "an unknown step": ("{length: {min_chars: 400}}", "{lenght: {min_chars: 400}}", ["lenght"]),
    "a budget that no cap allows": ("tokens: 5120", "tokens: 5T", ["epochs"]),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_wrong_spec_is_refused_and_nothing_is_written(
    case: str, command: str, mixproof: Mixproof, tmp_path: Path
) -> None:
    right, wrong, said = WRONG[case]
    assert right in SPEC
    spec = write_experiment(tmp_path / "experiment", SPEC.replace(right, wrong, 1))
    done = mixproof(command, spec, "--store", tmp_path / "store", "--json")
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert str(spec) in done.err
    for word in said:
        assert word in done.err
    assert done.out == ""
    assert not (tmp_path / "store").exists()


def test_a_spec_that_is_not_there_is_named(mixproof: Mixproof, tmp_path: Path) -> None:
    done = mixproof("build", tmp_path / "none.yaml", "--store", tmp_path / "store")
    assert done.code == 2
    assert "none.yaml" in done.err


def test_compare_before_anything_was_built_says_what_to_do(mixproof: Mixproof, tmp_path: Path) -> None:
    spec = write_experiment(tmp_path / "experiment")
    done = mixproof("compare", spec, "--store", tmp_path / "store")
    assert done.code == 2
    assert "mixproof build" in done.err
