"""The order of hashes: all documents once, by rising hash, from any shards."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import xxhash

from mixproof.pipeline.read.by_hash import HASHED_DTYPE, fetch_texts, first_of_each, hex_of, in_hash_order, up_to

ReadRoom = Callable[..., Any]
TEXTS = [f"text {number}" for number in range(300)]


def test_the_first_of_equal_hashes_stays_in_the_order_of_hashes() -> None:
    rows = [(2, 1, 5, 0, 0), (1, 9, 5, 4, 1), (1, 9, 5, 3, 1), (1, 9, 5, 7, 0), (1, 2, 5, 0, 2)]
    found = first_of_each(np.array(rows, dtype=HASHED_DTYPE))
    assert found.tolist() == [(1, 2, 5, 0, 2), (1, 9, 5, 7, 0), (2, 1, 5, 0, 0)]


def test_up_to_compares_all_128_bits() -> None:
    rows = np.array([(1, 2, 0, 0, 0), (1, 3, 0, 0, 0), (2, 0, 0, 0, 0)], dtype=HASHED_DTYPE)
    assert up_to(rows, f"{1:016x}{2:016x}").tolist() == rows[:1].tolist()
    assert up_to(rows, f"{1:016x}{2**64 - 1:016x}").tolist() == rows[:2].tolist()
    assert hex_of(rows[1]) == "0000000000000001" + "0000000000000003"


@pytest.mark.parametrize("expected", [Fraction(1, 1000), Fraction(1, 3), Fraction(1)])
def test_every_document_comes_once_by_rising_hash(read_room: ReadRoom, expected: Fraction) -> None:
    room = read_room({"a": [TEXTS[:100], [*TEXTS[100:], *TEXTS[:50]]]}, shard_bytes=1500)
    source, keep = room.sources["a"], room.keep["a"]
    parts = list(in_hash_order(source, keep, room.store, room.cluster, expected=expected))
    found = np.concatenate(parts)
    assert [hex_of(row) for row in found] == sorted(xxhash.xxh3_128_hexdigest(text.encode()) for text in TEXTS)
    assert (len(parts) == 1) == (expected == 1)
    texts = fetch_texts(source.shards, found, room.store, room.cluster)
    assert [xxhash.xxh3_128_hexdigest(text.encode()) for text in texts["text"].to_pylist()] == list(map(hex_of, found))
