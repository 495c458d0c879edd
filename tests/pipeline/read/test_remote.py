"""Inputs by URL are read as if they were local, in few large requests, and a store's refusal names the way out."""

from __future__ import annotations

import functools
import gzip
import io
import json
import resource
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from mixproof.ledger.errors import ClockError, DamagedFileError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Limits, Source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import InputFile, find_files
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.identify import hash_input, identify
from mixproof.pipeline.read.read import read_shard
from mixproof.pipeline.read.read_task import read_task
from mixproof.pipeline.read.shards import DOCUMENTS, plan_shards
from mixproof.pipeline.read.unpack import Pieces, unpack_file
from mixproof.pipeline.readers.raw import blocks_from
from mixproof.pipeline.readers.remote import opened_filesystem, stat_of, store_errors
from object_store import ObjectStore

FILES = {
    "a/one two#.jsonl": "".join(json.dumps({"text": f"line {n} é", "id": str(n)}) + "\n" for n in range(400)).encode(),
    "a/b/three[1].jsonl": b'\xef\xbb\xbf{"text": "after a mark"}\n{"text": 3}\nno json\n{"text": "no end of line"}',
}


def table(rows: int) -> bytes:
    written = io.BytesIO()
    rows_of = {"id": [str(n) for n in range(rows)], "text": [f"row {n} " * 50 for n in range(rows)]}
    pq.write_table(pa.table(rows_of), written, row_group_size=50)
    return written.getvalue()


def read_all(files: tuple[InputFile, ...], store: Store, shard_bytes: int) -> list[tuple[str, int, str]]:
    """(file, place, text) of every document, read shard by shard in this process."""
    found: list[tuple[str, int, str]] = []
    first: dict[str, int] = {}
    sha256 = {file.url: hash_input(file.url, file.bytes) for file in files}
    for plan in plan_shards({"s": files}, shard_bytes):
        task, name = read_task(plan, Source(), sha256), plan.files[0].name
        read_shard(store, task)
        receipt = store.receipt("read", task.key)
        assert receipt is not None
        rows = pq.read_table(store.path(f"read/{task.key}/{DOCUMENTS}")).to_pylist()
        found += [(name, row["record"] + first.get(name, 0), row["text"]) for row in rows]
        first[name] = first.get(name, 0) + int(receipt.facts["records"])
    return found


class QuietServer(SimpleHTTPRequestHandler):
    """A web server that ignores byte ranges, as Python's does."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: D102  as in the base class
        pass


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The same files on this machine."""
    for name, data in {**FILES, "a/t.parquet": table(400)}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture(params=["s3", "memory", "zip", "zip on s3"])
def place(request: pytest.FixtureRequest, corpus: Path) -> Iterator[str]:
    """The same files elsewhere: a pattern with a place for what is below `a`."""
    kind: str = request.param
    zipped = corpus / "corpus.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((corpus / "a").rglob("*.*")):
            archive.write(path, path.relative_to(corpus))
    if kind == "zip":
        yield "zip://a/{}::corpus.zip"
        return
    if kind == "memory":
        filesystem = fsspec.filesystem("memory")
        filesystem.put(str(corpus / "a"), "/corpus/", recursive=True)
        yield "memory://corpus/a/{}"
        filesystem.rm("/corpus", recursive=True)
        return
    server: ObjectStore = request.getfixturevalue("object_store")
    bucket = server.bucket(f"bucket-{kind.count(' ')}")
    if kind == "s3":
        for path in sorted((corpus / "a").rglob("*.*")):
            server.put(f"{bucket}/{path.relative_to(corpus)}", path.read_bytes())
        server.put(f"{bucket}/a/b/", b"")  # consoles make such objects for folders
        yield f"{bucket}/a/{{}}"
    else:
        server.put(f"{bucket}/corpus.zip", zipped.read_bytes())
        yield f"zip://a/{{}}::{bucket}/*.zip"
    server.filesystem().rm(bucket, recursive=True)


def test_files_elsewhere_are_found_read_and_cut_as_local_ones_are(
    place: str, corpus: Path, make_spec: Callable[..., Spec]
) -> None:
    def found(pattern: str) -> tuple[InputFile, ...]:
        return find_files(make_spec({"s": [pattern]}), corpus)["s"]

    local, elsewhere = found("a/**/*.[jp]*"), found(place.format("**/*.[jp]*"))
    assert [(f.name, f.bytes) for f in elsewhere] == [(f.name, f.bytes) for f in local]
    assert [hash_input(f.url, f.bytes) for f in elsewhere] == [hash_input(f.url, f.bytes) for f in local]
    assert all(file.tag and stat_of(file.url) == (file.bytes, file.tag) for file in elsewhere)
    texts = read_all(local, Store(corpus / "store"), 10**9)
    assert len(texts) == 400 + 2 + 400 and texts[0][2] == "after a mark"
    for number, shard_bytes in enumerate((10**9, 3000)):
        assert read_all(elsewhere, Store(corpus / f"store-{number}"), shard_bytes) == texts
    one = found(place.format("one two#.jsonl"))
    assert [file.name for file in one] == ["one two#.jsonl"]


def test_only_the_row_groups_of_a_shard_are_fetched(
    object_store: ObjectStore, tmp_path: Path, make_spec: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, data = object_store.bucket("groups"), table(5000)
    object_store.put(f"{bucket}/t.parquet", data)
    files = find_files(make_spec({"s": [f"{bucket}/*.parquet"]}), tmp_path)["s"]
    filesystem: Any = fsspec.filesystem("s3")
    fetched: list[int] = []
    get = type(filesystem).cat_file

    def counted(self: Any, path: str, start: int, end: int) -> Any:  # noqa: ANN401  fsspec ships no types
        fetched.append(end - start)
        return get(self, path, start=start, end=end)

    sha256 = {files[0].url: hash_input(files[0].url, len(data))}
    monkeypatch.setattr(type(filesystem), "cat_file", counted, raising=False)
    plan = plan_shards({"s": files}, len(data) // 4)[1]
    read_shard(Store(tmp_path / "store"), read_task(plan, Source(), sha256))
    assert len(fetched) <= 25 and sum(fetched) < len(data) / 2


def test_a_large_compressed_object_becomes_pieces_in_a_store_that_is_elsewhere_too(
    object_store: ObjectStore, tmp_path: Path, make_spec: Callable[..., Spec]
) -> None:
    bucket, data = object_store.bucket("packed"), FILES["a/one two#.jsonl"]
    object_store.put(f"{bucket}/a.jsonl.gz", gzip.compress(data))
    (file,) = files = find_files(make_spec({"s": [f"{bucket}/*.gz"]}), tmp_path)["s"]
    assert file.bytes > 1500
    store, sha256 = Store(f"{bucket}/store"), {file.url: hash_input(file.url, file.bytes)}
    key = "0" * 64
    unpack_file(store, key, file, sha256[file.url], Limits(), 1500)
    receipt = store.receipt("unpack", key)
    assert receipt is not None
    pieces = Pieces(f"unpack/{key}", tuple(receipt.facts["ends"]))
    shutil.rmtree(store.root)  # as on another node
    found = []
    for plan in plan_shards({"s": files}, 1500, {file: pieces}):
        task = read_task(plan, Source(), sha256)
        read_shard(store, task)
        found += pq.read_table(store.path(f"read/{task.key}/{DOCUMENTS}"))["text"].to_pylist()
    assert found == [json.loads(line)["text"] for line in data.splitlines()]
    assert len(pieces.ends) > 8


def test_a_web_server_without_byte_ranges_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n' * 3)
    handler = functools.partial(QuietServer, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.jsonl"
        assert b"".join(blocks_from(url, 0)) == (tmp_path / "a.jsonl").read_bytes()
        with pytest.raises(RequestError, match=r"its server sent more than the 28 bytes of a range, so it does not"):
            list(blocks_from(url, 14))
        server.shutdown()


class Hostile(BaseHTTPRequestHandler):
    """A server whose bodies have no end: plain, and compressed to a thousandth; its page is one tag of spaces."""

    def do_HEAD(self) -> None:
        """State a small file, or a page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "text/plain")
        self.send_header("Content-Length", "1000")
        self.end_headers()

    def do_GET(self) -> None:
        """Send until the client hangs up."""
        is_page = self.path.rstrip("/").endswith("page")
        data = b"<a" + b" " * 20_000 + b'><a href="b.jsonl">b</a>' if is_page else bytes(1_000_000)
        if self.path.startswith("/packed"):
            data = gzip.compress(bytes(100_000_000), 1) * 20
        self.send_response(200 if is_page else 206)
        self.send_header("Content-Type", "text/html" if is_page else "text/plain")
        if self.path.startswith("/packed"):
            self.send_header("Content-Encoding", "gzip")
        if is_page:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(data)
            while not is_page:
                self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing goes to stderr."""


def test_a_web_server_can_neither_fill_the_memory_nor_take_time_without_end() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for name in ("endless", "packed"):
            with pytest.raises(RequestError, match="server sent more than 64,000,000 bytes"):
                list(blocks_from(f"{url}/{name}.jsonl", 0))
            with pytest.raises(RequestError, match="server sent more than the 500 bytes of a range"):
                list(blocks_from(f"{url}/{name}.jsonl", 500))
        filesystem, path = opened_filesystem(f"{url}/page")
        assert filesystem.ls(path, detail=False) == [f"{url}/page/b.jsonl"]
        server.shutdown()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert kilobytes < 600_000, "bodies of gigabytes were held"


def test_an_object_replaced_within_its_size_is_noticed(
    object_store: ObjectStore, tmp_path: Path, make_spec: Callable[..., Spec]
) -> None:
    bucket = object_store.bucket("replaced")
    object_store.put(f"{bucket}/a.jsonl", b'{"text": "a"}\n')
    spec = make_spec({"s": [f"{bucket}/*.jsonl"]})
    before = find_files(spec, tmp_path)["s"]
    object_store.put(f"{bucket}/a.jsonl", b'{"text": "b"}\n')
    after = find_files(spec, tmp_path)["s"]
    assert before[0].bytes == after[0].bytes and before[0].tag != after[0].tag
    task = read_task(plan_shards({"s": before})[0], Source(), {before[0].url: "0" * 64})
    with pytest.raises(RequestError, match=r"a\.jsonl: changed since it was found"):
        read_shard(Store(tmp_path / "store"), task)


def test_two_colons_in_a_key_are_part_of_it(
    object_store: ObjectStore, tmp_path: Path, make_spec: Callable[..., Spec]
) -> None:
    bucket = object_store.bucket("colons")
    for key in ("a::b.jsonl", "c/d::e::f.jsonl", "g.jsonl"):
        object_store.filesystem().pipe_file(f"{bucket.removeprefix('s3://')}/{key}", b'{"text": "%s"}\n' % key.encode())
    files = find_files(make_spec({"s": [f"{bucket}/**/*.jsonl"]}), tmp_path)["s"]
    assert [file.name for file in files] == ["a::b.jsonl", "c/d::e::f.jsonl", "g.jsonl"]
    assert [text for _, _, text in read_all(files, Store(tmp_path / "store"), 10**9)] == [file.name for file in files]
    assert all(stat_of(file.url) == (file.bytes, file.tag) for file in files)


def test_memory_is_read_where_it_is_and_hashed_once(tmp_path: Path, make_spec: Callable[..., Spec]) -> None:
    fsspec.filesystem("memory").pipe_file("/here/a.jsonl", b'{"text": "a"}\n{"text": "b"}\n')
    spec, store = make_spec({"s": ["memory://here/*.jsonl"]}), Store(tmp_path / "store")
    files = find_files(spec, tmp_path)
    with Cluster(address="no-such-place:1") as idle:
        first = read_sources(spec, files, store, idle)["s"]
        assert first.inputs.records == 2
        assert (idle.stages_run, idle.stages_reused) == (1, 0)
        assert identify(files["s"], store, idle).keys() == {"memory:///here/a.jsonl"}
        read_sources(spec, files, store, idle)
        assert (idle.stages_run, idle.stages_reused) == (1, 1)


def test_what_a_store_refuses_is_told_with_the_way_out(
    object_store: ObjectStore, tmp_path: Path, make_spec: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(pattern: str) -> str:
        with pytest.raises(RequestError) as raised:
            find_files(make_spec({"s": [pattern]}), tmp_path)
        return str(raised.value)

    object_store.put(object_store.bucket("folders") + "/a/b.jsonl", b"")
    assert "sources.s.files: 's3://folders/a' is a folder" in refusal("s3://folders/a")
    assert "sources.s.files: no files match 's3://folders/c.jsonl'" in refusal("s3://folders/c.jsonl")
    assert "sources.s.files: no files match 's3://folders/*.parquet'" in refusal("s3://folders/*.parquet")
    assert "no-such-bucket" in refusal("s3://no-such-bucket/*.jsonl")
    assert "pip install gcsfs" in refusal("gs://bucket/*.jsonl")
    assert "nonsense://" in refusal("nonsense://bucket/*.jsonl")
    assert "no files match" in refusal("zip://*.jsonl::nowhere.zip")
    (tmp_path / "no.zip").write_bytes(b"this is no archive")
    with pytest.raises(DamagedFileError, match=r"no\.zip: directory of the archive: not a complete zip file"):
        find_files(make_spec({"s": ["zip://*.jsonl::no.zip"]}), tmp_path)
    fsspec.filesystem("s3").clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert "permission denied: NoCredentialsError" in (error := refusal("s3://folders/*.jsonl"))
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in error
    fsspec.filesystem("s3").clear_instance_cache()


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
FLAGS, METHOD = (6, 8), (8, 10)
"""Where they stand behind the marks of the two heads that a member of a zip file has."""


@pytest.mark.parametrize(
    ("places", "value", "says"),
    [
        (
            FLAGS,
            1,
            r"zip://a\.jsonl::.*a\.zip: cannot be decompressed: .*password required.*; extract the archive",
        ),
        (METHOD, 9, r"zip://a\.jsonl::.*a\.zip: cannot be decompressed: NotImplementedError: .* extract the archive"),
        ((37, 16), 255, r"zip://a\.jsonl::.*a\.zip: in the archive: cannot be decompressed: "),
    ],
)
def test_a_member_of_a_zip_file_that_cannot_be_unpacked_is_told(
    tmp_path: Path, make_spec: Callable[..., Spec], places: tuple[int, int], value: int, says: str
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", b'{"text": "a text"}\n' * 9)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for mark, place in zip((LOCAL, CENTRAL), places, strict=True):
        data[data.index(mark) + place] = value
    (tmp_path / "a.zip").write_bytes(data)
    (file,) = find_files(make_spec({"s": ["zip://*.jsonl::a.zip"]}), tmp_path)["s"]
    with pytest.raises((RequestError, DamagedFileError), match=says):
        hash_input(file.url, file.bytes)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # zipfile's, while the file is made
def test_two_members_of_one_name_are_an_error_because_only_the_last_could_be_read(
    tmp_path: Path, make_spec: Callable[..., Spec]
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("d/", "d/a.jsonl", "d/b.jsonl", "d/", "d/a.jsonl"):
            archive.writestr(name, b"{}" if name.endswith("l") else b"")
    with pytest.raises(RequestError, match=r"sources\.s\.files: .*a\.zip holds 2 files named 'd/a\.jsonl'"):
        find_files(make_spec({"s": ["zip://**/*.jsonl::a.zip"]}), tmp_path)


def test_a_range_of_an_object_comes_in_blocks(object_store: ObjectStore) -> None:
    url = object_store.bucket("blocks") + "/x"
    object_store.put(url, bytes(range(256)) * 100_000)
    blocks = list(blocks_from(url, 10))
    assert [len(block) for block in blocks] == [16_000_000, 25_600_000 - 16_000_000 - 10]
    assert b"".join(blocks)[:3] == bytes((10, 11, 12))


def test_a_server_that_refuses_a_file_because_of_this_machines_clock_is_named_as_such() -> None:
    metadata = {"HTTPStatusCode": 403, "HTTPHeaders": {"date": formatdate(time.time() + 3600, usegmt=True)}}
    refused = PermissionError("Forbidden")  # as s3fs raises it for a HEAD request, whose answer has no reason
    refused.__cause__ = ClientError({"Error": {"Code": "403"}, "ResponseMetadata": metadata}, "HeadObject")
    said = rf"s3://folders/a.jsonl: the clock of {socket.gethostname()} is wrong"
    with pytest.raises(ClockError, match=said), store_errors("s3://folders/a.jsonl"):
        raise refused
