"""`mixproof ladder` as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Experiment, Finished

Mixproof = Callable[..., Finished]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Runs of two mixtures on an exact law; the second one has two sizes only."""
    lines = ["mixture,parameters,tokens,seed,web_bpb"]
    for mixture, sizes in (("web", (1e8, 2e8, 4e8)), ("code", (1e8, 2e8))):
        for size in sizes:
            lines += [
                f"{mixture},{size:.0f},{ratio * size:.0f},1,{0.7 + 30 / size**0.3 + 20 / (ratio * size) ** 0.3:.8f}"
                for ratio in (10, 20, 80)
            ]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_ladder_of_a_table_predicts_each_mixture_and_says_what_nobody_checked(mixproof: Mixproof, runs: Path) -> None:
    done = mixproof("ladder", "--table", runs, "--target", "parameters=1B,tokens=2e11", "--json")
    assert done.code == 0, done.err
    found = done.json
    truth = 0.7 + 30 / 1e9**0.3 + 20 / 2e11**0.3
    web = found["mixtures"]["web"]["web_bpb"]
    assert web["value"] == pytest.approx(truth, rel=1e-3)
    assert web["interval"][0] <= web["value"] <= web["interval"][1] and web["fit_error"] < 1e-4
    assert found["mixtures"]["code"]["web_bpb"]["value"] is None
    assert found["predictions"] is None and found["table"]["audited"] is False and found["table"]["unchecked"]
    shown = mixproof("ladder", "--table", runs, "--target", "parameters=1B,tokens=2e11")
    assert "not audited" in shown.out and "3 or more different model sizes" in shown.out


def test_one_mixture_is_the_prediction_and_none_is_exit_code_1(mixproof: Mixproof, runs: Path) -> None:
    lines = runs.read_text().splitlines()
    for mixture, code in (("web", 0), ("code", 1)):
        runs.write_text("\n".join([lines[0], *(line for line in lines if line.startswith(mixture))]) + "\n")
        done = mixproof("ladder", "--table", runs, "--target", "parameters=1000000000,tokens=200B", "--json")
        assert done.code == code
        assert set(done.json["predictions"]["web_bpb"]) >= {"value", "interval", "fit_error"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "parameters=7B"], "--target parameters=7B: give both"),
        (["--target", "parameters=7B,tokens=many"], "--target parameters=7B,tokens=many"),
        (
            ["--target", "parameters=7B,tokens=1T", "--chain", "acc=web_bpb"],
            "--chain acc=web_bpb: 'acc' is not a score",
        ),
    ],
)
def test_a_wrong_request_is_exit_code_2(mixproof: Mixproof, runs: Path, arguments: list[str], message: str) -> None:
    done = mixproof("ladder", "--table", runs, *arguments)
    assert done.code == 2 and message in done.err


def test_compare_ranks_a_table_size_by_size_and_never_beside_a_spec(mixproof: Mixproof, runs: Path) -> None:
    done = mixproof("compare", "--table", runs, "--json")
    assert done.code == 0, done.err
    assert len(done.json["rankings"]) == 9 and done.json["table"]["audited"] is False
    shown = mixproof("compare", "--table", runs)
    assert "with one seed per mixture" in shown.out and "not audited" in shown.out
    for arguments, message in (
        (["spec.yaml", "--table", runs], "not audited and never ranked with audited ones"),
        (["--table", runs, "--across", "tokens"], "--across needs a SPEC"),
        (["spec.yaml", "--objective", "loss"], "--objective and --higher-is-better need --table"),
    ):
        wrong = mixproof("compare", *arguments)
        assert wrong.code == 2 and message in wrong.err


def test_a_ladder_that_no_law_can_follow_from_is_refused_before_any_work(
    mixproof: Mixproof, experiment: Experiment, tmp_path: Path
) -> None:
    target, store = ("--target", "parameters=1B,tokens=20B"), ("--store", tmp_path / "store")
    done = mixproof("ladder", experiment.spec, *store, *target)
    assert done.code == 2 and "3 or more different model sizes" in done.err and "train.proxies" in done.err
    both = mixproof("ladder", experiment.spec, "--table", "runs.csv", *target)
    assert both.code == 2 and "either a SPEC or --table" in both.err
    assert not (tmp_path / "store").exists()
