"""`--html` end to end: the page of a real store says what the command says."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Experiment, Finished

Mixproof = Callable[..., Finished]


def test_the_page_says_what_compare_says(experiment: Experiment, mixproof: Mixproof, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    done = mixproof("compare", experiment.spec, "--store", experiment.store, "--html", file, "--json")
    assert done.code == 0, done.err
    assert done.json == experiment.result["compare"]
    assert str(file) in done.err
    page = html.unescape(file.read_text())
    assert f'<p class="lead">{done.json["verdict"]}.</p>' in page
    for run in experiment.result["train"]["runs"]:
        record = Path(run["run"]) / "run.json"
        assert str(record) in page
        assert hashlib.sha256(record.read_bytes()).hexdigest() in page
        for source in run["delivered"].values():
            assert f">{source['tokens']:,}</a>" in page
    for row in done.json["groups"][0]["table"]:
        assert f">{row['objective']['mean']:.4f}</a>" in page
    assert Path(experiment.result["build"]["manifest"]).read_text() in page
    assert experiment.spec.read_text() in page


@pytest.mark.parametrize("place", [".", "nowhere/report.html"])
def test_a_place_where_no_page_can_be_written_is_refused_before_any_work(
    place: str, experiment: Experiment, mixproof: Mixproof, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    done = mixproof("run", experiment.spec, "--store", store, "--html", tmp_path / place)
    assert done.code == 2
    assert "--html" in done.err
    assert not store.exists()


def test_a_build_refuses_such_a_place_too(experiment: Experiment, mixproof: Mixproof, tmp_path: Path) -> None:
    done = mixproof("build", experiment.spec, "--store", tmp_path / "store", "--html", tmp_path)
    assert (done.code, (tmp_path / "store").exists()) == (2, False)
    assert "is a folder" in done.err
