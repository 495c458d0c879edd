"""Before a build, its shards are counted by key; those that were read are told from the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mixproof.ledger.store import Store
from mixproof.ledger.store.sealed import seal_receipts
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.progress import ReadProgress, read_progress

LINE = b'{"text": "a document of some words"}\n'


def test_shards_are_counted_before_while_and_after_they_are_read(
    make_spec: Callable[..., Spec], tmp_path: Path, cluster: Cluster
) -> None:
    for name, lines in (("one", 100), ("same", 100), ("other", 30)):
        (tmp_path / f"{name}.jsonl").write_bytes(LINE * lines)
    spec = make_spec({"web": ["one.jsonl", "same.jsonl"], "books": ["other.jsonl"]})
    store, half = Store(tmp_path / "store"), 50 * len(LINE)

    def progress() -> ReadProgress:
        return read_progress(spec, find_files(spec, tmp_path), store, shard_bytes=half)

    assert progress() == ReadProgress(5, 0, 230 * len(LINE))
    web = make_spec({"web": ["one.jsonl", "same.jsonl"]})
    read_sources(web, find_files(web, tmp_path), store, cluster, shard_bytes=half)
    assert progress() == ReadProgress(5, 4, 30 * len(LINE))  # two files of one content: their shards are read once
    assert seal_receipts(store, "read", store.keys("read"), least=2) == 3  # the list of inputs has one as well
    assert progress() == ReadProgress(5, 4, 30 * len(LINE))
    (tmp_path / "same.jsonl").write_bytes(LINE * 99)
    assert progress() == ReadProgress(5, 2, 129 * len(LINE))
