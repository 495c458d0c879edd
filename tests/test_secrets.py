"""Credentials that a command is given are in nothing that it writes or prints; names cannot steer a terminal."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from conftest import environment, mixproof_command
from object_store import ObjectStore

SECRETS = {
    "password": "pw-a1b2c3d4e5f6",
    "signature": "sig-0f1e2d3c4b5a",
    "environment": "env-99aa88bb77cc",
    "token": "hf_qwertyuiop12345",
}
SPEC = """\
schema: 1
name: planted
sources:
  web: {{files: "{url}", format: jsonl}}
  local: {{files: "in/*.jsonl"}}
heldout: {{create: {{tokens: 200, min_documents: 3}}}}
decontaminate: false
tokenizer: {{train: {{vocab_size: 300}}}}
mixtures: {{all: {{web: 50%, local: 50%}}}}
train:
  sequence_length: 32
  proxies: {{nano: {{tokens: 2K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}}}}
"""
STORE = "store[/b]"
"""Like a tag of rich's markup, which ends a style that was never begun."""
HOSTILE = "a\x1b]0;owned\x07\u202e.jsonl"


def texts(topic: str) -> bytes:
    lines = (
        f"{topic} number {n}: the {n * n}th of many sentences about {topic}, with words of its own" for n in range(90)
    )
    return b"".join(orjson.dumps({"id": f"\x1b[2J{n}", "text": line}) + b"\n" for n, line in enumerate(lines))


def written(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of everything in a folder."""
    for path in filter(Path.is_file, folder.rglob("*")):
        yield str(path), path.read_bytes()
        if path.suffix == ".parquet":  # compressed
            yield str(path), repr(pq.ParquetFile(path).read().to_pylist()).encode()


@pytest.mark.parametrize(
    "address", ["reader:{}@10.0.0.1:6379", "10.0.0.1:6379?token={}", "http://reader:{}@10.0.0.1:8265"]
)
def test_an_address_with_credentials_is_refused_and_shown_nowhere(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(url="in/*.jsonl"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(texts("rivers"))
    secret = address.format(SECRETS["password"])
    for given in (["--address", secret], []):
        monkeypatch.setenv("RAY_ADDRESS", "" if given else secret)
        done = subprocess.run(
            mixproof_command("build", "spec.yaml", "--store", "store", "-vv", *given),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 2 and b"not the address of a Ray cluster" in done.stderr
        for where, data in (("output", done.stdout + done.stderr), *written(tmp_path / "store")):
            assert SECRETS["password"].encode() not in data, where


def test_planted_credentials_are_nowhere_and_names_are_shown_harmlessly(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"planted-{uuid.uuid4().hex}"
    object_store.put(f"{object_store.bucket(bucket)}/web.jsonl", texts("rivers"))
    object_store.filesystem().chmod(f"{bucket}/web.jsonl", acl="public-read")
    host = object_store.endpoint.removeprefix("http://")
    query = f"X-Amz-Credential=x&X-Amz-Signature={SECRETS['signature']}"
    url = f"http://reader:{SECRETS['password']}@{host}/{bucket}/web.jsonl?{query}"
    monkeypatch.setenv("MIXPROOF_API_KEY", SECRETS["environment"])
    monkeypatch.setenv("HF_TOKEN", SECRETS["token"])
    for folder in ("in", "page["):
        (tmp_path / folder).mkdir()
    (tmp_path / "in" / HOSTILE).write_bytes(texts("mountains"))
    (tmp_path / "spec.yaml").write_text(SPEC.format(url=url))
    (tmp_path / "wrong.yaml").write_text(SPEC.format(url=url.replace("web.jsonl", f"{SECRETS['token']}.jsonl")))
    (tmp_path / "numpy.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit('not the real numpy')\n"
    )
    said = []
    for arguments in (
        ["build", "spec.yaml", "--store", STORE, "-vv", "--html", "page[/b].html"],
        ["store", "list", "--store", STORE],
        ["inspect", "spec.yaml", "--json"],
        ["plan", "wrong.yaml", "--store", STORE],
    ):
        python, *command = mixproof_command(*arguments)
        done = subprocess.run(
            [python, "-P", *command],  # like the script `mixproof`, it imports nothing from the working directory
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode == 0) == ("wrong.yaml" not in arguments), done.stderr.decode()
        said.append((" ".join(arguments), done.stdout + done.stderr))
    assert b"***" in said[-1][1]
    said.append(("page.html", (tmp_path / "page[/b].html").read_bytes()))
    for name, secret in SECRETS.items():
        for where, data in (*said, *written(tmp_path / STORE)):
            assert secret.encode() not in data, f"{name} in {where}"
    for where, data in said:
        for sign in (b"\x1b]0;", b"\x1b[2J", "\u202e".encode()):
            assert sign not in data, f"{sign!r} in {where}"
    assert (tmp_path / STORE / "builds").is_dir()
    assert not (tmp_path / "ran").exists(), "a module in the working directory ran"
    assert f"store {tmp_path}/{STORE}".encode() in said[1][1]
