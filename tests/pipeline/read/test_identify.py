"""Files are known by their content, and are read again only when their size or time has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.read.files import find_files
from mixproof.pipeline.read.identify import identify


def test_hashes_are_those_of_the_content_and_are_remembered(
    tmp_path: Path, make_spec: Callable[..., Spec], cluster: Cluster
) -> None:
    for name, content in (("a.jsonl", b"a"), ("b.jsonl", b"")):
        (tmp_path / name).write_bytes(content)
    store = Store(tmp_path / "store")
    spec = make_spec({"s": ["*.jsonl"]})
    known = identify(find_files(spec, tmp_path)["s"], store, cluster)
    expected = {str(tmp_path / n): hashlib.sha256(c).hexdigest() for n, c in (("a.jsonl", b"a"), ("b.jsonl", b""))}
    assert known == expected
    with Cluster(address="no-such-place:1") as idle:
        assert identify(find_files(spec, tmp_path)["s"], store, idle) == expected


def test_a_changed_file_is_read_again(tmp_path: Path, make_spec: Callable[..., Spec], cluster: Cluster) -> None:
    path, store, spec = tmp_path / "a.jsonl", Store(tmp_path / "store"), make_spec({"s": ["a.jsonl"]})
    path.write_bytes(b"one")
    first = identify(find_files(spec, tmp_path)["s"], store, cluster)
    path.write_bytes(b"two")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))
    second = identify(find_files(spec, tmp_path)["s"], store, cluster)
    assert first[str(path)] == hashlib.sha256(b"one").hexdigest()
    assert second[str(path)] == hashlib.sha256(b"two").hexdigest()
