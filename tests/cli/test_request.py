"""Opening a request: refused where its store would be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixproof.cli.request import check_job_store
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
