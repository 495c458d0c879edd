"""Held-out sets: by text hash, to the token, whatever the shards; and errors that say what there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
import xxhash

from mixproof.ledger.content import content_sha256
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.dedup import Dedup

ReadRoom = Callable[..., Any]

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
TEXTS = [f"{a} {b} {a} {b}" for a in NUMBERS for b in NUMBERS]
"""100 documents of 5 tokens each."""


def hex_of(text: str) -> str:
    return xxhash.xxh3_128_hexdigest(text.encode())


def by_hash(texts: list[str]) -> list[str]:
    return sorted(set(texts), key=hex_of)


def test_documents_are_taken_by_smallest_hash_until_the_tokens_are_there(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS]})
    made = room.create(tokens=36, min_documents=3)  # 7 documents have 35 tokens
    expected = by_hash(TEXTS)[:8]
    assert made.texts["a"].hashes == tuple(map(hex_of, expected))
    assert made.texts["a"].documents == 8
    assert made.texts["a"].text_bytes == sum(len(text) for text in expected)
    assert room.texts("a", made.train["a"]) == [text for text in TEXTS if text not in expected]
    assert made.train["a"][0].kept == 92


def test_more_documents_are_taken_where_more_are_asked_than_the_tokens_need(read_room: ReadRoom) -> None:
    made = read_room({"a": [TEXTS]}).create(tokens=5, min_documents=20)
    assert made.texts["a"].hashes == tuple(map(hex_of, by_hash(TEXTS)[:20]))


def test_without_a_size_a_set_ends_at_two_percent_of_the_bytes(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS]})
    made = room.create(min_documents=1)
    taken = by_hash(TEXTS)[: made.texts["a"].documents]
    total = sum(map(len, TEXTS))
    assert sum(map(len, taken)) * 50 >= total > sum(map(len, taken[:-1])) * 50
    assert room.create().texts["a"].documents == 50


def test_the_texts_stand_with_their_place_in_the_raw_files(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS[:30], ["", *TEXTS[30:]]]}, shard_bytes=300)
    assert len(room.sources["a"].shards) > 4
    made = room.create(tokens=50, min_documents=1).texts["a"]
    rows = pq.read_table(room.store.path(made.path)).to_pylist()
    assert [row["text"] for row in rows] == by_hash(TEXTS)[:10]
    for row in rows:
        place = TEXTS.index(row["text"])
        file, record = ("0.jsonl", place) if place < 30 else ("1.jsonl", place - 29)
        assert row == {
            "file": file,
            "record": record,
            "id": f"a-{file[0]}-{record}",
            "text": TEXTS[place],
            "text_xxh128": hex_of(TEXTS[place]),
            "text_bytes": len(TEXTS[place]),
        }
    assert made.sha256 == content_sha256(room.store.path(made.path))


def test_shards_change_neither_the_set_nor_its_place(read_room: ReadRoom) -> None:
    sources = {"a": [TEXTS[:30], TEXTS[30:]], "b": [[f"{text} again" for text in TEXTS]]}
    whole, cut = read_room(sources), read_room(sources, store="other", shard_bytes=200)
    asked = {"tokens": 60, "min_documents": 5}
    one, other = whole.create(**asked), cut.create(**asked)
    assert one.texts == other.texts
    for name in sources:
        assert whole.texts(name, one.train[name]) == cut.texts(name, other.train[name])


def test_of_equal_texts_the_first_is_held_out_and_the_others_stay(read_room: ReadRoom) -> None:
    first = by_hash(TEXTS)[0]
    room = read_room({"a": [[*TEXTS, first], [first]]})
    made = room.create(tokens=10, min_documents=1)
    assert made.texts["a"].hashes == tuple(map(hex_of, by_hash(TEXTS)[:2]))
    left = room.texts("a", made.train["a"])
    assert len(left) == 100
    assert left.count(first) == 2
    assert left[-1] == first


def test_documents_that_dedup_dropped_are_not_held_out(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS], "b": [[*TEXTS, "only here"]]}, dedup=Dedup(exact=True))
    room.sources.pop("a")
    with pytest.raises(RequestError, match="would take all of its 1 documents"):
        room.create(tokens=1, min_documents=1)


def test_texts_without_a_token_are_passed_over(read_room: ReadRoom) -> None:
    blanks = [" " * k for k in range(1, 40)]
    made = read_room({"a": [[*TEXTS, *blanks]]}).create(tokens=36, min_documents=3)
    assert made.texts["a"].hashes == tuple(map(hex_of, by_hash(TEXTS)[:8]))


@pytest.mark.parametrize("asked", [{"tokens": 501, "min_documents": 1}, {"tokens": 1, "min_documents": 101}])
def test_a_source_that_cannot_give_what_is_asked_says_what_it_could(read_room: ReadRoom, asked: dict[str, int]) -> None:
    with pytest.raises(RequestError, match=r"sources\.a: .*100 documents provide only 500 tokens in 100 documents"):
        read_room({"a": [TEXTS]}).create(**asked)


def test_a_set_that_leaves_nothing_to_train_on_is_an_error(read_room: ReadRoom) -> None:
    with pytest.raises(RequestError, match="leave none for training"):
        read_room({"a": [TEXTS]}).create(tokens=500, min_documents=1)


def test_a_finished_split_is_not_made_again(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS]})
    one = room.create(tokens=36, min_documents=3)
    before = room.cluster.stages_run, room.cluster.stages_reused
    assert room.create(tokens=36, min_documents=3) == one
    assert (room.cluster.stages_run, room.cluster.stages_reused) == (before[0], before[1] + 1)
    room.store.path(one.texts["a"].path).unlink()
    assert room.create(tokens=36, min_documents=3) == one
    assert room.cluster.stages_run == before[0] + 1
