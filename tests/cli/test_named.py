"""Builds and runs by the first digits of their keys, in every command that takes their paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Experiment, Finished
from mixproof.cli.named import named, short_key
from mixproof.ledger.errors import RequestError
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
    compared = mixproof("diff", short_key(run), short_key(other), *store, "--json")
    assert compared.code == 0 and compared.json["differences"], compared.err
