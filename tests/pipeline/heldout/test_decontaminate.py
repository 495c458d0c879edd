"""Decontamination: overlapping documents go, held-out ones do not count, and the account closes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
import xxhash

from mixproof.ledger.account import Count, check_chain
from mixproof.pipeline.heldout import document_matches
from mixproof.pipeline.words import words

ReadRoom = Callable[..., Any]

CONSONANTS, VOWELS = "bdfgklmnprst", "aeiou"
WORDS = [f"{a}{b}{c}" for a in CONSONANTS for b in VOWELS for c in CONSONANTS]


def document(number: int, words: int = 40) -> str:
    """A text that shares no two words in a row with those of other numbers."""
    return " ".join(WORDS[(number * 41 + k * (2 * number + 1)) % len(WORDS)] for k in range(words))


TEXTS = [document(number) for number in range(30)]


def smallest(texts: list[str]) -> str:
    return min(texts, key=lambda text: xxhash.xxh3_128_hexdigest(text.encode()))


def test_near_copies_of_held_out_texts_go_from_every_source(read_room: ReadRoom) -> None:
    held = smallest(TEXTS)
    words = held.split()
    others = [document(number) for number in range(100, 130)]
    near = " ".join(["new", "start", *words[5:]])  # 23 of 28 grams
    quarter = " ".join([*words[:19], *document(99).split()])  # 7 of 28
    assert smallest([*others, near, quarter]) in others
    room = read_room({"a": [TEXTS], "b": [[*others, near, quarter]]})
    heldout = room.create(tokens=1, min_documents=1)
    assert heldout.texts["a"].documents == heldout.texts["b"].documents == 1
    made = room.decontaminate(heldout)
    assert near not in room.texts("b", made.train["b"])
    assert quarter in room.texts("b", made.train["b"])
    assert made.train["a"] == heldout.train["a"]
    row = made.rows["b"]
    assert row.dropped == {"heldout_overlap": Count(documents=1, bytes=len(near))}
    assert (row.documents_in, row.documents_out) == (32, 31)
    assert made.rows["a"].dropped == {}
    for name in ("a", "b"):
        check_chain([room.before[name], made.rows[name]], source=name)


def test_what_was_dropped_is_listed_beside_the_text_it_matched(read_room: ReadRoom) -> None:
    held = smallest(TEXTS)
    near = " ".join(["new", "start", *held.split()[5:]])
    room = read_room({"a": [[*TEXTS, near]]})
    made = room.decontaminate(room.create(tokens=1, min_documents=1))
    (listed,) = made.lists["a"]
    assert (listed.kind, listed.file, listed.rows) == ("decontaminated", "0.jsonl", 1)
    (row,) = pq.read_table(room.store.path(listed.path)).to_pylist()
    assert row == {
        "record": 30,
        "file": None,
        "id": "a-0-30",
        "text_xxh128": xxhash.xxh3_128_hexdigest(near.encode()),
        "text_bytes": len(near),
        "start": near[:200],
        "ngrams": 25,
        "reason": "heldout_overlap",
        "shared_ngrams": 23,
        "match": "heldout/a",
        "match_record": TEXTS.index(held),
        "match_xxh128": xxhash.xxh3_128_hexdigest(held.encode()),
        "match_ngrams": 28,
        "match_start": held[:200],
    }


def test_copies_of_a_held_out_text_leave_training_wholly_unless_it_is_turned_off(read_room: ReadRoom) -> None:
    held = smallest(TEXTS)
    room = read_room({"a": [[*TEXTS, held]], "b": [[held, *TEXTS[:3], "..."]]})
    heldout = room.create(tokens=1, min_documents=1)
    made = room.decontaminate(heldout)
    for name in ("a", "b"):
        assert held not in room.texts(name, made.train[name])
    assert made.rows["a"].documents_out == 30  # 29 to train on, 1 held out
    off = room.decontaminate(heldout, off=True)
    assert off.train == heldout.train
    assert off.rows == {}
    assert held in room.texts("a", off.train["a"])


def test_a_text_without_words_goes_where_the_very_same_is_held_out(read_room: ReadRoom) -> None:
    signs = ["." * k for k in range(1, 40)]
    held = smallest(signs)
    room = read_room({"a": [signs], "b": [[*TEXTS, *signs]]})
    heldout = room.create(tokens=1, min_documents=1)
    made = room.decontaminate(heldout)
    left = room.texts("b", made.train["b"])
    assert held not in left
    assert len([text for text in left if set(text) == {"."}]) >= 37


def test_evaluation_texts_count_beside_held_out_ones(read_room: ReadRoom) -> None:
    question, passage = "Which of the two rivers is the longer one?", document(77)
    asked = f"{document(50)} {question} {document(51)}"
    quoted = f"{passage} and more"
    room = read_room({"a": [[*TEXTS, asked, quoted]]})
    records = [{"question": question, "answer": "the first"}, {"text": passage}]
    (room.folder / "e.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    made = room.decontaminate(room.create(tokens=1, min_documents=1), against=[{"files": ["e.jsonl"]}])
    assert made.rows["a"].dropped == {"evaluation_overlap": Count(documents=2, bytes=len(asked) + len(quoted))}
    rows = pq.read_table(room.store.path(made.lists["a"][0].path)).to_pylist()
    assert [(row["match"], row["match_record"]) for row in rows] == [
        ("evaluation/e.jsonl", 0),
        ("evaluation/e.jsonl", 1),
    ]


def test_the_overlap_and_the_length_of_a_gram_are_the_specs(read_room: ReadRoom) -> None:
    held = smallest(TEXTS)
    part = " ".join([*held.split()[:19], *document(99).split()])  # 7 of 28 grams of 13, 15 of 36 of 5
    room = read_room({"a": [TEXTS], "b": [[document(98), document(97), part]]})
    heldout = room.create(tokens=1, min_documents=1)
    assert part in room.texts("b", heldout.train["b"])

    def goes(**options: object) -> bool:
        return part not in room.texts("b", room.decontaminate(heldout, **options).train["b"])

    assert [goes(), goes(overlap="1/4"), goes(overlap="26%")] == [False, True, False]
    assert [goes(ngram=5, overlap="15/36"), goes(ngram=5, overlap="42%")] == [True, False]


def test_shards_change_nothing_that_is_kept_or_counted(read_room: ReadRoom) -> None:
    held = smallest(TEXTS)
    near = " ".join(["new", "start", *held.split()[5:]])
    sources = {"a": [TEXTS[:9], [*TEXTS[9:], near]], "b": [[document(200), near, document(201)]]}
    results = []
    for store, shard_bytes in (("whole", 10**8), ("cut", 400)):
        room = read_room(sources, store=store, shard_bytes=shard_bytes)
        made = room.decontaminate(room.create(tokens=1, min_documents=1))
        results.append(({name: room.texts(name, made.train[name]) for name in sources}, made.rows))
    assert results[0] == results[1]


def test_long_documents_are_searched_one_by_one_with_the_same_result(
    read_room: ReadRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = smallest(TEXTS)
    long = " ".join([document(300, 400), *held.split()[5:], document(301, 400)])
    sources = {"a": [[*TEXTS[:9], long, *TEXTS[9:], long[1:]]]}
    results = []
    for store in ("whole", "in blocks"):
        room = read_room(sources, store=store)
        made = room.decontaminate(room.create(tokens=1, min_documents=1))
        results.append((room.texts("a", made.train["a"]), made.rows))
        monkeypatch.setattr(words, "LONG_BYTES", 100)
        monkeypatch.setattr(document_matches, "LONG_BYTES", 400)
        monkeypatch.setattr(document_matches, "BATCH_BYTES", 400)
    assert results[0] == results[1]
    assert results[0][1]["a"].dropped == {"heldout_overlap": Count(documents=2, bytes=2 * len(long) - 1)}


def test_finished_work_is_not_done_again_and_another_overlap_keeps_the_index(read_room: ReadRoom) -> None:
    room = read_room({"a": [TEXTS[:9], TEXTS[9:]]})
    heldout = room.create(tokens=1, min_documents=1)
    one, run, reused = room.decontaminate(heldout), room.cluster.stages_run, room.cluster.stages_reused
    assert room.decontaminate(heldout) == one
    assert (room.cluster.stages_run, room.cluster.stages_reused) == (run, reused + 3)
    room.decontaminate(heldout, overlap="40%")
    assert (room.cluster.stages_run, room.cluster.stages_reused) == (run + 2, reused + 4)
