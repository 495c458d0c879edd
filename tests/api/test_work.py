"""Building and training from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

import mixproof
from conftest import Experiment
from mixproof.pipeline.cluster.cluster import Cluster


@pytest.fixture
def joined(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.run(len, [("",)], label="start")
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)


def test_build_and_train_give_what_the_commands_gave_and_run_nothing_again(
    experiment: Experiment, joined: None
) -> None:
    build = mixproof.build(mixproof.load_spec(experiment.spec), experiment.store)
    assert build.build == experiment.result["build"]["build"] and build.stages_run == 0
    assert build.stages_reused == experiment.result["build"]["stages_run"]
    assert list(build.account) == list(build.store.account(build.build))
    runs = mixproof.train(str(experiment.spec), experiment.store)
    assert sorted(run.key for run in runs) == sorted(
        Path(run["run"]).name for run in experiment.result["train"]["runs"]
    )


def test_a_spec_that_is_wrong_is_refused_with_its_place(tmp_path: Path) -> None:
    spec = tmp_path / "wrong.yaml"
    spec.write_text("schema: 1\nname: wrong\nsuorces: {}\n")
    with pytest.raises(mixproof.SpecError, match=r"wrong.yaml:3: suorces"):
        mixproof.build(spec, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_training_what_is_not_built_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(mixproof.MixproofError, match="there is no build in"):
        mixproof.train(experiment.spec, tmp_path)
