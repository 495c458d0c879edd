"""Large compressed files are read in pieces that give the records of the whole; damage is named before that."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Limits
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import InputFile, find_files
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.identify import identify
from mixproof.pipeline.read.progress import ReadProgress, read_progress
from mixproof.pipeline.read.shards import SHARD_BYTES, Shard
from mixproof.pipeline.read.unpack import STAGE, is_unpacked, unpack_file, unpack_files

SIZE = 60
LINES = [
    b'{"text": "one"}', b"", b"PK\x03\x04 is no document", b'\xef\xbb\xbf{"text": "two"}', b"[1]",
    *(b'{"text": "document %d with some words", "id": "i%d"}' % (n, n) for n in range(9)),
    b'{"text": "the last line has no end"}',
]  # fmt: skip


def conversion(text: str) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: {len(text)}\r\n\r\n"
    return f"{head}{text}\r\n\r\n".encode()


def rows_of(store: Store, shards: tuple[Shard, ...], name: str) -> list[tuple[object, ...]]:
    """The rows of a file of every shard that has one, with the record in the whole file."""
    return [
        (shard.file, shard.first_record + row["record"], *(row[each] for each in sorted(row) if each != "record"))
        for shard in shards
        if (path := store.path(f"{shard.folder}/{name}")).is_file()
        for row in pq.read_table(path).to_pylist()
    ]


def test_pieces_give_the_documents_and_rejects_of_the_whole(
    make_spec: Callable[..., Spec], tmp_path: Path, cluster: Cluster
) -> None:
    packed = gzip.compress(b"\n".join(LINES[:8]) + b"\n") + gzip.compress(b"\n".join(LINES[8:]))
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    members = [gzip.compress(conversion(text)) for text in ("one", "two words", "a longer text")]
    members.insert(1, gzip.compress(b"WARC/1.0\r\nContent-Length: many\r\n\r\nlost\r\n\r\n"))
    (tmp_path / "b.wet.gz").write_bytes(b"".join(members))
    spec = make_spec({"s": ["a.jsonl.gz", "b.wet.gz"]}, reject="50%")
    files = find_files(spec, tmp_path)
    found = {}
    for size in (SIZE, SHARD_BYTES):
        store = Store(tmp_path / f"store {size}")
        before = read_progress(spec, files, store, shard_bytes=size)
        assert before == ReadProgress(2, 0, len(packed) + len(b"".join(members)))
        source = read_sources(spec, files, store, cluster, shard_bytes=size)["s"]
        rows = [rows_of(store, source.shards, name) for name in ("documents.parquet", "rejects.parquet")]
        found[size] = (rows, source.ledger, source.inputs.sha256)
        after = read_progress(spec, files, store, shard_bytes=size)
        assert after == ReadProgress(len(source.shards), len(source.shards), 0)
    assert found[SIZE] == found[SHARD_BYTES]
    assert len(read_sources(spec, files, Store(tmp_path / f"store {SIZE}"), cluster, shard_bytes=SIZE)["s"].shards) > 8


def test_a_truncated_member_is_named_with_file_and_offset_and_leaves_no_piece(tmp_path: Path) -> None:
    path, store = tmp_path / "a.jsonl.gz", Store(tmp_path / "store")
    packed = gzip.compress(LINES[0] + b"\n") + gzip.compress(LINES[3] + b"\n")
    path.write_bytes(packed[:-5])
    status = path.stat()
    file = InputFile("s", path.name, str(path), status.st_size, status.st_mtime_ns, "jsonl", "gz")
    with pytest.raises(DamagedFileError, match=rf"{path}: compressed offset {len(packed) - 5}: the file ends inside"):
        unpack_file(store, "0" * 64, file, "", Limits(), 10)
    assert store.keys(STAGE) == []


def test_pieces_are_made_once_and_again_where_one_is_missing(
    make_spec: Callable[..., Spec], tmp_path: Path, cluster: Cluster
) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(LINES)))
    spec, store = make_spec({"s": ["a.jsonl.gz"]}), Store(tmp_path / "store")
    (file,) = find_files(spec, tmp_path)["s"]
    sha256 = identify([file], store, cluster)

    def unpack() -> int:
        before = cluster.stages_run
        pieces = unpack_files([file], sha256, store, cluster, limits=Limits(), shard_bytes=SIZE)[file]
        assert pieces.ends[-1] == len(b"\n".join(LINES))
        assert all(store.path(pieces.path(index)).is_file() for index in range(len(pieces.ends)))
        return cluster.stages_run - before

    assert [unpack(), unpack()] == [1, 0]
    next(store.root.glob(f"{STAGE}/*/000002.zst")).unlink()
    assert [unpack(), unpack()] == [1, 0]


def test_small_files_formats_without_records_and_files_with_attributes_are_read_as_a_whole() -> None:
    large = InputFile("s", "a.jsonl.gz", "/a.jsonl.gz", 11, 0, "jsonl", "gz")
    assert is_unpacked(large, 10)
    for other in (
        replace(large, bytes=10), replace(large, compression=None), replace(large, format="text"),
        replace(large, attributes=(large,)),
    ):  # fmt: skip
        assert not is_unpacked(other, 10)
