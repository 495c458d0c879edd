"""The reserve: what a tokenizer's training never reads, and where held-out sets then come from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import xxhash

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.heldout import HeldoutCreate
from mixproof.pipeline.heldout import split
from mixproof.pipeline.heldout.reserve import reserved_bytes

ReadRoom = Callable[..., Any]

TEXTS = [f"{chr(97 + n // 26)}{chr(97 + n % 26)} fgh" for n in range(200)]
"""200 documents of 6 bytes and 3 tokens each."""


def by_hash(texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: xxhash.xxh3_128_hexdigest(text.encode()))


@pytest.mark.parametrize(
    ("tokens", "source_bytes", "expected"),
    [(100, 10**6, 800), (100, 1000, 500), (None, 1000, 21), (None, 10**12, 8_000_000)],
)
def test_eight_bytes_a_token_are_reserved_within_bounds(tokens: int | None, source_bytes: int, expected: int) -> None:
    assert reserved_bytes(HeldoutCreate(tokens=tokens), source_bytes) == expected


def test_the_documents_of_smallest_hash_are_set_aside(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS]}, shard_bytes=500)
    reserve = room.reserve(tokens=10, min_documents=2)  # 80 bytes: 14 documents
    expected = by_hash(TEXTS)[:14]
    assert reserve.last_hash["a"] == xxhash.xxh3_128_hexdigest(expected[-1].encode())
    assert room.texts("a", reserve.tokenizer_train["a"]) == [text for text in TEXTS if text not in expected]


def test_many_bitmaps_are_written_by_tasks_and_lost_ones_again(
    read_room: ReadRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = read_room({"a": [TEXTS]}, shard_bytes=120)
    few = room.reserve(tokens=10, min_documents=2)
    for name, value in (("MOST_BITMAPS", 2), ("PART_BITMAPS", 3)):
        monkeypatch.setattr(split, name, value)
    other = read_room({"a": [TEXTS]}, store="other", shard_bytes=120)
    for _ in range(2):
        many = other.reserve(tokens=10, min_documents=2)
        bitmaps = many.tokenizer_train["a"]
        assert other.texts("a", bitmaps) == room.texts("a", few.tokenizer_train["a"])
        outputs = {bitmap.path.split("/")[1] for bitmap in bitmaps if bitmap is not None}
        assert len(outputs) > 2
        shutil.rmtree(other.store.path(f"reserve/{min(outputs)}"))


def test_the_set_is_chosen_among_them(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS]})
    made = room.create(room.reserve(tokens=10, min_documents=2), tokens=10, min_documents=2)
    assert made.texts["a"].documents == 4  # of 3 tokens each
    assert made.texts["a"] == room.create(tokens=10, min_documents=2).texts["a"]


def test_as_many_documents_as_asked_are_set_aside_even_beyond_half(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS]})
    reserve = room.reserve(tokens=10, min_documents=150)
    assert len(room.texts("a", reserve.tokenizer_train["a"])) == 50
    assert room.create(reserve, tokens=10, min_documents=150).texts["a"].documents == 150


def test_copies_of_a_text_set_aside_are_not_left_to_the_tokenizer(read_room: ReadRoom) -> None:
    first = by_hash(TEXTS)[0]
    room = read_room({"a": [[*TEXTS, first], [first, first]]})
    assert first not in room.texts("a", room.reserve(tokens=10, min_documents=1).tokenizer_train["a"])


def test_a_source_all_of_which_would_be_set_aside_is_an_error(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS]})
    for documents in (200, 201):
        with pytest.raises(RequestError, match="of its 200 documents"):
            room.reserve(tokens=10, min_documents=documents)


def test_more_tokens_than_the_reserve_gives_are_an_error_that_says_so(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS]})
    asked = {"tokens": 400, "min_documents": 1}  # half of the source: 100 documents of 3 tokens
    with pytest.raises(RequestError, match="reserved for it.*provide only 300 tokens in 100 documents"):
        room.create(room.reserve(**asked), **asked)


def test_a_finished_reserve_is_not_made_again(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS]})
    one, run = room.reserve(tokens=10, min_documents=2), room.cluster.stages_run
    assert room.reserve(tokens=10, min_documents=2) == one
    assert room.cluster.stages_run == run
