"""Draws: which documents, in which order, and that nothing wrong gets into one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from megatron.core.datasets.indexed_dataset import IndexedDataset

from mixproof.ledger.errors import AccountError, DamagedFileError, RequestError
from mixproof.train.data.chosen_documents import choose_documents, choose_long, choose_part, part_numbers
from mixproof.train.data.draw import DrawSize, find_draw, make_draw, round_up_to_power_of_two

Make = Callable[..., Any]
Documents = Callable[..., list[list[int]]]


def drawn(corpus: Any, draw: Any) -> list[list[int]]:  # noqa: ANN401  fixtures of the conftest
    dataset = IndexedDataset(str(corpus.store.path(draw.prefix)))
    return [dataset[i].tolist() for i in range(len(dataset))]


def test_documents_of_smallest_hash_are_chosen_until_the_need_is_met() -> None:
    hashes = pa.chunked_array([["d0", "a0", "c0", "b0"]])
    tokens = np.array([10, 20, 30, 40])
    assert choose_documents(hashes, tokens, 20).tolist() == [False, True, False, False]
    assert choose_documents(hashes, tokens, 21).tolist() == [False, True, False, True]
    assert choose_documents(hashes, tokens, 60).tolist() == [False, True, False, True]
    assert choose_documents(hashes, tokens, 61).tolist() == [False, True, True, True]
    assert choose_documents(hashes, tokens, 101).tolist() == [True, True, True, True]


def test_the_last_document_is_left_out_where_a_cut_comes_nearer_without_it() -> None:
    hashes = pa.chunked_array([["a", "b", "c"]])
    tokens = np.array([10, 20, 40])

    def count(need: int) -> int:
        return int(choose_documents(hashes, tokens, need, nearest=True).sum())

    # 10, 30 or 70 tokens: 20 lies between the first two, 50 between the last
    assert [count(need) for need in (1, 19, 20, 30, 49, 50, 70, 90)] == [1, 1, 2, 2, 2, 3, 3, 3]


def test_equal_hashes_are_chosen_in_the_order_of_the_dataset() -> None:
    hashes = pa.chunked_array([["b", "a", "a", "a"]])
    assert choose_documents(hashes, np.array([1, 1, 1, 1]), 2).tolist() == [False, True, True, False]


def test_parts_take_documents_in_turn_and_long_documents_of_no_part_come_first() -> None:
    hashes = pa.chunked_array([["d", "a", "c", "b", "e"]])  # in the order of hashes: 20, 40, 30, 10 and 50 tokens
    tokens = np.array([10, 20, 30, 40, 50])
    assert part_numbers(hashes, tokens, [25, 30]).tolist() == [2, 0, 1, 0, 2]  # 20 + 40 reach 25; 30 is enough for 30
    assert choose_part(hashes, tokens, [25, 30]).tolist() == [False, False, True, False, False]
    chosen, is_shared = choose_long(hashes, tokens, 60, 30, [25, 30])
    assert chosen.tolist() == [False, False, False, True, True]  # e is in no part; then b, the first long one of a part
    assert is_shared.tolist() == [False, False, False, True, False]
    assert choose_long(hashes, tokens, 10**6, 30, [25])[0].tolist() == [False, False, True, True, True]
    assert not choose_long(hashes, tokens, 1, 60, [25])[0].any()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.lists(st.integers(1, 200), min_size=1, max_size=4))
def test_every_part_has_its_tokens_unless_the_source_ends(lengths: list[int], parts: list[int]) -> None:
    hashes = pa.chunked_array([[f"{number * 7919 % 1009:04d}" for number in range(len(lengths))]])
    tokens = np.array(lengths)
    numbers = part_numbers(hashes, tokens, parts)
    taken = [int(tokens[numbers == number].sum()) for number in range(len(parts))]
    is_over = int((numbers == len(parts)).sum()) == 0
    assert all(found >= least for found, least in zip(taken, parts, strict=True)) or is_over
    assert taken[0] == int(tokens[choose_documents(hashes, tokens, parts[0])].sum())


@given(st.lists(st.tuples(st.text("0123456789abcdef", min_size=4, max_size=4), st.integers(2, 50)), min_size=1))
def test_a_choice_meets_its_need_and_no_document_of_it_is_too_much(documents: list[tuple[str, int]]) -> None:
    tokens = np.array([count for _, count in documents])
    hashes = pa.chunked_array([[name for name, _ in documents]])
    before = np.zeros(len(tokens), np.bool_)
    for need in range(1, int(tokens.sum()) + 1, 7):
        chosen = choose_documents(hashes, tokens, need)
        assert tokens[chosen].sum() >= need
        last = max((documents[i][0], i) for i in np.flatnonzero(chosen))
        assert tokens[chosen].sum() - tokens[last[1]] < need
        assert not (before & ~chosen).any()
        before = chosen


def test_needs_round_up_to_powers_of_two() -> None:
    assert [round_up_to_power_of_two(n) for n in (0, 1, 2, 3, 4, 5, 1023, 1024, 1025)] == [
        1, 1, 2, 4, 4, 8, 1024, 1024, 2048,
    ]  # fmt: skip


@pytest.mark.parametrize("parts", [1, 3])
def test_a_draw_holds_its_documents_in_dataset_order(make_corpus: Make, documents: Documents, parts: int) -> None:
    texts = documents(1, 60, 20)
    corpus = make_corpus({"en": texts}, parts=parts)
    draw = make_draw(corpus.store, corpus.manifest, DrawSize("en", 200))
    found = drawn(corpus, draw)
    rows = pq.read_table(corpus.store.path(draw.provenance))
    assert rows.schema.names == ["document", "file", "record", "id", "text_xxh128", "text_bytes", "tokens"]
    records = rows["record"].to_pylist()
    assert records == sorted(records) and 0 < len(records) < 60
    assert found == [[*texts[record], 2] for record in records]
    assert rows["document"].to_pylist() == list(range(draw.documents))
    assert rows["tokens"].to_pylist() == [len(ids) for ids in found]
    assert draw.tokens == sum(map(len, found)) >= 256
    kept = max(rows["text_xxh128"].to_pylist())
    everything = pq.read_table([corpus.store.path(p.provenance) for p in corpus.manifest.sources["en"].train.datasets])
    left = sorted(set(everything["text_xxh128"].to_pylist()) - set(rows["text_xxh128"].to_pylist()))
    assert left[0] > kept


def test_a_small_change_of_need_keeps_the_draw_and_a_larger_draw_holds_it(
    make_corpus: Make, documents: Documents
) -> None:
    corpus = make_corpus({"en": documents(2, 80, 20)})
    small = make_draw(corpus.store, corpus.manifest, DrawSize("en", 65))
    assert make_draw(corpus.store, corpus.manifest, DrawSize("en", 128)) == small
    large = make_draw(corpus.store, corpus.manifest, DrawSize("en", 129))
    assert large.key != small.key
    assert {tuple(ids) for ids in drawn(corpus, small)} < {tuple(ids) for ids in drawn(corpus, large)}


def test_a_source_with_less_than_the_need_is_drawn_whole_under_one_key(make_corpus: Make, documents: Documents) -> None:
    texts = documents(3, 20, 10)
    corpus = make_corpus({"en": texts}, parts=2)
    draw = make_draw(corpus.store, corpus.manifest, DrawSize("en", 10**6))
    assert make_draw(corpus.store, corpus.manifest, DrawSize("en", 10**9)) == draw
    assert drawn(corpus, draw) == [[*ids, 2] for ids in texts]
    assert (draw.documents, draw.tokens) == (draw.dataset_documents, draw.dataset_tokens)


def test_a_cut_draw_holds_what_the_cut_takes_and_counts_as_the_whole_source(
    make_corpus: Make, documents: Documents
) -> None:
    corpus = make_corpus({"en": documents(2, 80, 20)})
    cut = make_draw(corpus.store, corpus.manifest, DrawSize("en", 10**6, 300))
    assert abs(cut.tokens - 300) <= 10  # a document has at most 20 tokens and an EOD
    assert (cut.dataset_documents, cut.dataset_tokens) == (cut.documents, cut.tokens)
    assert cut.record.cut_tokens == cut.cut_tokens == 300
    whole = make_draw(corpus.store, corpus.manifest, DrawSize("en", 512))
    assert {tuple(ids) for ids in drawn(corpus, cut)} < {tuple(ids) for ids in drawn(corpus, whole)}


def test_a_cut_draw_is_never_taken_for_one_of_the_same_size_that_is_not_cut(
    make_corpus: Make, documents: Documents
) -> None:
    corpus = make_corpus({"en": documents(2, 80, 20)})
    drawn_only, cut = (make_draw(corpus.store, corpus.manifest, DrawSize("en", 256, cut)) for cut in (None, 256))
    assert (cut.bin_sha256, cut.documents) == (drawn_only.bin_sha256, drawn_only.documents)
    assert cut.key != drawn_only.key and cut.record != drawn_only.record
    assert drawn_only.dataset_tokens > drawn_only.tokens and drawn_only.cut_tokens is None
    assert "cut_tokens" not in drawn_only.record.model_dump(mode="json")
    assert find_draw(corpus.store, corpus.manifest, DrawSize("en", 1, 256)) == cut
    assert find_draw(corpus.store, corpus.manifest, DrawSize("en", 1, 257)) is None


def test_a_cut_above_the_source_draws_it_whole(make_corpus: Make, documents: Documents) -> None:
    corpus = make_corpus({"en": documents(3, 20, 10)})
    whole = make_draw(corpus.store, corpus.manifest, DrawSize("en", 10**6))
    assert make_draw(corpus.store, corpus.manifest, DrawSize("en", 5, 10**6)) == whole


def test_a_draw_is_the_same_bytes_wherever_the_store_lies(make_corpus: Make, documents: Documents) -> None:
    texts = documents(4, 50, 10)
    here, there = (make_corpus({"en": texts}, place=place) for place in ("here", "there"))
    assert make_draw(here.store, here.manifest, DrawSize("en", 99)) == make_draw(
        there.store, there.manifest, DrawSize("en", 99)
    )


def test_unknown_and_empty_sources_are_refused_by_name(make_corpus: Make) -> None:
    corpus = make_corpus({"en": [[5, 6]], "de": []})
    with pytest.raises(RequestError, match="source fr: not in build .*, which has de, en; build the spec again"):
        make_draw(corpus.store, corpus.manifest, DrawSize("fr", 5))
    with pytest.raises(RequestError, match="source de: build .* has no training documents of it"):
        make_draw(corpus.store, corpus.manifest, DrawSize("de", 5))


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".parquet"])
def test_a_part_that_is_not_the_manifests_is_named(make_corpus: Make, documents: Documents, suffix: str) -> None:
    corpus = make_corpus({"en": documents(5, 30, 10)})
    path: Path = corpus.store.path(f"encode/test/en-train-00000{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    with pytest.raises(DamagedFileError, match=f"en-train-00000{suffix}.*SHA-256"):
        make_draw(corpus.store, corpus.manifest, DrawSize("en", 64))
    path.unlink()
    with pytest.raises(DamagedFileError, match="missing"):
        make_draw(corpus.store, corpus.manifest, DrawSize("en", 64))


def test_a_manifest_that_counts_other_tokens_breaks_e6(make_corpus: Make, documents: Documents) -> None:
    corpus = make_corpus({"en": documents(6, 30, 10)})
    source = corpus.manifest.sources["en"]
    wrong = source.train.model_copy(update={"tokens": source.train.tokens + 1})
    manifest = corpus.manifest.model_copy(update={"sources": {"en": source.model_copy(update={"train": wrong})}})
    with pytest.raises(AccountError, match="E6 does not close .source en, stage draw"):
        make_draw(corpus.store, manifest, DrawSize("en", 64))
