"""Batches of small outputs: their receipts are sealed together, and what was committed before an error is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.store import ATTEMPTS, RECEIPT, Store
from mixproof.ledger.store.batch import SEAL_LEAST, open_batch
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
