"""Receipts: read back as written, and by no other bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import RECEIPT as NAME
from mixproof.ledger.store.receipt import Receipt, StoredFile, read_receipt, seal
from mixproof.ledger.store.receipts import find_receipts

RECEIPT = Receipt(
    stage="read", key="0" * 64, files={"a.bin": StoredFile(sha256="1" * 64, bytes=12)}, facts={"records": 3}
)


def test_a_receipt_is_read_back_as_it_was_written() -> None:
    assert read_receipt(RECEIPT.to_bytes()) == RECEIPT


def test_a_receipt_is_json_whose_last_field_is_the_checksum_of_all_before() -> None:
    fields = json.loads(RECEIPT.to_bytes())
    assert list(fields)[-1] == "sha256"
    assert fields["facts"] == {"records": 3}


@given(place=st.integers(0, len(RECEIPT.to_bytes()) - 1), bit=st.integers(0, 7))
def test_no_bit_of_a_receipt_can_flip_unnoticed(place: int, bit: int) -> None:
    raw = bytearray(RECEIPT.to_bytes())
    raw[place] ^= 1 << bit
    with pytest.raises(ValueError):
        read_receipt(bytes(raw))


def test_an_edited_number_and_a_receipt_without_a_checksum_do_not_count() -> None:
    raw = RECEIPT.to_bytes()
    for other in (raw.replace(b'"records":3', b'"records":4'), raw.partition(b',"sha256":"')[0] + b"}", b"{}", b""):
        with pytest.raises(ValueError, match="checksum"):
            read_receipt(other)


@pytest.mark.parametrize(
    "fields",
    [
        b'{"x":1}',
        b'{"stage":"read","key":"KEY","files":[1]}',
        b'{"stage":"read","key":"KEY","files":{"a":null}}',
        b'{"stage":"read","key":"KEY","files":{},"pack":"x"}',
        b'{"stage":"read","key":"KEY","files":{"a":{"bytes":' + b"[" * 100_000 + b"1" + b"]" * 100_000 + b"}}}",
    ],
)
def test_a_receipt_of_another_team_that_is_none_counts_as_missing(tmp_path: Path, fields: bytes) -> None:
    store = Store(tmp_path)
    store.write(f"read/{RECEIPT.key}/{NAME}", seal(fields.replace(b"KEY", RECEIPT.key.encode())))
    assert store.receipt("read", RECEIPT.key) is None
    assert not find_receipts(store, "read", [RECEIPT.key])


def test_a_receipt_with_an_account_that_is_none_names_its_output(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fields = {"stage": "read", "key": RECEIPT.key, "files": {}, "account": 5}
    store.write(f"read/{RECEIPT.key}/{NAME}", seal(json.dumps(fields).encode()))
    with pytest.raises(DamagedFileError, match=f"{RECEIPT.key}/{NAME}: whole file: no stage wrote it"):
        find_receipts(store, "read", [RECEIPT.key])[RECEIPT.key]
