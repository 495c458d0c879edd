"""A build on an object store, killed half-way and gone on with on another machine, is the build of a folder."""

from __future__ import annotations

import subprocess
import time
import uuid
from pathlib import Path

import pytest

from conftest import Experiment, Finished, environment, mixproof_command
from mixproof.ledger.store import Store
from object_store import ObjectStore


def run(*arguments: str | Path) -> Finished:
    """Run a command with a Ray of its own: that of the session knows neither this server nor its credentials."""
    done = subprocess.run(
        mixproof_command(*arguments), env=environment(), capture_output=True, text=True, timeout=500, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def outputs(store: Store) -> dict[str, bytes]:
    names = [name for stage in ("encode", "builds", "tokenizer", "heldout") for name in store.find(stage)]
    return store.read([name for name in names if not name.endswith("circumstances.json") and "/by-spec/" not in name])


def test_a_build_killed_half_way_goes_on_from_another_machine_to_the_same_bytes(
    experiment: Experiment,
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"{object_store.bucket(f'bucket-{uuid.uuid4().hex}')}/store"
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "one"))
    command = mixproof_command("build", experiment.spec, "--store", url)
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    end = time.monotonic() + 240
    while not any(name.endswith("/receipt.json") for name in Store(url).find("tokens")):
        assert process.poll() is None, "the command ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.wait()
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "other"))
    again = run("build", experiment.spec, "--store", url, "--json")
    assert again.code == 0, again.err
    build = experiment.result["build"]["build"]
    assert (again.json["build"], again.json["manifest"]) == (build, f"{url}/builds/{build}/manifest.json")
    assert again.json["stages_reused"] > 0
    assert outputs(Store(url)) == outputs(Store(experiment.store))
    planned = run("plan", experiment.spec, "--store", url, "--json").json
    assert (planned["built"], planned["runs_finished"]) == (True, 0)


def test_a_store_that_cannot_be_used_is_refused_before_any_work(
    experiment: Experiment, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert object_store.environment["AWS_SECRET_ACCESS_KEY"]
    refused = run("build", experiment.spec, "--store", "s3://nowhere-at-all/store")
    assert refused.code == 2
    assert "there is no bucket nowhere-at-all" in refused.err
    assert run("store", "list", "--store", "s3://").code == 2
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused = run("store", "list", "--store", "s3://nowhere-at-all/store")
    assert refused.code == 2
    assert "provide credentials" in refused.err
    assert "Traceback" not in refused.err
