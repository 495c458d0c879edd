"""Opening a request: its store, the checkpoint that it starts from, and its files."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from conftest import SPEC, Experiment, write_experiment
from mixproof.cli.before_work import open_for_work
from mixproof.cli.commands.build import run_build
from mixproof.cli.request import check_job_store, open_request
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster


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


def test_a_command_lists_the_files_of_a_spec_once(
    tmp_path: Path, inline: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings: list[str] = []
    find = MemoryFileSystem.find

    def counted(filesystem: MemoryFileSystem, path: str, **options: object) -> object:
        listings.append(path)
        return find(filesystem, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "find", counted)
    files = fsspec.filesystem("memory")
    for number in range(3):
        text = "".join(f'{{"text": "a document of file {number}, line {line}"}}\n' for line in range(200))
        files.pipe_file(f"/listed/{number}.jsonl", text.encode())
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "schema: 1\nname: listed\nsources: {web: {files: 'memory:///listed/*.jsonl'}}\n"
        "tokenizer: {train: {vocab_size: 300}}\nmixtures: {only: {web: 1}}\n"
        "train: {sequence_length: 16, proxies: {nano: {tokens: 1000, global_batch_size: 1, lr: 0.01}}}\n"
    )
    request = open_for_work(spec, str(tmp_path / "store"), "build")
    result = run_build(request, inline)
    assert result.manifest.sources["web"].inputs.files == 3
    assert listings == ["/listed"]
    assert request.manifest_path() == result.manifest_path
