"""Builds and runs by the first digits of their keys, in every command that takes their paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Experiment, Finished
from mixproof.cli.named import RunChoice, named, named_run
from mixproof.ledger.errors import RequestError
from mixproof.ledger.keys import short_key
from mixproof.ledger.store import Store


def make(store: Path, *names: str) -> None:
    for name in names:
        (store / name).mkdir(parents=True)
        (store / name / "receipt.json").write_text("{}")


def test_four_digits_or_more_name_a_build_or_a_run_and_all_else_is_left_as_it_is(tmp_path: Path) -> None:
    build, run = "ab12" + "0" * 60, "ab34" + "0" * 60
    make(tmp_path, f"builds/{build}", f"train/{run}")
    assert sorted(Store(tmp_path).keys("builds")) == [build]
    assert named("ab12", str(tmp_path)) == str(tmp_path / "builds" / build)
    assert named(run[:20], str(tmp_path)) == str(tmp_path / "train" / run)
    for other in ("ab1", "spec.yaml", "/some/where", "s3://bucket/train/ab34"):
        assert named(other, str(tmp_path)) == other
    assert short_key(run) == "ab3400000000"


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, f"builds/{'ab12' + '0' * 60}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ab12").mkdir()
    assert named("ab12", str(tmp_path)) == "ab12"


def test_digits_of_no_key_and_of_several_are_errors_that_name_what_there_is(tmp_path: Path) -> None:
    make(tmp_path, f"builds/{'abcd1' + '0' * 59}", f"train/{'abcd2' + '0' * 59}")
    with pytest.raises(RequestError, match="ffff: neither a file nor the key of a build or run in .*store list"):
        named("ffff", str(tmp_path))
    with pytest.raises(RequestError, match="several keys .*: build abcd10000000, run abcd20000000; give more digits"):
        named("abcd", str(tmp_path))


def test_commands_take_what_build_and_store_list_print(
    mixproof: Callable[..., Finished], experiment: Experiment
) -> None:
    store, run = ("--store", experiment.store), Path(experiment.result["train"]["runs"][0]["run"]).name
    build = experiment.result["build"]["build"]
    assert f"build     {short_key(build)}" in mixproof("build", experiment.spec, *store).out
    listed = mixproof("store", "list", *store).out
    assert f" {short_key(build)} " in listed and f" {short_key(run)} " in listed
    audited = mixproof("audit", short_key(build), "--depth", "arithmetic", *store, "--json")
    assert audited.code == 0 and audited.json["ok"], audited.err
    traced = mixproof("trace", short_key(run), "--step", "1", *store, "--json")
    assert traced.code == 0 and traced.json["step"] == 1, traced.err
    other = Path(experiment.result["train"]["runs"][1]["run"]).name
    assert "prose × nano × seed 1" in listed and " small " in listed
    chosen = ("--mixture", "prose", "--proxy", "nano", "--seed", "2")
    by_name = mixproof("trace", experiment.spec, *chosen, "--step", "1", *store, "--json")
    assert by_name.code == 0 and by_name.json["step"] == 1, by_name.err
    of_run = mixproof("audit", experiment.spec, *chosen, "--depth", "arithmetic", *store, "--json")
    assert of_run.code == 0 and 0 < of_run.json["checks"] < audited.json["checks"] * 10, of_run.err
    compared = mixproof("diff", short_key(run), short_key(other), *store, "--json")
    assert compared.code == 0 and compared.json["differences"], compared.err


def test_a_run_of_a_spec_is_named_by_mixture_proxy_and_seed(experiment: Experiment) -> None:
    spec, store = str(experiment.spec), str(experiment.store)
    runs = {(run["mixture"], run["seed"]): run["run"] for run in experiment.result["train"]["runs"]}
    assert named_run(spec, store, RunChoice("prose", "nano", 2)) == runs["prose", 2]
    assert named_run(spec, store, RunChoice("mostly_code", seed=1)) == runs["mostly_code", 1]
    with pytest.raises(
        RequestError, match=r"--mixture prose: the spec has 2 such runs; .*: prose × nano × seed 1, prose"
    ):
        named_run(spec, store, RunChoice("prose"))
    with pytest.raises(RequestError, match=r"--mixture poetry: the spec has no such run; it has prose × nano × seed 1"):
        named_run(spec, store, RunChoice("poetry"))
    with pytest.raises(RequestError, match="--seed 1: these options choose a run of a spec, and abcd is not a spec"):
        named_run("abcd", store, RunChoice(seed=1))
