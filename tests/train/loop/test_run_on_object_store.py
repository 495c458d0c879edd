"""A run on an object store is that of a folder: trained in a copy, killed, gone on with elsewhere, audited, traced."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import environment
from mixproof.ledger.location import locate
from mixproof.ledger.store import Store
from mixproof.tokenize.audit import copy_build, copy_run, in_store
from mixproof.train.audit.run import audit_run
from mixproof.train.checkpoint.weights import open_finished_run
from mixproof.train.data.trace import trace_document, trace_step
from mixproof.train.finished import finished_record
from mixproof.train.loop.run import train_run
from mixproof.train.request import RunRequest
from object_store import ObjectStore

STEPS = {"steps": 12, "checkpoint_steps": 4}
WORKER = (
    "import sys; from pathlib import Path; from mixproof.train.request import RunRequest; "
    "from mixproof.train.loop.run import train_run; "
    "train_run(RunRequest.model_validate_json(Path(sys.argv[1]).read_bytes()))"
)


@pytest.fixture
def request_there(
    make_request: Callable[..., RunRequest],
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> RunRequest:
    """A run of 12 steps with a checkpoint every fourth one, whose build and draws lie in a bucket."""
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "copies"))
    request = make_request(place="there", **STEPS)
    url = f"{object_store.bucket(f'bucket-{uuid.uuid4().hex}')}/store"
    object_store.filesystem().put(f"{request.store}/", f"{url}/", recursive=True)
    return request.model_copy(update={"store": url})


def train_until(request: RunRequest, name: str, folder: Path) -> None:
    """Train in a process that is killed once the bucket holds the file `name` of the run."""
    path = folder / "request.json"
    path.write_text(request.model_dump_json())
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(path)], env=environment())
    end = time.monotonic() + 120
    while name not in Store(request.store).sizes(f"train/{request.key}"):
        assert process.poll() is None, "the worker ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_killed_run_goes_on_from_what_the_bucket_holds(
    make_request: Callable[..., RunRequest], request_there: RunRequest, tmp_path: Path, elsewhere: bool
) -> None:
    expected = train_run(make_request(place="here", **STEPS))
    store, place = Store(request_there.store), f"train/{request_there.key}"
    train_until(request_there, "checkpoints/iter_000000000016/files.json", tmp_path)
    assert finished_record(store, request_there) is None
    if elsewhere:
        shutil.rmtree(store.root)  # another machine has no copies
    else:  # killed after a checkpoint was written and before it was put
        later = store.root / place / "checkpoints" / "iter_000000000044" / "files.json"
        later.parent.mkdir()
        later.write_text("half")
    assert train_run(request_there).to_bytes() == expected.to_bytes()
    assert finished_record(store, request_there) == expected
    assert "checkpoints/iter_000000000044/files.json" not in store.sizes(place)


def test_a_run_of_a_bucket_is_audited_and_traced_by_its_url_from_another_machine(
    make_request: Callable[..., RunRequest], request_there: RunRequest
) -> None:
    local = make_request(place="here", **STEPS)
    here = Path(local.store) / "train" / local.key
    train_run(local)
    train_run(request_there)
    store = Store(request_there.store)
    shutil.rmtree(store.root)
    url = store.location(f"train/{request_there.key}")
    step, document = trace_step(url, 3).to_json(), trace_document(url, "manual-train#3").to_json()
    assert (step.pop("run"), document.pop("run")) == (url, url)
    for found, expected in ((step, trace_step(here, 3)), (document, trace_document(here, "manual-train#3"))):
        plain = expected.to_json()
        assert plain.pop("run") == str(here)
        assert found == plain
    assert open_finished_run(f"{url}/run.json").record == open_finished_run(here).record
    place = locate(url)
    copy_build(store, store.path(f"builds/{request_there.build}/manifest.json"), "bytes")
    store.fetch("encode")  # outputs of this build have no keys that the copying would know
    copy_run(store, place.key, "bytes")
    failures = in_store(audit_run(store.root / place.name / "run.json"), store).failures
    assert failures == audit_run(here / "run.json").failures == ()
    name = f"{place.name}/checkpoints/iter_000000000048/.metadata"
    store.write(name, store.path(name).read_bytes()[:-1])
    assert finished_record(store, request_there) is None
    copy_run(store, place.key, "bytes")
    failures = in_store(audit_run(store.root / place.name / "run.json"), store).failures
    assert store.location(name) in {failure.file for failure in failures}
    assert os.environ["MIXPROOF_CACHE"] not in str(failures)
