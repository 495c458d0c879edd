"""Opening a request: its store, and the checkpoint that it starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import SPEC, Experiment, write_experiment
from mixproof.cli.request import check_job_store, open_request
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store


def test_a_store_in_the_folder_of_a_ray_job_is_refused_and_other_stores_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    check_job_store(Store(".mixproof"))  # a shell in that folder is no job
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(RequestError, match="is deleted with the job; give --store"):
        check_job_store(Store(".mixproof"))
    for kept in (tmp_path / "store", "s3://bucket/store"):
        check_job_store(Store(kept))


def test_init_from_takes_the_start_of_the_key_of_a_run_in_the_store(experiment: Experiment, tmp_path: Path) -> None:
    key = Store(experiment.store).keys("train")[0]
    started = SPEC.replace("length: 64", f'length: 64\n  init_from: "{key[:10]}"')
    spec = write_experiment(tmp_path / "started", started)
    assert open_request(spec, str(experiment.store)).loaded.spec.train.init_from is not None
    with pytest.raises(RequestError, match=r"train\.init_from: .* no run in .* has a key that starts with"):
        open_request(spec, str(tmp_path / "other"))
