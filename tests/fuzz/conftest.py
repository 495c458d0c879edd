"""A real build, its draws and a real run, small enough to be audited in a tenth of a second."""

from __future__ import annotations

import gzip
import json
import pydoc_data.topics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from in_process import InProcess
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.ledger.store.sealed import seal_receipts
from mixproof.mixtures.load import load_spec
from mixproof.tokenize.build import build
from mixproof.tokenize.tokenizer.train_tokenizer import train_model
from mixproof.train.evaluate.external.external import find_external
from mixproof.train.evaluate.external.external_scoring import score_run
from mixproof.train.launch.plan import plan_requests
from mixproof.train.launch.runs_table import write_runs_table
from mixproof.train.loop.run import train_run
from mixproof.train.record import ArchitectureRecord

SPEC = """\
schema: 1
name: small
sources:
  manual: {files: "manual-*.jsonl", steps: [{length: {min_chars: 100}}]}
  guide: {files: "guide.jsonl.gz"}
on_bad_record: {reject: 10%}
dedup: {exact: true, keep: [manual]}
heldout: {create: {min_documents: 2, tokens: 200}}
tokenizer: {sentencepiece: tok.model}
external: {sets: {outside: "outside.jsonl"}}
target: {tokens: 64K, max_epochs: {default: 20}}
mixtures: {even: {parts: {manual: 1, guide: 1}}}
train:
  sequence_length: 32
  checkpoint_every: 256
  evaluate_every: 256
  proxies: {nano: {tokens: 512, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}}
"""


SEALED_STAGES = ("heldout", "tokens")
"""Whose receipts lie in one Parquet, as those of large builds do."""


@dataclass(frozen=True)
class Victim:
    """A store with one build and one run."""

    store: Store
    manifest_path: Path
    run_path: Path

    @property
    def manifest(self) -> Manifest:
        """The build's statement."""
        return read_manifest(self.manifest_path)

    @property
    def files(self) -> list[Path]:
        """Every file of the store."""
        return sorted(path for path in self.store.root.rglob("*") if path.is_file())

    @contextmanager
    def damaged(self, changes: dict[Path, bytes | None]) -> Iterator[None]:
        """The store with these files as given (None: without them), and as it was afterwards."""
        before = {path: path.read_bytes() for path in changes}
        try:
            for path, data in changes.items():
                if data is None:
                    path.unlink()
                else:
                    path.write_bytes(data)
            yield
        finally:
            for path, data in before.items():
                path.write_bytes(data)


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """The build and the run in a folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    return make_victim(folder, Store(folder / "store"))


@pytest.fixture(scope="session")
def make() -> Callable[[Path, Store], Victim]:
    """Make the same build and run in another store."""
    return make_victim


def make_victim(folder: Path, store: Store) -> Victim:
    """Parts of 8 KB, two sources that share documents, bad records, a checkpoint in the middle of the run."""
    texts = list(dict.fromkeys(str(text) for text in pydoc_data.topics.topics.values()))
    (folder / "tok.model").write_bytes(train_model(texts, 600))

    def line(text: str) -> bytes:
        return json.dumps({"text": text}).encode() + b"\n"

    for number, part in enumerate((texts[:12], texts[12:24])):
        (folder / f"manual-{number}.jsonl").write_bytes(b"\n".join(map(line, part)))
    guide = [*map(line, texts[24:40]), b"{broken\n", *map(line, texts[:2]), line("   ")]
    (folder / "guide.jsonl.gz").write_bytes(gzip.compress(b"".join(guide)))
    (folder / "outside.jsonl").write_bytes(b"".join(map(line, texts[40:43])))
    (folder / "spec.yaml").write_text(SPEC)
    loaded = load_spec(folder / "spec.yaml")
    with InProcess() as cluster:
        built = build(loaded, store, cluster, part_bytes=8_000)
        (request,) = plan_requests(loaded.spec, built.manifest, store, cluster)
    shape = ArchitectureRecord(layers=1, hidden=16, ffn=24, heads=2, kv_heads=1, head_dim=8)
    record = train_run(request.model_copy(update={"architecture": shape}))
    score_run(str(store.path(f"train/{record.key}")), find_external(loaded.spec, loaded.base))
    write_runs_table(store)
    for stage in SEALED_STAGES:
        seal_receipts(store, stage, store.keys(stage), least=1)
    return Victim(store, built.manifest_path, store.path(f"train/{record.key}/run.json"))
