"""Poison: a document that hangs or kills the process is found, left out and counted; its neighbours are read."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.errors import BadRecordsError, DamagedFileError, ProcessDiedError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Source, Step
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read import quarantine
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.identify import hash_input
from mixproof.pipeline.read.quarantine import read_shards
from mixproof.pipeline.read.read import mark_of
from mixproof.pipeline.read.read_task import ReadTask, read_task
from mixproof.pipeline.read.shard_output import iter_rejects
from mixproof.pipeline.read.shards import plan_shards
from mixproof.pipeline.read.watch import PoisonWatch, marked_index

MakeSpec = Callable[..., Spec]
HANGS = "a" * 60 + "b"
"""`(a+)+$` tries 2^60 ways on it, and holds the interpreter meanwhile."""
BACKTRACKS = Step(name="regex", options={"regex_exp": "^(a+)+$"})


def write(folder: Path, texts: list[str]) -> None:
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def texts_of(store: Store, folder: str) -> list[str]:
    texts: list[str] = pq.read_table(store.path(f"{folder}/documents.parquet"))["text"].to_pylist()
    return texts


def test_documents_that_hang_a_step_are_counted_as_poison_and_the_others_are_read(
    tmp_path: Path, make_spec: MakeSpec, cluster: Cluster
) -> None:
    write(tmp_path, ["first", HANGS, "second", "aaa", HANGS + HANGS, "third"])
    spec = make_spec({"s": Source(files=("a.jsonl",), steps=(BACKTRACKS,))}, reject="50%")
    store = Store(tmp_path / "store")
    found = read_sources(spec, find_files(spec, tmp_path), store, cluster, patience_seconds=3)["s"]
    assert texts_of(store, found.shards[0].folder) == ["first", "second", "third"]
    read, step = found.ledger
    assert (read.documents_in, read.documents_out, read.dropped["poison"].documents) == (6, 4, 2)
    assert (step.documents_in, step.documents_out) == (4, 3)
    rejects = list(iter_rejects(store, found.shards[0].folder))
    assert [(row["record"], row["reason"]) for row in rejects] == [(1, "poison"), (4, "poison")]
    assert rejects[0]["detail"] == f"did not finish within 3 s plus the time for its size: {HANGS}"
    assert list(store.path(".marks").iterdir()) == []
    strict = spec.model_copy(update={"on_bad_record": spec.on_bad_record.model_copy(update={"reject": 0})})
    with pytest.raises(BadRecordsError, match=r"2 of 6 records .*poison 2"):
        read_sources(strict, find_files(spec, tmp_path), store, cluster)


@pytest.fixture
def shard(tmp_path: Path, make_spec: MakeSpec) -> tuple[Store, ReadTask]:
    """A shard of three lines, none of which does any harm."""
    write(tmp_path, ["first", "second", "third"])
    spec = make_spec({"s": Source(files=("a.jsonl",), steps=(BACKTRACKS,))})
    files = find_files(spec, tmp_path)
    file = files["s"][0]
    sha256 = {file.url: hash_input(file.url, file.bytes)}
    (plan,) = plan_shards(files)
    return Store(tmp_path / "store"), read_task(plan, spec.sources["s"], sha256)


def test_a_mark_that_a_kill_left_blames_no_document(
    shard: tuple[Store, ReadTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, task = shard
    mark = mark_of(store, task)
    mark.parent.mkdir(parents=True)
    mark.write_bytes((1).to_bytes(8, "little"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise SystemExit('a module in the working directory ran')")
    read_shards(store, [task])
    receipt = store.receipt("read", task.key)
    assert receipt is not None and receipt.account[0].dropped == {}
    assert texts_of(store, f"read/{task.key}") == ["first", "second", "third"]
    assert not mark.exists()


def test_an_error_in_the_child_is_the_users_own(shard: tuple[Store, ReadTask]) -> None:
    store, task = shard
    mark = mark_of(store, task)
    mark.parent.mkdir(parents=True)
    mark.write_bytes((1).to_bytes(8, "little"))
    Path(task.plan.files[0].url).write_text("{}")
    with pytest.raises(RequestError, match="changed since it was found"):
        read_shards(store, [task])


def test_a_process_that_dies_before_any_document_is_given_up(
    shard: tuple[Store, ReadTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, task = shard
    mark = mark_of(store, task)
    mark.parent.mkdir(parents=True)
    mark.write_bytes((1).to_bytes(8, "little"))
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ProcessDiedError, match=r"source s: .*a\.jsonl from byte 0: the worker crashed repeatedly"):
        read_shards(store, [task])


def test_the_mark_is_the_record_under_work_and_goes_at_the_end(tmp_path: Path) -> None:
    mark = tmp_path / "marks" / "a"
    with PoisonWatch(mark, 100) as watch:
        for place in (0, 7):
            watch.start(place)
            assert marked_index(mark) == place
        watch.extend(10**9)
    assert marked_index(mark) is None


def test_a_footer_that_ends_the_process_of_its_reader_ends_in_an_error_with_the_name_of_the_file(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"some text {n}" for n in range(200)]}), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[data.index(b"\x0c%\x02\x18\x04text")] ^= 4  # the column's type: bytes become floats, and pyarrow 26 aborts
    path.write_bytes(data)
    spec = make_spec({"s": Source(files=("a.parquet",))})
    files = find_files(spec, tmp_path)
    (plan,) = plan_shards(files)
    store, task = Store(tmp_path / "store"), read_task(plan, spec.sources["s"], {files["s"][0].url: "0" * 64})
    mark = mark_of(store, task)
    mark.parent.mkdir(parents=True)
    mark.write_bytes((0).to_bytes(8, "little"))  # as the worker leaves it that died
    monkeypatch.setattr(quarantine, "MOST_CRASHES", 1)
    with pytest.raises(
        (ProcessDiedError, DamagedFileError, RequestError), match=r"a\.parquet.*(damaged|of type float)"
    ):
        read_shards(store, [task])


@pytest.fixture
def failing(tmp_path: Path, make_spec: MakeSpec, fasttext_model: Path) -> Callable[..., tuple[Store, ReadTask]]:
    """A shard whose second step raises an error on texts of two lines, which fastText does not take."""
    options = {"class": "FastTextClassifierFilter", "model_url": str(fasttext_model), "newline_replacement": "\n"}
    steps = (Step(name="symbol_lines"), Step(name="datatrove", options=options))

    def make(texts: list[str]) -> tuple[Store, ReadTask]:
        write(tmp_path, texts)
        spec = make_spec({"s": Source(files=("a.jsonl",), steps=steps)})
        files = find_files(spec, tmp_path)
        (plan,) = plan_shards(files)
        return Store(tmp_path / "store"), read_task(plan, spec.sources["s"], {files["s"][0].url: "0" * 64})

    return make


def test_a_document_that_a_step_fails_on_is_poison_and_the_others_are_counted_once(
    failing: Callable[..., tuple[Store, ReadTask]],
) -> None:
    store, task = failing(["first\n---", "two\nlines", "second", "two\nlines\n---"])
    read_shards(store, [task])
    receipt = store.receipt("read", task.key)
    assert receipt is not None
    read, lines, classifier = receipt.account
    assert (read.documents_in, read.documents_out, read.dropped["poison"].documents) == (4, 2, 2)
    assert (lines.documents_in, lines.documents_out, lines.bytes_removed) == (2, 2, 4)
    assert (classifier.documents_in, classifier.documents_out) == (2, 2)
    assert texts_of(store, f"read/{task.key}") == ["first", "second"]
    rejects = list(iter_rejects(store, f"read/{task.key}"))
    assert [(row["record"], row["reason"]) for row in rejects] == [(1, "poison"), (3, "poison")]
    assert rejects[0]["detail"].startswith("FastTextClassifierFilter raised ValueError: ")


def test_steps_that_fail_on_many_documents_are_an_error_of_the_spec(
    failing: Callable[..., tuple[Store, ReadTask]],
) -> None:
    store, task = failing(["two\nlines"] * 30)
    with pytest.raises(
        RequestError, match=r"source s: .*a\.jsonl from byte 0: its steps fail on more than 20 documents "
    ):
        read_shards(store, [task])
    assert store.receipt("read", task.key) is None


def test_a_marked_document_that_a_step_fails_on_is_found_in_a_child(
    failing: Callable[..., tuple[Store, ReadTask]],
) -> None:
    store, task = failing(["first", "two\nlines", "second", "two\nlines"])
    mark = mark_of(store, task)
    mark.parent.mkdir(parents=True)
    mark.write_bytes((1).to_bytes(8, "little"))
    read_shards(store, [task])
    assert texts_of(store, f"read/{task.key}") == ["first", "second"]
    assert [row["record"] for row in iter_rejects(store, f"read/{task.key}")] == [1, 3]


def test_a_file_that_is_gone_since_it_was_found_is_named(shard: tuple[Store, ReadTask]) -> None:
    store, task = shard
    Path(task.plan.files[0].url).unlink()
    with pytest.raises(
        RequestError, match=r"source s: .*a\.jsonl: cannot be read: No such file .*readable on every worker"
    ):
        read_shards(store, [task])
