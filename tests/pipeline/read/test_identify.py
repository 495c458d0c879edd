"""Files are known by their content, and are read again only when their size or time has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import read_sources
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


def _replace(path: Path, data: bytes) -> None:
    """Another content of the same size, with the old modification time."""
    status = path.stat()
    assert len(data) == status.st_size
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_no_hash_of_a_content_that_was_there_for_a_while_stays_with_a_file(
    tmp_path: Path, make_spec: Callable[..., Spec], cluster: Cluster
) -> None:
    path, store, spec = tmp_path / "a.jsonl", Store(tmp_path / "store"), make_spec({"s": ["a.jsonl"]})
    path.write_bytes(b"one")
    shutil.copy2(path, tmp_path / "backup")
    found = find_files(spec, tmp_path)["s"]
    _replace(path, b"two")  # found as the old content and hashed as the new one
    assert identify(found, store, cluster)[str(path)] == hashlib.sha256(b"two").hexdigest()
    shutil.copy2(tmp_path / "backup", path)
    assert identify(find_files(spec, tmp_path)["s"], store, cluster)[str(path)] == hashlib.sha256(b"one").hexdigest()


def test_a_file_of_another_time_than_when_it_was_found_leaves_no_hash_behind(
    tmp_path: Path, make_spec: Callable[..., Spec], cluster: Cluster
) -> None:
    path, store, spec = tmp_path / "a.jsonl", Store(tmp_path / "store"), make_spec({"s": ["a.jsonl"]})
    path.write_bytes(b"one")
    found = find_files(spec, tmp_path)["s"]
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 0))
    change = r"a\.jsonl: changed since it was found \(modified at 20.* UTC, then at 1970-01-01 00:00:00\.0+ UTC\)"
    with pytest.raises(RequestError, match=change):
        identify(found, store, cluster)
    assert store.keys("identify") == []


def test_a_content_that_takes_the_place_of_the_identified_one_is_not_read_under_its_key(
    tmp_path: Path, make_spec: Callable[..., Spec], cluster: Cluster
) -> None:
    path, store, spec = tmp_path / "a.jsonl", Store(tmp_path / "store"), make_spec({"s": ["a.jsonl"]})
    path.write_bytes(b'{"text": "one"}')
    found = find_files(spec, tmp_path)
    identify(found["s"], store, cluster)
    _replace(path, b'{"text": "two"}')
    with pytest.raises(RequestError, match="its content is not the one that was identified"):
        read_sources(spec, found, store, cluster)


def test_a_file_that_gets_another_link_meanwhile_is_still_the_file_that_was_identified(
    tmp_path: Path, make_spec: Callable[..., Spec], cluster: Cluster
) -> None:
    path, store, spec = tmp_path / "a.jsonl", Store(tmp_path / "store"), make_spec({"s": ["a.jsonl"]})
    path.write_bytes(b'{"text": "one"}')
    found = find_files(spec, tmp_path)
    identify(found["s"], store, cluster)
    os.link(path, tmp_path / "snapshot")  # as backups make them: the inode changes, its content does not
    assert read_sources(spec, found, store, cluster)["s"].shards[0].documents == 1
