"""Sealed receipts count as those beside their outputs do, in a folder and on an object store."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mixproof.ledger.account import StageRow
from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.maintenance.garbage import find_garbage, remove_garbage
from mixproof.ledger.maintenance.inventory import take_inventory
from mixproof.ledger.maintenance.verify import verify_store
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipts import find_receipts
from mixproof.ledger.store.sealed import RECEIPTS, SEALED, seal_receipts
from object_store import ObjectStore

KEYS = [sha256_of(["shard", number]) for number in range(5)]
ROW = StageRow(stage="read", documents_in=3, documents_out=3, bytes_in=9, bytes_out=9)


@pytest.fixture(params=["a folder", "an object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store."""
    if request.param == "a folder":
        return Store(tmp_path / "store")
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "copies"))
    objects: ObjectStore = request.getfixturevalue("object_store")
    return Store(f"{objects.bucket(f'bucket-{uuid.uuid4().hex}')}/store")


def write(store: Store, key: str, text: str = "hello") -> None:
    """An output of one file; KEYS[4] has none, as a shard of which nothing was dropped."""
    with store.attempt("read", key) as attempt:
        if key != KEYS[4]:
            attempt.path("documents.parquet").write_text(text)
        attempt.commit(account=(ROW,), facts={"records": 3})


@pytest.fixture
def full(store: Store) -> Store:
    """A store with five finished outputs."""
    for key in KEYS:
        write(store, key)
    return store


def receipts_beside(store: Store) -> int:
    return sum(name.endswith("/receipt.json") and name.startswith("read/") for name in store.find(""))


def test_sealed_receipts_are_the_same_receipts_and_no_longer_lie_beside_their_outputs(full: Store) -> None:
    before = {key: full.receipt("read", key) for key in KEYS}
    assert seal_receipts(full, "read", KEYS, least=6) == 0
    assert receipts_beside(full) == 5
    assert seal_receipts(full, "read", KEYS, least=5) == 5
    assert receipts_beside(full) == 0
    assert {key: full.receipt("read", key) for key in KEYS} == before
    assert dict(find_receipts(full, "read", KEYS)) == before
    assert find_receipts(full, "read", KEYS).beside == []
    assert full.receipt("read", sha256_of("another")) is None


def test_many_receipts_are_found_as_each_alone(full: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seal_receipts(full, "read", KEYS[:2], least=2)
    (full.root / "read" / KEYS[2] / "documents.parquet").write_text("hell")
    full.upload(f"read/{KEYS[2]}/documents.parquet")
    wanted = [*KEYS, sha256_of("another")]
    alone = {key: found for key in wanted if (found := full.receipt("read", key)) is not None}
    assert set(alone) == {KEYS[0], KEYS[1], KEYS[3], KEYS[4]}
    for few in (256, 1):  # listed one by one, and by their first digits
        monkeypatch.setattr("mixproof.ledger.store.receipts.FEW", few)
        together = find_receipts(full, "read", wanted)
        assert dict(together) == alone
        assert sorted(together.beside) == sorted(KEYS[3:])


def test_a_sealed_output_whose_file_is_not_whole_is_made_again_with_a_receipt_of_its_own(full: Store) -> None:
    seal_receipts(full, "read", KEYS, least=5)
    name = f"read/{KEYS[0]}/documents.parquet"
    full.remove([name])
    assert full.receipt("read", KEYS[0]) is None
    assert KEYS[0] not in find_receipts(full, "read", KEYS)
    write(full, KEYS[0])
    assert full.receipt("read", KEYS[0]) is not None
    assert KEYS[0] in find_receipts(full, "read", KEYS)


def test_a_kill_before_the_receipts_beside_are_gone_leaves_each_twice_and_counts_it_once(full: Store) -> None:
    copies = full.read([f"read/{key}/receipt.json" for key in KEYS])
    seal_receipts(full, "read", KEYS, least=5)
    for name, raw in copies.items():
        full.write(name, raw)
    assert len(find_receipts(full, "read", KEYS)) == 5
    assert take_inventory(full).entries[f"read/{KEYS[0]}"].state == "finished"
    assert seal_receipts(full, "read", KEYS, least=5) == 5  # the same rows, so the same output
    assert len(full.keys(SEALED)) == 1


def test_a_damaged_parquet_of_receipts_is_named_and_not_passed_over(full: Store) -> None:
    seal_receipts(full, "read", KEYS, least=5)
    place = f"{SEALED}/{full.keys(SEALED)[0]}"
    data = full.path(f"{place}/{RECEIPTS}").read_bytes()
    full.write(f"{place}/{RECEIPTS}", data[:-9])
    with pytest.raises(DamagedFileError, match="restore it from a backup, or delete its folder"):
        find_receipts(full, "read", KEYS)
    full.remove([f"{place}/{name}" for name in full.sizes(place)])
    assert len(find_receipts(full, "read", KEYS)) == 0


def test_a_damaged_receipt_among_sealed_ones_counts_as_missing_and_is_no_other(full: Store) -> None:
    seal_receipts(full, "read", KEYS, least=5)
    key = full.keys(SEALED)[0]
    path = full.path(f"{SEALED}/{key}/{RECEIPTS}")
    rows = pq.read_table(path).to_pylist()
    rows[0]["receipt"] = rows[0]["receipt"].replace(b'"records":3', b'"records":4')
    rows[1]["receipt"] = rows[2]["receipt"]
    with full.attempt(SEALED, key) as attempt:
        pq.write_table(pq.read_table(path).from_pylist(rows), attempt.path(RECEIPTS))
        attempt.commit(facts={"stage": "read", "receipts": 5})
    bad = {rows[0]["key"], rows[1]["key"]}
    assert set(find_receipts(full, "read", KEYS)) == set(KEYS) - bad
    assert [full.receipt("read", key) for key in bad] == [None, None]


def test_inventory_verify_and_gc_know_sealed_outputs(full: Store) -> None:
    seal_receipts(full, "read", KEYS, least=5)
    inventory = take_inventory(full)
    assert {entry.state for entry in inventory.entries.values()} == {"finished"}
    verified = verify_store(full)
    assert (verified.ok, verified.files, verified.unfinished) == (True, 5, ())  # four outputs and the Parquet
    full.write(f"read/{KEYS[1]}/documents.parquet", b"jello")
    assert [file.file for file in verify_store(full).wrong] == [full.location(f"read/{KEYS[1]}/documents.parquet")]
    garbage = find_garbage(full, age_seconds=-60)
    assert {entry.stage for entry in garbage.entries} == {"read"}
    remove_garbage(full, garbage)
    assert list(take_inventory(full).entries) == [f"{SEALED}/{full.keys(SEALED)[0]}"]
    assert full.receipt("read", KEYS[0]) is None
    assert set(find_receipts(full, "read", KEYS)) == {KEYS[4]}  # it never had a file


def test_another_machine_finds_sealed_receipts(full: Store) -> None:
    seal_receipts(full, "read", KEYS, least=5)
    if full.is_remote:
        shutil.rmtree(full.root)
    assert len(find_receipts(Store(str(full)), "read", KEYS)) == 5


def test_receipts_are_sealed_in_groups_of_rows_each_key_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixproof.ledger.store.sealed.ROW_GROUP", 2)
    for key in KEYS:
        write(store, key)
    assert seal_receipts(store, "read", [*KEYS, KEYS[0], sha256_of("another")], least=3) == 5
    assert len(find_receipts(store, "read", KEYS)) == 5
