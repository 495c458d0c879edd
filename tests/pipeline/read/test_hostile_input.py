"""Hostile input: each kind has one declared outcome, and nothing is lost without a count."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mixproof.ledger.errors import BadRecordsError, DamagedFileError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Limits, Source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import SourceDocuments, read_sources
from mixproof.pipeline.read.identify import hash_input
from mixproof.pipeline.read.read_task import read_task
from mixproof.pipeline.read.records import records_of
from mixproof.pipeline.read.shards import plan_shards
from mixproof.pipeline.readers import raw
from mixproof.pipeline.readers.jsonl import read_jsonl
from mixproof.pipeline.record import Raw, Reject

NOBODY = 65534
Read = Callable[..., tuple[SourceDocuments, list[tuple[str | None, str]]]]


@pytest.fixture
def read(tmp_path: Path, make_spec: Callable[..., Spec], cluster: Cluster) -> Read:
    """Read a folder `in` of hostile files; gives the source and (id, text) of its documents."""

    def run(
        files: Mapping[str, bytes] | None = None, pattern: str = "in/*", reject: str = "100%", **source: str
    ) -> tuple[SourceDocuments, list[tuple[str | None, str]]]:
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        for name, data in (files or {}).items():
            (folder / name).write_bytes(data)
        spec = make_spec({"s": Source.model_validate({"files": (pattern,), **source})}, reject=reject)
        store = Store(tmp_path / "store")
        found = read_sources(spec, find_files(spec, tmp_path), store, cluster)["s"]
        tables = [pq.read_table(store.path(f"{shard.folder}/documents.parquet")) for shard in found.shards]
        return found, [(row["id"], row["text"]) for table in tables for row in table.to_pylist()]

    return run


def dropped(source: SourceDocuments) -> dict[str, int]:
    return {reason: count.documents for reason, count in source.ledger[0].dropped.items()}


def test_hostile_lines_have_their_reasons_and_their_neighbours_stay(read: Read) -> None:
    lines = {
        b'{"text": "CESU-8 \xed\xa0\xbd\xed\xb8\x80"}': "invalid_utf8",
        b'{"text": "a raw \x00 NUL"}': "invalid_json",
        b'{"text": "a raw \x07 bell"}': "invalid_json",
        b'{"text": "a", "score": NaN}': "invalid_json",
        b'{"text": "a", "score": -Infinity}': "invalid_json",
        b'[{"text": "a"}]': "not_an_object",
        b'["text"]': "not_an_object",
    }
    good = {
        b'{"text": "first", "text": "the last of two keys"}': "the last of two keys",
        b'{"text": "\\u0000 \\u0007 \\u001b[0m"}': "\0 \7 \x1b[0m",
        '{"text": "\x7f \x85 \ufeff \uffff"}'.encode(): "\x7f \x85 \ufeff \uffff",
        b'{"text": " \\n\\t "}': " \n\t ",
    }
    mixed = [line for pair in zip(lines, [*good, *good], strict=False) for line in pair]
    source, documents = read({"a.jsonl": b"\n".join(mixed) + b"\n"})
    assert [text for _, text in documents] == [*good.values(), *good.values()][: len(lines)]
    assert dropped(source) == {"invalid_json": 4, "invalid_utf8": 1, "not_an_object": 2}


def test_a_number_that_no_double_holds_costs_its_line_with_and_without_a_surrogate_beside_it(read: Read) -> None:
    lines = [
        b'{"text": "a", "score": 1e999}',
        b'{"text": "b", "score": -1e999, "title": "\\ud800"}',
        b'{"text": "c", "score": 1e308, "title": "\\ud800", "parts": 123456789012345678901234567890}',
    ]
    source, documents = read({"a.jsonl": b"\n".join(lines)})
    assert (documents, dropped(source)) == ([(None, "c")], {"invalid_json": 2})


def test_one_json_list_over_many_lines_is_no_json_lines(read: Read) -> None:
    with pytest.raises(BadRecordsError, match=r"invalid_json .*a\.json record 0: invalid_json: '\['"):
        read({"a.json": orjson.dumps([{"text": "a"}, {"text": "b"}], option=orjson.OPT_INDENT_2)}, reject="50%")


def test_equal_ids_are_two_documents_because_a_place_names_a_document(read: Read) -> None:
    source, documents = read({"a.jsonl": b'{"id": "x", "text": "a"}\n' * 2, "b.jsonl": b'{"id": "x", "text": "b"}\n'})
    assert documents == [("x", "a"), ("x", "a"), ("x", "b")]
    assert (source.ledger[0].documents_in, source.ledger[0].dropped) == (3, {})


def parquet(**columns: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def test_empty_files_have_no_records_and_no_bytes_are_no_packed_file_and_no_parquet(read: Read) -> None:
    source, documents = read(
        {
            "a.jsonl": b"",
            "b.jsonl": b"\xef\xbb\xbf",
            "c.jsonl.gz": gzip.compress(b""),
            "d.parquet": parquet(text=pa.array([], pa.string())),
            "e.warc": b"",
        }
    )
    assert (documents, source.ledger[0].documents_in, source.inputs.files) == ([], 0, 5)
    for name in ("x.jsonl.gz", "x.jsonl.zst", "x.parquet", "x.arrow"):
        with pytest.raises(DamagedFileError, match=name):
            read({name: b""}, pattern=f"in/{name}")


def test_a_missing_column_is_named_with_those_there_are_and_missing_fields_are_bad_records(read: Read) -> None:
    with pytest.raises(RequestError, match=r"a\.parquet: there is no column 'body'; the columns are text, id"):
        read({"a.parquet": parquet(text=["a"], id=["x"])}, text="body")
    with pytest.raises(BadRecordsError, match=r"2 of 2 records .*missing_text 2"):
        read({"a.jsonl": b'{"text": "a"}\n' * 2}, pattern="in/*.jsonl", text="body", reject="1%")


def test_a_column_may_be_text_of_another_type_in_each_file_and_nothing_but_text(read: Read) -> None:
    source, documents = read(
        {
            "a.parquet": parquet(text=["a"], id=["x"]),
            "b.parquet": parquet(text=pa.array(["b"], pa.large_string()), id=[7]),
            "c.parquet": parquet(text=pa.array(["c", "c"]).dictionary_encode(), id=[1.5, None]),
            "d.parquet": parquet(text=pa.array([b"d", b"\xff"]), id=["y", "z"]),
            "g.parquet": parquet(text=pa.array([None], pa.null())),
        }
    )
    assert documents == [("x", "a"), ("7", "b"), ("1.5", "c"), (None, "c"), ("y", "d")]
    assert dropped(source) == {"invalid_utf8": 1, "missing_text": 1}
    with pytest.raises(RequestError, match=r"h\.parquet: column 'text' is of type int64, not text"):
        read({"h.parquet": parquet(text=[1, 2], id=["y", "z"])})


def test_a_line_of_60_mb_is_a_document_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "' + "é".encode() * 30_000_000 + b'"}\n{"text": "next"}\n')
    code = (
        "import os, resource, sys; from mixproof.pipeline.readers.jsonl import read_jsonl; p = sys.argv[1];"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "found = read_jsonl(p, None, 0, os.path.getsize(p), text='text', id_='id', with_fields=False);"
        "print(*(len(raw.text) for raw in found),"
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, check=True, capture_output=True, text=True
    )
    first, second, more_kb = map(int, done.stdout.split())
    assert (first, second) == (30_000_000, 4)
    assert more_kb < 400_000


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_a_line_above_the_limit_says_the_limit_and_the_next_is_read(tmp_path: Path, compression: str) -> None:
    line = b'{"text": "%s"}\n{"text": "next"}\n' % (b"x" * 5_000_000)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(line) if compression == "gz" else zstandard.compress(line))
    limits = Limits(line_bytes=1_000_000)
    long, following = read_jsonl(str(path), compression, 0, 0, text="text", id_="id", with_fields=False, limits=limits)
    assert isinstance(long, Reject)
    assert long[2:] == ("line_too_long", "more than 1000000 bytes, the limit set by `limits: {line_bytes: ...}`")
    assert isinstance(following, Raw) and following.text == "next"


def test_a_text_above_the_limit_is_set_aside_in_bytes_and_counted(
    tmp_path: Path, make_spec: Callable[..., Spec]
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"".join(b'{"text": "%s"}\n' % text.encode() for text in ("éé", "ééé", "b")))
    plan = plan_shards(find_files(make_spec({"s": ["a.jsonl"]}), tmp_path))[0]
    task = read_task(plan, Source(files=("a.jsonl",)), {plan.files[0].url: ""}, Limits(document_bytes=5))
    first, long, last = records_of(plan.files[0], task, lambda _: None)
    assert isinstance(first, Raw) and isinstance(last, Raw) and (first.text, last.text) == ("éé", "b")
    detail = "6 bytes, more than the limit set by `limits: {document_bytes: ...}`: ééé"
    assert long == Reject(1, None, "document_too_long", detail)
    assert Limits(line_bytes=9).identity() == {"line_bytes": 9, "expansion": 200}, "older builds keep their ids"
    assert Limits(document_bytes=9).identity()["document_bytes"] == 9


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_a_bomb_is_damage_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setattr(raw, "FREE_UNPACKED_BYTES", 5_000_000)
    zeros = b"\0" * 50_000_000
    path = tmp_path / f"bomb.jsonl.{compression}"
    path.write_bytes(gzip.compress(zeros) if compression == "gz" else zstandard.compress(zeros))
    with pytest.raises(
        DamagedFileError, match=r"bomb.*decompresses to more than 5000000 bytes and .* 200 times its size"
    ):
        list(read_jsonl(str(path), compression, 0, 0, text="text", id_="id", with_fields=False))


def test_blocks_of_a_bomb_stay_small(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(zstandard.ZstdCompressor(level=19).compress(b"\0" * 600_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with path.open("rb") as file:
        sizes = [len(block) for block in raw.unpacked_blocks(file, "zst", "a")]
    assert (sum(sizes), max(sizes) < 140_000_000) == (600_000_000, True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


ODD_NAMES = [
    "a b.jsonl", "it's \"quoted\".jsonl", "[x] *?.jsonl", "a#b.jsonl", "a%20b.jsonl", "new\nline.jsonl", "-rf.jsonl",
    unicodedata.normalize("NFC", "é.jsonl"), unicodedata.normalize("NFD", "é.jsonl"), "日本語.jsonl", "$HOME.jsonl",
]  # fmt: skip


def test_odd_file_names_are_names_and_nfc_and_nfd_are_two(read: Read) -> None:
    source, documents = read({name: orjson.dumps({"text": name}) for name in ODD_NAMES})
    assert [shard.file for shard in source.shards] == sorted(ODD_NAMES)
    assert [text for _, text in documents] == sorted(ODD_NAMES)
    for name in ODD_NAMES:
        assert read(pattern=f"in/{name}")[1] == [(None, name)]


def test_a_path_that_is_no_utf8_is_refused_whether_the_file_or_a_folder_has_it(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "in" / os.fsdecode(b"caf\xe9")
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b'{"text": "a"}\n')
    for pattern in ("in/**/*.jsonl", f"{folder}/a.jsonl", f"{folder}/*.jsonl"):
        with pytest.raises(RequestError, match=r"sources\.s\.files: .*the file's name is not valid UTF-8; rename it"):
            read(pattern=pattern)


def test_links_in_a_ring_end_and_give_each_file_once(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "sub"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b'{"text": "a"}\n')
    (folder / "up").symlink_to(tmp_path / "in")
    assert read(pattern="in/**/*.jsonl")[1] == [(None, "a")]


def test_what_looks_like_data_and_is_no_file_is_an_error_and_not_passed_over(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b'{"text": "a"}\n')
    assert read(pattern="in/*")[1] == [(None, "a")]
    odd = folder / "b.jsonl"
    odd.mkdir()
    with pytest.raises(RequestError, match=r"sources\.s\.files: .*/b\.jsonl is a folder; patterns must match files"):
        read(pattern="in/*.jsonl")
    odd.rmdir()
    for target in (folder / "gone", odd):
        odd.symlink_to(target)
        with pytest.raises(RequestError, match=r"/b\.jsonl is a broken link"):
            read(pattern="in/*.jsonl")
        odd.unlink()
    os.mkfifo(odd)
    with pytest.raises(RequestError, match=r"/b\.jsonl is not a regular file"):
        read(pattern="in/**/*.jsonl")


@contextmanager
def not_root() -> Iterator[None]:
    """Root may read everything; act as somebody else."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_what_may_not_be_read_is_named(make_spec: Callable[..., Spec]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "a.jsonl").write_bytes(b"{}")
        (folder / "a.jsonl").chmod(0)
        (folder / "closed").mkdir(mode=0)
        with not_root():
            (file,) = find_files(make_spec({"s": ["*.jsonl"]}), folder)["s"]
            with pytest.raises(RequestError, match=r"a\.jsonl: cannot be read: Permission denied"):
                hash_input(file.url, file.bytes)
            with pytest.raises(RequestError, match=r"closed: cannot be read: Permission denied"):
                find_files(make_spec({"s": ["**/*.jsonl"]}), folder)
        (folder / "closed").chmod(0o700)


def test_a_text_column_of_numbers_is_refused_before_anything_is_hashed(
    tmp_path: Path, make_spec: Callable[..., Spec]
) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    spec = make_spec({"s": ["a.parquet"]})
    with (
        pytest.raises(RequestError, match=r"a\.parquet: column 'text' is of type int64, not text; set `text`"),
        Cluster(address="no-such-place:1") as idle,
    ):
        read_sources(spec, find_files(spec, tmp_path), Store(tmp_path / "store"), idle)
    assert not (tmp_path / "store").exists()


def test_texts_in_latin_1_are_refused_with_a_hint_at_their_encoding(read: Read) -> None:
    latin = '{"text": "z\xfcrich"}\n'.encode("latin-1")
    with pytest.raises(BadRecordsError, match=r"invalid_utf8 3\).*iconv -f WINDOWS-1252 -t UTF-8"):
        read({"a.jsonl": latin * 3}, reject="1%")
