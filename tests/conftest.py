"""A small real corpus of every Python installation's own text, and the command line as a user runs it."""

from __future__ import annotations

import gzip
import json
import os
import pydoc_data.topics
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import zstandard
from hypothesis import settings

from mixproof.pipeline.cluster.cluster import Cluster
from object_store import ObjectStore, serve_objects

settings.register_profile("any machine", deadline=None)  # time is not what properties test, and machines are shared
settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parents[1]
SOURCE_ROOTS = [str(ROOT / room) for room in ("ledger", "mixtures", "pipeline", "tokenize", "train", "cli")]

SPEC = """\
schema: 1
name: small
sources:
  code: {files: "corpus/code/**/*.py", format: code, steps: [{length: {min_chars: 400}}]}
  manual: {files: "corpus/manual-*.jsonl.gz"}
  guide: {files: "corpus/guide.jsonl"}
  notes: {files: "corpus/notes.parquet"}
dedup: {exact: true, scope: all, keep: [manual, guide]}
heldout: {create: {tokens: 4K, min_documents: 3}}
tokenizer: {train: {vocab_size: 1200, bytes: 2MB}}
mixtures:
  prose: {manual: 40%, guide: 30%, notes: 30%, code: 0%}
  mostly_code: {code: 80%, manual: 10%, guide: 5%, notes: 5%}
train:
  sequence_length: 64
  proxies:
    nano: {tokens: 5120, global_batch_size: 8, lr: 2.0e-3, min_lr: 2.0e-4}
  seeds: [1, 2]
objective: {heldout_bpb: {manual: 1, code: 1}}
"""


class InThisProcess(Cluster):
    """Runs tasks one after the other, without Ray."""

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[object, ...]], **_: Any) -> list[Any]:  # noqa: ANN401
        """Give the results of the calls, in order."""
        return [function(*call) for call in calls]


@pytest.fixture
def inline() -> Cluster:
    """A cluster for what does not depend on Ray."""
    return InThisProcess()


@dataclass(frozen=True)
class Finished:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401  whatever the command says
        """What the command wrote to stdout, which is one JSON object and nothing else."""
        return json.loads(self.out)


def environment() -> dict[str, str]:
    """The environment of a command: the checkout's source roots, one thread a process."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(SOURCE_ROOTS), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}


def mixproof_command(*arguments: str | Path) -> list[str]:
    """The command line as a list."""
    return [sys.executable, "-m", "mixproof.cli", *map(str, arguments)]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One Ray of two processors for all tests; starts when the first of them runs a task.

    Its workers find the tests' functions: they do not import from the working directory.
    """
    roots = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch, Cluster(workers=2) as started:
        patch.setenv("PYTHONPATH", os.pathsep.join(roots))
        yield started


@pytest.fixture(scope="session")
def mixproof(cluster: Cluster) -> Callable[..., Finished]:
    """Run one mixproof command to its end, on the session's Ray: a Ray a command would take minutes in all."""
    cluster.run(json.dumps, [("",)], label="start")
    context = ray.get_runtime_context()
    joined = environment() | {"RAY_ADDRESS": context.gcs_address}

    def run(*arguments: str | Path) -> Finished:
        done = subprocess.run(
            mixproof_command(*arguments), env=joined, capture_output=True, text=True, timeout=500, check=False
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


def write_corpus(folder: Path) -> None:
    """Write four sources in four formats, with shared and damaged records on purpose."""
    folder.mkdir(parents=True)
    library = Path(sysconfig.get_paths()["stdlib"])
    for package in ("json", "email", "importlib"):
        for path in sorted((library / package).glob("*.py")):
            target = folder / "code" / package / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    topics = sorted(pydoc_data.topics.topics.items())
    records = [{"id": f"{name}/{k}", "text": part} for name, text in topics for k, part in enumerate(paragraphs(text))]
    manual, guide, notes = records[0::3], records[1::3], records[2::3]
    guide = [*guide, *manual[:20]]
    half = len(manual) // 2
    for number, part in enumerate((manual[:half], manual[half:])):
        (folder / f"manual-{number}.jsonl.gz").write_bytes(gzip.compress(jsonl(part), mtime=0))
    (folder / "guide.jsonl").write_bytes(jsonl(guide) + b'{"id": "broken"\n' + b"\n")
    pq.write_table(pa.Table.from_pylist(notes), folder / "notes.parquet", row_group_size=40)


def paragraphs(text: str) -> Iterator[str]:
    """Pieces of the manual of 600 characters or more, cut at empty lines."""
    piece = ""
    for paragraph in text.split("\n\n"):
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
        if len(piece) >= 600:
            yield piece
            piece = ""
    if piece.strip():
        yield piece


def jsonl(records: list[dict[str, str]]) -> bytes:
    """One JSON object a line."""
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def zst(data: bytes) -> bytes:
    """One zstd frame."""
    return zstandard.ZstdCompressor().compress(data)


def write_experiment(folder: Path, spec: str = SPEC) -> Path:
    """Write the corpus and a spec beside it; return the spec's path."""
    write_corpus(folder / "corpus")
    path = folder / "small.yaml"
    path.write_text(spec)
    return path


def raw_texts(corpus: Path, source: str) -> list[str]:
    """Read the texts of a source of the small corpus, with no code of ours."""
    if source == "code":
        return [path.read_text() for path in sorted((corpus / "code").rglob("*.py"))]
    if source == "notes":
        return [str(text) for text in pq.read_table(corpus / "notes.parquet")["text"].to_pylist()]
    if source == "manual":
        lines = [
            line for path in sorted(corpus.glob("manual-*")) for line in gzip.decompress(path.read_bytes()).splitlines()
        ]
    else:
        lines = [line for line in (corpus / "guide.jsonl").read_bytes().splitlines() if line.endswith(b"}")]
    return [json.loads(line)["text"] for line in lines]


@dataclass(frozen=True)
class Experiment:
    """A finished `mixproof run` that tests look at and must not change."""

    spec: Path
    store: Path
    result: Any


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory, mixproof: Callable[..., Finished]) -> Experiment:
    """The small experiment, run once a session."""
    folder = tmp_path_factory.mktemp("experiment")
    spec, store = write_experiment(folder), folder / "store"
    done = mixproof("run", spec, "--store", store, "--json")
    assert done.code == 0, done.err
    return Experiment(spec, store, done.json)


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3 server on this machine, over HTTP; the environment points at it from here on."""
    with serve_objects() as store:
        yield store
