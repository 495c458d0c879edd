"""Batches of small outputs: their receipts are sealed together, and what was committed before an error is kept."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.store import ATTEMPTS, RECEIPT, Store
from mixproof.ledger.store.batch import PACK_BYTES, SEAL_LEAST, open_batch
from mixproof.ledger.store.receipt import FILES, PACKS
from mixproof.ledger.store.receipts import find_receipts
from mixproof.ledger.store.sealed import SEALED

KEYS = [sha256_of(number) for number in range(SEAL_LEAST)]


def make(store: Store, keys: Sequence[str], fails_at: str | None = None) -> None:
    with open_batch(store, "read", keys) as batch:
        for key in keys:
            with batch.attempt("read", key) as attempt:
                attempt.path("text").write_text(key)
                if key == fails_at:
                    raise ValueError(key)
                attempt.commit(facts={"key": key})


def test_outputs_of_a_batch_are_found_like_others_and_have_one_file_of_receipts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, KEYS)

    found = find_receipts(store, "read", KEYS)

    assert {key: receipt.facts["key"] for key, receipt in found.items()} == {key: key for key in KEYS}
    assert found.beside == []
    assert len(store.keys(SEALED)) == 1
    assert [store.path(f"read/{key}/text").read_text() for key in KEYS] == KEYS
    assert list((tmp_path / ATTEMPTS).iterdir()) == []


def test_a_few_outputs_keep_their_receipts_beside_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, KEYS[:-1])
    assert sorted(find_receipts(store, "read", KEYS).beside) == sorted(KEYS[:-1])
    assert store.keys(SEALED) == []


def test_outputs_before_an_error_are_kept_and_the_others_are_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ValueError, match=KEYS[3]):
        make(store, KEYS, fails_at=KEYS[3])
    assert set(find_receipts(store, "read", KEYS)) == set(KEYS[:3])
    assert not (tmp_path / "read" / KEYS[3]).exists()


def test_a_batch_that_dies_leaves_files_without_receipts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with open_batch(store, "read", KEYS[:2]) as batch, batch.attempt("read", KEYS[0]) as attempt:
        attempt.path("text").write_text("first")
        attempt.commit()
        assert (tmp_path / "read" / KEYS[0] / "text").is_file()
        assert not (tmp_path / "read" / KEYS[0] / RECEIPT).exists()
        assert store.receipt("read", KEYS[0]) is None


def test_a_sealed_file_that_is_added_later_is_found_by_the_same_process(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, KEYS)
    more = [sha256_of(f"more {number}") for number in range(SEAL_LEAST)]
    assert not find_receipts(store, "read", more)
    make(store, more)
    assert len(find_receipts(store, "read", [*KEYS, *more])) == 2 * SEAL_LEAST


def pack(store: Store, keys: Sequence[str], *, large: str | None = None) -> None:
    with open_batch(store, "tokens", keys, packs=True) as batch:
        for key in keys:
            with batch.attempt("tokens", key) as attempt:
                attempt.path("ids").write_bytes(key.encode() * (PACK_BYTES // len(key) + 1 if key == large else 1))
                attempt.path("rows").write_text(f"rows of {key}")
                attempt.commit(facts={"key": key})


def test_small_outputs_of_a_batch_are_one_file_and_a_large_one_has_its_own_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pack(store, KEYS, large=KEYS[0])

    found = find_receipts(store, "tokens", KEYS)

    assert found[KEYS[0]].pack is None
    assert store.open(f"{found[KEYS[0]].folder}/rows") == tmp_path / "tokens" / KEYS[0] / "rows"
    packed = {key: receipt for key, receipt in found.items() if receipt.pack}
    assert set(packed) == set(KEYS[1:])
    for key, receipt in packed.items():
        ids, rows = store.open_together(receipt.folder, ("ids", "rows"))
        assert isinstance(ids, BytesIO) and isinstance(rows, BytesIO)
        assert (ids.read().decode(), rows.read().decode()) == (key, f"rows of {key}")
        assert receipt.files["ids"].sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert store.keys("tokens") == [KEYS[0]]
    (key,) = store.keys(PACKS)
    with zipfile.ZipFile(store.path(f"{PACKS}/{key}/{FILES}")) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 2 * (len(KEYS) - 1)
    assert store.receipt("tokens", KEYS[1]) == packed[KEYS[1]]


def test_outputs_whose_pack_is_gone_or_short_are_made_again_in_the_same_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pack(store, KEYS)
    (key,) = store.keys(PACKS)
    path = store.path(f"{PACKS}/{key}/{FILES}")
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert not find_receipts(store, "tokens", KEYS)
    assert store.receipt("tokens", KEYS[1]) is None
    shutil.rmtree(path.parent)
    assert not find_receipts(store, "tokens", KEYS)
    pack(store, KEYS)
    assert set(find_receipts(store, "tokens", KEYS)) == set(KEYS)
    assert path.read_bytes() == data


def test_a_flipped_bit_in_a_pack_is_an_error_that_names_the_file_in_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pack(store, KEYS)
    receipt = find_receipts(store, "tokens", KEYS)[KEYS[3]]
    assert receipt.pack is not None
    path = store.path(receipt.pack.path)
    data = bytearray(path.read_bytes())
    data[bytes(data).index(f"rows of {KEYS[3]}".encode())] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=f"{KEYS[3]}/rows"):
        store.open(f"{receipt.folder}/rows")


def test_a_few_outputs_are_not_packed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pack(store, KEYS[:-1])
    assert store.keys(PACKS) == []
    assert len(store.keys("tokens")) == len(KEYS) - 1


@pytest.mark.parametrize("hostile", ["a bomb", "an encrypted member", "not a zip file"])
def test_a_pack_of_another_team_that_no_batch_wrote_is_damaged(tmp_path: Path, hostile: str) -> None:
    store = Store(tmp_path)
    member = f"{'0' * 64}/a.npy"
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED if hostile == "a bomb" else zipfile.ZIP_STORED) as archive:
        archive.writestr(member, bytes(3_000_000))
    data = packed.getvalue()
    if hostile == "an encrypted member":
        central = data.rindex(b"PK\1\2")
        data = data[: central + 8] + b"\1" + data[central + 9 :]
        data = data[:6] + b"\1" + data[7:]
    store.write(f"packs/{'1' * 64}/files.zip", b"PK" if hostile == "not a zip file" else data)
    with pytest.raises(DamagedFileError, match=r"files\.zip: .*delete its folder to make its outputs again"):
        store.open(f"packs/{'1' * 64}/{member}")
