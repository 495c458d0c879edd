"""The store: an output exists when its receipt is there and its files are whole, and at no other time."""

from __future__ import annotations

import pickle
import uuid
from pathlib import Path

import fsspec
import pytest

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import Receipt, StoredFile
from mixproof.ledger.store.receipts import find_receipts

KEY = "0" * 64


def commit(store: Store, text: str = "hello") -> None:
    with store.attempt("read", KEY) as attempt:
        attempt.path("a.txt").write_text(text)
        attempt.commit(facts={"records": 3})


def test_a_committed_output_has_a_receipt_with_sizes_and_checksums(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    receipt = store.receipt("read", KEY)
    assert receipt is not None
    assert receipt.facts == {"records": 3}
    assert receipt.files["a.txt"].bytes == 5
    assert receipt.files["a.txt"].sha256 == sha256_of_file(store.path(f"read/{KEY}/a.txt"))


def test_an_attempt_that_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.attempt("read", KEY) as attempt:
        attempt.path("a.txt").write_text("half")
        raise RuntimeError
    assert store.receipt("read", KEY) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_truncated_or_missing_file_makes_the_output_unfinished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    file = store.path(f"read/{KEY}/a.txt")
    file.write_text("hell")
    assert store.receipt("read", KEY) is None
    file.unlink()
    assert store.receipt("read", KEY) is None


def test_a_truncated_receipt_counts_as_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    receipt = store.path(f"read/{KEY}/receipt.json")
    receipt.write_bytes(receipt.read_bytes()[:-5])
    assert store.receipt("read", KEY) is None


def test_a_second_attempt_at_the_same_key_may_win(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    commit(store)
    assert store.receipt("read", KEY) is not None


def test_facts_must_have_an_exact_spelling(tmp_path: Path) -> None:
    with Store(tmp_path).attempt("read", KEY) as attempt, pytest.raises(TypeError):
        attempt.commit(facts={"share": 0.1})


def test_a_store_travels_to_a_worker_and_names_files_relative_to_itself(tmp_path: Path) -> None:
    store = pickle.loads(pickle.dumps(Store(tmp_path)))  # noqa: S301  our own bytes
    assert store.relative(tmp_path / "read" / "x") == "read/x"


def test_a_store_cannot_be_a_file_or_inside_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RequestError, match=f"^{tmp_path}/file is a file; a store is a folder"):
        Store(tmp_path / "file").check()
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y"):
        with pytest.raises(RequestError, match=f"^{path}: {tmp_path}/file is a file; a store is a folder"):
            Store(path).check()
    with pytest.raises(RequestError, match="File name too long"):
        Store(tmp_path / ("x" * 300)).check()
    Store(tmp_path).check()
    Store(tmp_path / "new" / "store").check()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["../secret", "encode/../../secret", "/etc/passwd", "a/\0b"])
def test_a_path_of_a_foreign_manifest_cannot_lead_out_of_the_store(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("mine")
    store = Store(tmp_path / "store")
    for use in (
        store.path,
        store.folder,
        store.fetch,
        lambda name: store.read([name]),
        lambda name: [*store.blocks(name)],
    ):
        with pytest.raises(DamagedFileError, match="leads out of the store"):
            use(name)
    with pytest.raises(DamagedFileError, match="leads out of the store"):
        store.remove([name])
    with pytest.raises(DamagedFileError, match="leads out of the store"):
        store.write(name, b"theirs")
    assert (tmp_path / "secret").read_text() == "mine"
    assert store.path("a/..b/c...") == tmp_path / "store/a/..b/c..."


def test_a_receipt_of_another_team_deletes_and_reads_nothing_outside_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine").write_text("mine")
    outside = "../" * 40 + str(tmp_path / "mine").lstrip("/")
    stored = StoredFile(sha256="0" * 64, bytes=len("mine"))
    receipt = Receipt(stage="read", key="0" * 64, files={"a": stored, outside: stored})
    url = f"memory://{uuid.uuid4().hex}"
    for name, data in (("receipt.json", receipt.to_bytes()), ("a", b"four")):
        fsspec.filesystem("memory").pipe(f"{url}/read/{receipt.key}/{name}", data)
    remote, local = Store(url), Store(tmp_path / "store")
    local.write(f"read/{receipt.key}/a", b"four")
    local.write_receipt(receipt)
    remote.folder(f"read/{receipt.key}")  # so that folders of copies and tags exist
    for store in (remote, local):
        assert store.receipt("read", receipt.key) is None
        assert not find_receipts(store, "read", [receipt.key])
    remote.remove([f"read/{receipt.key}/{outside}"])
    assert (tmp_path / "mine").read_text() == "mine"
    with local.attempt("read", "1" * 64) as attempt, pytest.raises(DamagedFileError, match="leads out of the store"):
        attempt.path("../escaped")
