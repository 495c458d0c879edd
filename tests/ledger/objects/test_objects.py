"""A store on an object store, over HTTP: outputs become visible by their receipt, copies follow the objects."""

from __future__ import annotations

import os
import shutil
import socket
import time
import uuid
from email.utils import formatdate
from pathlib import Path
from typing import Any

import fsspec
import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # botocore ships no types
from s3fs import S3FileSystem  # type: ignore[import-untyped]  # it ships no types

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.files import ByteRange
from mixproof.ledger.objects.copies import TAGS, TRUSTED_SECONDS
from mixproof.ledger.objects.object_errors import actionable_errors
from mixproof.ledger.objects.objects import Objects
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipts import cheapest_digits, find_receipts
from object_store import ObjectStore

KEY = "0" * 64


@pytest.fixture
def url(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of the test's own in a bucket, with an empty folder for this machine's copies."""
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "cache"))
    return f"{object_store.bucket(f'bucket-{uuid.uuid4().hex}')}/store"


def system() -> Any:  # noqa: ANN401  fsspec ships no types
    return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)


def commit(store: Store, text: str = "hello") -> None:
    with store.attempt("read", KEY) as attempt:
        attempt.path("a.bin").write_text(text)
        attempt.path("a.idx").write_text("index")
        attempt.commit(facts={"records": 3})


def test_an_output_is_seen_from_another_machine_once_its_receipt_is_there(url: str) -> None:
    assert Store(url).receipt("read", KEY) is None
    commit(Store(url))
    shutil.rmtree(Store(url).root)  # another machine has no copies
    store = Store(url)
    receipt = store.receipt("read", KEY)
    assert receipt is not None
    assert receipt.facts == {"records": 3}
    assert store.keys("read") == [KEY]
    assert store.sizes(f"read/{KEY}") == {
        "a.bin": 5,
        "a.idx": 5,
        "receipt.json": len(receipt.to_bytes()),
    }
    system().rm_file(f"{url}/read/{KEY}/receipt.json")
    assert store.receipt("read", KEY) is None


def test_a_prefix_brings_every_file_that_begins_with_it(url: str) -> None:
    commit(Store(url))
    shutil.rmtree(Store(url).root)
    prefix = Store(url).folder(f"read/{KEY}/a")
    assert [prefix.with_suffix(end).read_text() for end in (".bin", ".idx")] == ["hello", "index"]


def test_names_that_only_begin_alike_are_not_found(url: str, tmp_path: Path) -> None:
    objects, file = Objects(url), tmp_path / "file"
    file.touch()
    for name in ("x.bin", "x.idx", "xy.bin", "x/y.bin", "z"):
        objects.upload(file, name)
    assert set(objects.find("x")) == set(objects.find_below("x")) == {"x/y.bin"}
    assert set(objects.find("")) == {"x.bin", "x.idx", "xy.bin", "x/y.bin", "z"}
    objects.remove(["x/y.bin"])
    assert set(objects.find("x")) == {"x.bin", "x.idx"}
    assert objects.find_below("x") == {}
    assert set(objects.find("z")) == {"z"}
    assert set(Objects(url.removesuffix("/store")).find("store/x")) == {"store/x.bin", "store/x.idx"}


def test_a_folder_that_does_not_exist_is_listed_by_one_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    original, original_sync = S3FileSystem._call_s3, S3FileSystem.call_s3

    async def counted(system: Any, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  of s3fs
        calls.append(method)
        return await original(system, method, *arguments, **options)

    def counted_sync(system: Any, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  of s3fs
        calls.append(method)
        return original_sync(system, method, *arguments, **options)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    monkeypatch.setattr(S3FileSystem, "call_s3", counted_sync)
    assert Store(url).sizes("sealed") == {}
    assert calls == ["list_objects_v2"]


def test_ranges_of_objects_are_read_without_copies(url: str) -> None:
    commit(Store(url))
    names = [f"read/{KEY}/{name}" for name in ("a.bin", "a.idx", "a.bin")]
    ranges = [ByteRange(name, start, end) for name, (start, end) in zip(names, [(1, 3), (0, 5), (2, 2)], strict=True)]
    assert Store(url).read_ranges(ranges) == [b"el", b"index", b""]  # from what this machine has just written
    shutil.rmtree(Store(url).root)
    assert Store(url).read_ranges(ranges) == [b"el", b"index", b""]
    assert not Store(url).root.exists()
    with pytest.raises(FileNotFoundError):
        Store(url).read_ranges([ByteRange("read/none", 0, 1)])


def test_a_missing_or_truncated_object_makes_the_output_unfinished(url: str) -> None:
    store = Store(url)
    commit(store)
    system().pipe_file(f"{url}/read/{KEY}/a.bin", b"hell")
    assert store.receipt("read", KEY) is None
    system().rm_file(f"{url}/read/{KEY}/a.bin")
    assert store.receipt("read", KEY) is None
    assert not store.path(f"read/{KEY}/a.bin").exists()


def test_an_object_that_was_replaced_is_refused_by_its_receipt(url: str) -> None:
    store = Store(url)
    commit(store)
    system().pipe_file(f"{url}/read/{KEY}/a.bin", b"jello")
    assert store.path(f"read/{KEY}/a.bin").read_text() == "hello", "what was just written is not asked for again"
    tag = store.root / TAGS / "read" / KEY / "a.bin"
    later = tag.stat().st_mtime - 2 * TRUSTED_SECONDS
    for path in (store.root / "read" / KEY / "a.bin", tag):
        os.utime(path, (later, later))
    with pytest.raises(DamagedFileError, match=f"{url}/read/{KEY}/a.bin"):
        store.path(f"read/{KEY}/a.bin")
    with pytest.raises(DamagedFileError, match=f"{url}/read/{KEY}/a.bin"):
        store.path(f"read/{KEY}/a.bin")  # its copy was removed


def test_a_stage_is_listed_by_as_few_requests_as_its_size_allows() -> None:
    few, many = [f"{n:064x}" for n in range(20)], [f"{n * 2**244:064x}" for n in range(3000)]
    assert cheapest_digits(few, 1e9) == 64, "20 listings of one output each"
    assert cheapest_digits(many, 100_000) == 1, "12 listings of 7 pages each"
    assert cheapest_digits(many, 10_000_000) == 64, "188 listings of 40 pages each are more than 3,000"


def test_one_page_lists_a_small_stage(url: str) -> None:
    store = Store(url)
    assert store.first_sizes("read") == ({}, 1.0)
    commit(store)
    found, share = store.first_sizes("read") or ({}, 0.0)
    assert (set(found), share) == ({f"read/{KEY}/{name}" for name in ("a.bin", "a.idx", "receipt.json")}, 1.0)
    assert set(find_receipts(store, "read", [KEY, "1" * 64])) == {KEY}


def test_a_copy_that_was_changed_on_this_machine_is_copied_again(url: str) -> None:
    store = Store(url)
    commit(store)
    store.path(f"read/{KEY}/a.bin").write_text("jello")
    assert store.path(f"read/{KEY}/a.bin").read_text() == "hello"


def test_a_folder_is_mirrored_with_what_makes_it_whole_put_last(url: str) -> None:
    store = Store(url)
    for name in ("files.json", "weights", ".metadata", f".weights.{'0' * 32}"):
        path = store.root / "train" / KEY / "checkpoints" / "iter_1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    store.mirror(f"train/{KEY}", last=("files.json",))
    assert set(store.sizes(f"train/{KEY}")) == {
        "checkpoints/iter_1/.metadata",  # torch's own
        "checkpoints/iter_1/files.json",
        "checkpoints/iter_1/weights",
    }
    written = {
        name: system().info(f"{url}/train/{KEY}/checkpoints/iter_1/{name}")["LastModified"]
        for name in ("weights", "files.json")
    }
    assert written["weights"] <= written["files.json"]
    shutil.rmtree(store.root / "train" / KEY / "checkpoints" / "iter_1")
    store.write(f"train/{KEY}/.ranks/end.txt", b"of another node")
    (store.root / "train" / KEY / ".ranks" / "end.txt").unlink()
    store.mirror(f"train/{KEY}")
    assert store.sizes(f"train/{KEY}") == {".ranks/end.txt": 15}


def test_what_keeps_a_store_from_being_used_is_said_with_the_way_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(url).check()
    with pytest.raises(RequestError, match="there is no bucket nowhere-at-all; create it"):
        Store("s3://nowhere-at-all/x").check()
    for name in [name for name in os.environ if name.startswith("AWS_") and name.endswith(("KEY", "KEY_ID"))]:
        monkeypatch.delenv(name)
    with pytest.raises(RequestError, match="provide credentials"):
        Store(url).check()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://reader:secret-pw@bucket/store", r"^s3://bucket/store: the URL of a store must not have credentials"),
        ("s3://no bucket/store", "correct the name of the bucket"),
    ],
)
def test_a_bucket_that_cannot_be_one_is_refused_without_credentials(
    url: str, message: str, object_store: ObjectStore
) -> None:
    with pytest.raises(RequestError, match=message) as refused:
        Store(url).check()
    assert "secret-pw" not in str(refused.value)


def test_an_object_whose_name_leads_out_of_the_folder_of_copies_is_not_copied(url: str, tmp_path: Path) -> None:
    system().pipe_file(f"{url.removeprefix('s3://')}/read/../../../escaped", b"theirs")
    with pytest.raises(DamagedFileError, match="leads out of the store"):
        Store(url).fetch("read")
    assert not list(tmp_path.rglob("escaped"))


def refused_head(seconds: float) -> PermissionError:
    """What s3fs raises for a HEAD request that a server refuses whose clock is so many seconds ahead."""
    metadata = {"HTTPStatusCode": 403, "HTTPHeaders": {"date": formatdate(time.time() + seconds, usegmt=True)}}
    refused = PermissionError("Forbidden")
    refused.__cause__ = ClientError({"Error": {"Code": "403"}, "ResponseMetadata": metadata}, "HeadObject")
    return refused


def test_a_server_that_cannot_answer_is_not_taken_for_a_missing_bucket() -> None:
    busy = ClientError({"ResponseMetadata": {"HTTPStatusCode": 503}}, "PutObject")
    reason = r"answers with status 503, repeatedly .* run the same command again"
    with pytest.raises(RequestError, match=reason), actionable_errors("s3://bucket"):
        raise OSError(16, "Please reduce your request rate.") from busy


def test_a_refusal_by_a_server_with_the_same_time_is_no_matter_of_clocks() -> None:
    with pytest.raises(RequestError, match="permission denied: Forbidden"), actionable_errors("s3://bucket"):
        raise refused_head(seconds=600)


@pytest.mark.parametrize(
    "answer",
    [
        PermissionError("The difference between the request time and the current time is too large."),
        OSError(5, "An error occurred (RequestTimeTooSkewed) when calling the PutObject operation"),
        refused_head(seconds=3600),
    ],
)
def test_a_wrong_clock_is_named_with_its_machine(answer: Exception) -> None:
    said = rf"s3://bucket: the clock of {socket.gethostname()} is wrong .* by NTP"
    with pytest.raises(RequestError, match=said), actionable_errors("s3://bucket"):
        raise answer
