"""Fuzzy deduplication from the spec: planted near-duplicates, keepers, scopes, accounts; whatever the split."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from mixproof.ledger.account import Count
from mixproof.mixtures.blocks.dedup import Dedup, FuzzyDedup
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.dedup import buckets
from mixproof.pipeline.dedup.fuzzy import equal_minima

ReadRoom = Callable[..., Any]

RULE = FuzzyDedup(bands=20, rows=4, threshold=Fraction(7, 10))
CHOSEN = random.Random(4)  # noqa: S311  a fixed choice
WORDS = [f"word{k}" for k in range(3000)]


def passage(words: int = 200) -> str:
    return " ".join(CHOSEN.choices(WORDS, k=words))


def near(text: str, place: int) -> str:
    """The text with one word changed: 5 of 196 grams differ, so J is 191 / 201 = 0.95."""
    words = text.split()
    words[place] = "changed"
    return " ".join(words)


P, Q, R = passage(), passage(), passage()
ALONE = [passage() for _ in range(4)]
P50, P120, Q90 = near(P, 50), near(P, 120), near(Q, 90)
CORPUS = {
    "web": [[P50, ALONE[0], P], [ALONE[1], Q90]],
    "books": [[ALONE[2], P, P120], [Q.upper(), R, R, "Yes.", "yes!", "?", "!"], [ALONE[3]]],
}


def kept(read_room: ReadRoom, rule: Dedup, **options: Any) -> tuple[dict[str, list[str]], Any]:  # noqa: ANN401
    """The texts that stay, per source, and the room."""
    room = read_room(CORPUS, dedup=rule, **options)
    return {name: room.texts(name, room.keep[name]) for name in CORPUS}, room


BOOKS_FIRST = {
    "books": [ALONE[2], P, Q.upper(), R, "Yes.", "?", "!", ALONE[3]],
    "web": [ALONE[0], ALONE[1]],
}


@pytest.mark.parametrize("shard_bytes", [700, 10**8])
@pytest.mark.parametrize("range_records", [16, 4_000_000])
def test_the_first_of_what_is_alike_stays_whatever_the_split(
    read_room: ReadRoom, shard_bytes: int, range_records: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "RANGE_RECORDS", range_records)
    texts, room = kept(read_room, Dedup(fuzzy=RULE), shard_bytes=shard_bytes)
    assert texts == BOOKS_FIRST
    # web: P is books' P byte for byte; P50 and Q90 are near books' P and Q. books: R again; P120, "yes!"
    web, books = room.before["web"], room.before["books"]
    assert web.dropped == {
        "exact_duplicate": Count(documents=1, bytes=len(P)),
        "fuzzy_duplicate": Count(documents=2, bytes=len(P50) + len(Q90)),
    }
    assert books.dropped == {
        "exact_duplicate": Count(documents=1, bytes=len(R)),
        "fuzzy_duplicate": Count(documents=2, bytes=len(P120) + 4),
    }
    assert (web.stage, web.documents_in, web.documents_out) == ("dedup", 5, 2)
    assert (books.documents_in, books.documents_out) == (11, 8)


def test_the_declared_priority_and_the_scope_hold_for_what_is_alike(read_room: ReadRoom) -> None:
    texts, _ = kept(read_room, Dedup(fuzzy=RULE, keep=("web",)))
    assert texts["web"] == [P50, *ALONE[:2], Q90]
    assert texts["books"] == [ALONE[2], R, "Yes.", "?", "!", ALONE[3]]


def test_scope_source_looks_within_each_source_only(read_room: ReadRoom) -> None:
    texts, _ = kept(read_room, Dedup(fuzzy=RULE, scope="source"))
    assert texts == {"books": BOOKS_FIRST["books"], "web": [P50, *ALONE[:2], Q90]}


def test_without_exact_every_copy_is_a_fuzzy_one(read_room: ReadRoom) -> None:
    texts, room = kept(read_room, Dedup(exact=False, fuzzy=RULE))
    assert texts == BOOKS_FIRST
    assert set(room.before["web"].dropped) == {"fuzzy_duplicate"}


def test_the_matrix_counts_both_reasons(read_room: ReadRoom, cluster: Cluster) -> None:
    from mixproof.pipeline.dedup.dedup import deduplicate

    room = read_room(CORPUS, dedup=Dedup(fuzzy=RULE))
    matrix = deduplicate(room.spec, room.sources, room.store, cluster).matrix
    assert [(row.source, row.lost_to, row.documents, row.bytes) for row in matrix] == [
        ("books", "books", 3, len(R) + len(P120) + 4),
        ("web", "books", 3, len(P) + len(P50) + len(Q90)),
    ]


def test_another_threshold_hashes_no_text_again(read_room: ReadRoom) -> None:
    _, room = kept(read_room, Dedup(fuzzy=RULE))
    signed = {path: path.stat().st_mtime_ns for path in room.store.path("minhash").glob("*/*")}
    before = room.cluster.stages_run
    kept(read_room, Dedup(fuzzy=RULE))
    assert room.cluster.stages_run == before
    texts, _ = kept(read_room, Dedup(fuzzy=RULE.model_copy(update={"threshold": Fraction(1)})))
    assert texts["web"] == [P50, *ALONE[:2], Q90]  # one changed word is too much; Q in capitals is not
    assert {path: path.stat().st_mtime_ns for path in room.store.path("minhash").glob("*/*")} == signed


def test_planted_copies_are_found_by_their_likeness(read_room: ReadRoom) -> None:
    chosen = random.Random(5)  # noqa: S311  a fixed choice
    texts, alike, apart = [], 0, 0
    for _ in range(40):
        text = passage(400)
        words = text.split()
        some = chosen.random() < 0.5
        # every 100th word: 4 x 5 of 396 grams, J = 376 / 416 = 0.90; every 20th: 20 x 5, J = 296 / 496 = 0.60
        words[10 :: 100 if some else 20] = ["changed"] * len(words[10 :: 100 if some else 20])
        alike, apart = alike + some, apart + (not some)
        texts += [text, " ".join(words)]
    chosen.shuffle(texts)
    room = read_room({"a": [texts]}, dedup=Dedup(fuzzy=FuzzyDedup()))
    assert alike > 10 < apart
    assert room.before["a"].dropped["fuzzy_duplicate"].documents == alike


def test_a_threshold_is_a_number_of_minima_rounded_up() -> None:
    assert [equal_minima(Fraction(4, 5), n) for n in (112, 160, 5)] == [90, 128, 4]
    assert equal_minima(Fraction(0), 112) == 1
    assert equal_minima(Fraction(1), 112) == 112


def test_named_groups_look_within_each_group(read_room: ReadRoom) -> None:
    texts, _ = kept(read_room, Dedup(fuzzy=RULE, scope={"one": ("web",), "two": ("books",)}))
    assert texts == {"books": BOOKS_FIRST["books"], "web": [P50, *ALONE[:2], Q90]}
    texts, _ = kept(read_room, Dedup(fuzzy=RULE, scope={"both": ("web", "books")}, keep=("web",)))
    assert texts["books"] == [ALONE[2], R, "Yes.", "?", "!", ALONE[3]]


def test_the_ends_of_a_chain_are_unlike_and_both_stay(read_room: ReadRoom) -> None:
    # 16 words changed: 80 of 396 grams, J = 316 / 476 = 0.66 to the end; 0.80 from each to the one between them
    first = passage(400)
    between, last = (" ".join(words_changed(first, changes)) for changes in (8, 16))
    room = read_room({"a": [[first, between, last]]}, dedup=Dedup(fuzzy=FuzzyDedup(threshold=Fraction(73, 100))))
    assert room.texts("a", room.keep["a"]) == [first, last]


def words_changed(text: str, changes: int) -> list[str]:
    words = text.split()
    for place in range(changes):
        words[10 + 24 * place] = f"other{place}"
    return words


def test_a_new_dump_is_held_against_recorded_bands_without_the_old_texts(read_room: ReadRoom) -> None:
    rule = Dedup(fuzzy=RULE)
    old = read_room({"dump-1": CORPUS["books"]}, dedup=rule, store="grown")
    signed = {path: path.stat().st_mtime_ns for path in old.store.path("minhash").glob("*/*")}
    for shard in old.sources["dump-1"].shards:  # of the same size, so the store takes them for what they were
        path = old.store.path(f"{shard.folder}/documents.parquet")
        path.write_bytes(bytes(path.stat().st_size))
    both = {"dump-1": CORPUS["books"], "dump-2": CORPUS["web"]}
    grown, whole = read_room(both, dedup=rule, store="grown"), read_room(both, dedup=rule, store="whole")
    assert {path: path.stat().st_mtime_ns for path in signed} == signed
    assert len(list(grown.store.path("minhash").glob("*/receipt.json"))) == 5  # three old shards, two new ones
    for name in both:
        assert [bitmap and bitmap.sha256 for bitmap in grown.keep[name]] == [
            bitmap and bitmap.sha256 for bitmap in whole.keep[name]
        ]
        assert grown.before[name] == whole.before[name]
    assert grown.texts("dump-2", grown.keep["dump-2"]) == [ALONE[0], ALONE[1]]
