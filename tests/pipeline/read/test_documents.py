"""Reading whole sources: the account closes, the split changes nothing, and finished work is not redone."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
import zstandard

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import BadRecordsError, DamagedFileError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Source, Step
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import SourceDocuments, read_sources
from mixproof.pipeline.read.shards import SHARD_BYTES

MakeSpec = Callable[..., Spec]


def line(text: str, id_: str | None = None) -> bytes:
    return orjson.dumps({"text": text} | ({"id": id_} if id_ else {})) + b"\n"


def documents(store: Store, source: SourceDocuments) -> list[tuple[str, int, str | None, str]]:
    """(file, record in the whole file, id, text) of every document, with every stored number checked."""
    found = []
    for shard in source.shards:
        rows = pq.read_table(store.path(f"{shard.folder}/documents.parquet")).to_pylist()
        assert len(rows) == shard.documents
        assert sum(row["text_bytes"] for row in rows) == shard.text_bytes
        for row in rows:
            data = row["text"].encode()
            assert (row["text_xxh128"], row["text_bytes"]) == (xxhash.xxh3_128_digest(data), len(data))
            found.append((row.get("file", shard.file), shard.first_record + row["record"], row["id"], row["text"]))
    return found


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Five files of every kind, with bad lines at known places: 53 records, 50 documents."""
    folder = tmp_path / "corpus one#é"
    folder.mkdir()
    plain = [line(f"plain {n} " + "é" * n, f"p{n}") for n in range(20)]
    plain[3:3] = [b"\n", b'{"text": null}\n']
    plain.append(b'{"text": "no end')
    (folder / "a b.jsonl").write_bytes(b"".join(plain))
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(b"".join(line(f"gz {n}") for n in range(10))))
    frame = zstandard.ZstdCompressor().compress
    (folder / "d.jsonl.zst").write_bytes(frame(line("zst 0")) + frame(line("zst 1")))
    table = pa.table({"text": [f"row {n}" for n in range(18)], "id": [f"r{n}" for n in range(18)]})
    pq.write_table(table, folder / "e.parquet", row_group_size=4)
    (folder / "z.jsonl").write_bytes(b"")
    return folder


EXPECTED = [
    *(("a b.jsonl", n if n < 3 else n + 2, f"p{n}", f"plain {n} " + "é" * n) for n in range(20)),
    *(("c.jsonl.gz", n, None, f"gz {n}") for n in range(10)),
    *(("d.jsonl.zst", n, None, f"zst {n}") for n in range(2)),
    *(("e.parquet", n, f"r{n}", f"row {n}") for n in range(18)),
]


@pytest.mark.parametrize("shard_bytes", [23, 301, SHARD_BYTES])
def test_any_split_gives_the_same_documents_at_the_same_places_and_the_same_account(
    corpus: Path, tmp_path: Path, make_spec: MakeSpec, cluster: Cluster, shard_bytes: int
) -> None:
    spec, store = make_spec({"s": ["*"]}, reject="4%"), Store(tmp_path / "store")
    source = read_sources(spec, find_files(spec, corpus), store, cluster, shard_bytes=shard_bytes)["s"]
    assert documents(store, source) == EXPECTED
    text_bytes = sum(len(text.encode()) for *_, text in EXPECTED)
    assert source.ledger == (
        StageRow(
            stage="read",
            documents_in=53,
            documents_out=50,
            bytes_in=text_bytes,
            bytes_out=text_bytes,
            dropped={
                "blank_line": Count(documents=1, bytes=0),
                "invalid_json": Count(documents=1, bytes=0),
                "missing_text": Count(documents=1, bytes=0),
            },
        ),
    )
    inputs = pq.read_table(store.path(source.inputs.path)).to_pylist()
    assert [(row["file"], row["records"]) for row in inputs] == [
        ("a b.jsonl", 23), ("c.jsonl.gz", 10), ("d.jsonl.zst", 2), ("e.parquet", 18), ("z.jsonl", 0),
    ]  # fmt: skip
    assert (source.inputs.files, source.inputs.records) == (5, 53)
    assert source.inputs.bytes == sum(path.stat().st_size for path in corpus.iterdir())


def test_what_is_finished_is_reused_and_only_a_new_file_is_read(
    corpus: Path, tmp_path: Path, make_spec: MakeSpec, cluster: Cluster
) -> None:
    spec, store = make_spec({"s": ["*"]}, reject="4%"), Store(tmp_path / "store")

    def run() -> tuple[SourceDocuments, int, int]:
        before = cluster.stages_run, cluster.stages_reused
        source = read_sources(spec, find_files(spec, corpus), store, cluster)["s"]
        return source, cluster.stages_run - before[0], cluster.stages_reused - before[1]

    first, run_first, _ = run()
    assert run_first == 5
    assert run() == (first, 0, 5)
    (corpus / "f.jsonl").write_bytes(line("new"))
    more, run_more, reused_more = run()
    assert (run_more, reused_more) == (1, 5)
    assert more.ledger[0].documents_out == first.ledger[0].documents_out + 1


def test_the_same_files_elsewhere_under_other_names_are_not_read_again(
    tmp_path: Path, make_spec: MakeSpec, cluster: Cluster
) -> None:
    store = Store(tmp_path / "store")
    folders = []
    for name in ("one/a.jsonl", "two/b.jsonl"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(line("same"))
        folders.append(path)
    spec = make_spec({"a": [str(folders[0])], "b": [str(folders[1])]})
    both = read_sources(spec, find_files(spec, tmp_path), store, cluster)
    assert both["a"].shards[0].folder == both["b"].shards[0].folder
    assert [both[name].shards[0].file for name in "ab"] == ["a.jsonl", "b.jsonl"]


def test_a_tree_of_code_names_its_files_in_a_column(tmp_path: Path, make_spec: MakeSpec, cluster: Cluster) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    for name, content in (("a.py", b"a = 1\n"), ("sub/b.py", b"b = 2\n"), ("empty.py", b""), ("x.bin", b"\xff")):
        (tree / name).write_bytes(content)
    spec = make_spec({"code": Source(files=("tree",), format="code")}, reject="50%")
    for shard_bytes in (7, SHARD_BYTES):
        store = Store(tmp_path / f"store{shard_bytes}")
        source = read_sources(spec, find_files(spec, tmp_path), store, cluster, shard_bytes=shard_bytes)["code"]
        assert documents(store, source) == [
            ("a.py", 0, "a.py", "a = 1\n"),
            ("sub/b.py", 0, "sub/b.py", "b = 2\n"),
        ]
        assert source.ledger[0].dropped == {
            "empty_text": Count(documents=1, bytes=0),
            "invalid_utf8": Count(documents=1, bytes=0),
        }
        assert (source.inputs.files, source.inputs.records) == (4, 4)


def test_steps_follow_reading_in_the_ledger_and_what_leaves_one_enters_the_next(
    corpus: Path, tmp_path: Path, make_spec: MakeSpec, cluster: Cluster
) -> None:
    steps = (
        Step(name="length", options={"min_chars": 6}),
        Step(name="datatrove", options={"class": "RegexFilter", "regex_exp": "plain 1"}),
        Step(name="length", options={"max_chars": 20}),
    )
    spec = make_spec({"s": Source(files=("*",), steps=steps)}, reject="10%")
    store = Store(tmp_path / "store")
    one = read_sources(spec, find_files(spec, corpus), store, cluster, shard_bytes=50)["s"]
    assert [row.stage for row in one.ledger] == ["read", "length", "RegexFilter", "length#2"]
    kept = [text for *_, text in EXPECTED if len(text) >= 6 and "plain 1" not in text and len(text) <= 20]
    assert [text for *_, text in documents(store, one)] == kept
    assert one.ledger[-1].documents_out == len(kept)
    assert one.ledger[-1].bytes_out == sum(len(text.encode()) for text in kept)


def reject_file(rows: list[dict[str, Any]]) -> list[tuple[int, int | None, str]]:
    return [(row["record"], row["line"], row["reason"]) for row in rows]


def test_too_many_bad_records_fail_with_share_places_and_the_rejects_file(
    corpus: Path, tmp_path: Path, make_spec: MakeSpec, cluster: Cluster
) -> None:
    spec, store = make_spec({"s": ["*"]}, reject="1%"), Store(tmp_path / "store")
    with pytest.raises(BadRecordsError, match=r"source s: 2 of 52 records \(3\.846%\)") as caught:
        read_sources(spec, find_files(spec, corpus), store, cluster, shard_bytes=200)
    message = str(caught.value)
    assert "a b.jsonl record 4: missing_text" in message
    assert "a b.jsonl record 22: invalid_json" in message
    files = [Path(word.strip(",")) for word in message.split() if word.strip(",").endswith("rejects.parquet")]
    found = [entry for path in files for entry in reject_file(pq.read_table(path).to_pylist())]
    assert (3, 4, "blank_line") in found
    assert (4, 5, "missing_text") in found


def test_blank_lines_count_in_the_account_and_not_against_the_limit(
    tmp_path: Path, make_spec: MakeSpec, cluster: Cluster
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n\n\n" + line("a"))
    spec = make_spec({"s": ["a.jsonl"]}, reject="0%")
    source = read_sources(spec, find_files(spec, tmp_path), Store(tmp_path / "store"), cluster)["s"]
    assert (source.ledger[0].documents_in, source.ledger[0].documents_out) == (4, 1)


def test_a_damaged_file_fails_the_build_and_leaves_nothing_half_done(
    corpus: Path, tmp_path: Path, make_spec: MakeSpec, cluster: Cluster
) -> None:
    damaged = corpus / "c.jsonl.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    spec, store = make_spec({"s": ["*"]}, reject="4%"), Store(tmp_path / "store")
    with pytest.raises(DamagedFileError, match=r"c\.jsonl\.gz: compressed offset \d+: .*truncated"):
        read_sources(spec, find_files(spec, corpus), store, cluster)
    assert not any(store.path(".attempts").iterdir())


def test_a_file_that_changed_after_it_was_found_is_refused(
    corpus: Path, tmp_path: Path, make_spec: MakeSpec, cluster: Cluster
) -> None:
    spec = make_spec({"s": ["a b.jsonl"]}, reject="10%")
    files, store = find_files(spec, corpus), Store(tmp_path / "store")
    read_sources(spec, files, store, cluster)
    os.utime(corpus / "a b.jsonl", ns=(0, 0))
    with pytest.raises(RequestError, match="changed since it was found"):
        read_sources(spec, files, store, cluster, shard_bytes=100)


def test_steps_are_refused_before_anything_is_read(corpus: Path, tmp_path: Path, make_spec: MakeSpec) -> None:
    spec = make_spec({"s": Source(files=("*",), steps=(Step(name="nonsense"),))})
    with Cluster(address="no-such-place:1") as idle, pytest.raises(RequestError, match=r"sources\.s\.steps\[0\]"):
        read_sources(spec, find_files(spec, corpus), Store(tmp_path / "store"), idle)
    assert not (tmp_path / "store").exists()


def test_arrow_text_and_warc_are_read_like_the_rest_and_what_a_crawl_is_made_of_is_not_bad(
    tmp_path: Path, make_spec: MakeSpec, cluster: Cluster
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    table = pa.table({"text": ["row 0", "row 1"]})
    with pa.ipc.new_stream(str(folder / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    wet = b"WARC/1.0\r\nWARC-Type: %s\r\nWARC-Record-ID: <urn:x>\r\nContent-Length: 4\r\n\r\ntext\r\n\r\n"
    (folder / "c.warc.wet.gz").write_bytes(b"".join(gzip.compress(wet % kind) for kind in (b"warcinfo", b"conversion")))
    (folder / "b.warc").write_bytes(wet % b"request")
    (folder / "d.txt").write_text("one\ntwo\n")
    (folder / "e.txt").write_text("")
    spec = make_spec({"s": ["in/*.arrow", "in/*.wa*"], "t": ["in/*.txt"]})
    files = find_files(spec, tmp_path)
    for shard_bytes in (7, SHARD_BYTES):
        store = Store(tmp_path / f"store{shard_bytes}")
        sources = read_sources(spec, files, store, cluster, shard_bytes=shard_bytes)
        assert documents(store, sources["s"]) == [
            ("a.arrow", 0, None, "row 0"),
            ("a.arrow", 1, None, "row 1"),
            ("c.warc.wet.gz", 1, "urn:x", "text"),
        ]
        assert documents(store, sources["t"]) == [("d.txt", 0, "d.txt", "one\ntwo\n")]
        assert sources["t"].ledger[0].dropped == {"empty_text": Count(documents=1, bytes=0)}
        assert {name: count.documents for name, count in sources["s"].ledger[0].dropped.items()} == {
            "not_a_conversion": 1,
            "not_a_response": 1,
        }
