"""Grams, minima and bands: counted by hand, the same in any company, and as alike as the sets are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline.dedup import minhash
from mixproof.pipeline.dedup.minhash import NO_GRAM, Sketch, band_hashes, grams, minima, short_signatures
from mixproof.pipeline.words.ngrams import Ragged
from mixproof.pipeline.words.words import word_hashes

TEXTS = st.lists(st.text(alphabet="ab é日.", max_size=30), max_size=6)


def test_a_text_has_a_gram_for_each_run_of_n_words_and_a_short_one_a_single_gram() -> None:
    found = grams(word_hashes(["a b c d", "a b c", "B, c! a", "a b", "A-b", "?!", "b c d"]), 3)
    assert found.lengths.tolist() == [2, 1, 1, 1, 1, 0, 1]
    assert found.of(0)[0] == found.of(1)[0]  # a b c
    assert found.of(0)[1] == found.of(6)[0]  # b c d
    assert found.of(3)[0] == found.of(4)[0]  # a b, too short for three words
    assert len(set(found.values.tolist())) == 4


def test_minima_are_the_products_nearest_to_four_places_on_a_circle() -> None:
    documents = ((5, 2**31 + 1), (), (7,))
    values = np.array([gram for one in documents for gram in one], dtype=np.uint64) << np.uint64(32)
    found = minima(Ragged(values, np.array([0, 2, 2, 3])), 7)  # two multipliers; the last of them is used three times
    multipliers = [int(one) for one in minhash._multipliers(2)]
    assert all(one % 2 for one in multipliers) and len(set(multipliers)) == 2
    for place, document in enumerate(documents):
        for k in range(7):
            circle = [gram * multipliers[k % 2] % 2**32 for gram in document]
            from_half = [(product + 2**31) % 2**32 for product in circle]
            nearest = [min(circle), max(circle), min(from_half), max(from_half)] if circle else [int(NO_GRAM)] * 4
            turn = 2**31 if circle and k >= 4 else 0
            assert found[k, place] == (nearest[k // 2] + turn) % 2**32


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=9), max_size=8), st.integers(1, 5))
def test_minima_do_not_depend_on_blocks(documents: list[list[int]], block: int) -> None:
    values = np.array([value for one in documents for value in one], dtype=np.uint64)
    offsets = np.cumsum([0, *map(len, documents)])
    whole = minima(Ragged(values, offsets), 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "BLOCK_GRAMS", block)
        assert (minima(Ragged(values, offsets), 9) == whole).all()


@given(TEXTS, st.randoms())
def test_a_signature_is_of_the_text_alone_and_the_order_of_sentences_is_of_no_weight(
    texts: list[str], chosen: object
) -> None:
    together = minima(grams(word_hashes(texts), 2), 6)
    for place, text in enumerate(texts):
        assert (minima(grams(word_hashes([text]), 2), 6)[:, 0] == together[:, place]).all()
    backwards = minima(grams(word_hashes(texts[::-1]), 2), 6)
    assert (backwards[:, ::-1] == together).all()


@given(st.permutations(list(range(12))))
def test_the_order_of_grams_changes_no_minimum(order: list[int]) -> None:
    values = (np.arange(12, dtype=np.uint64) + np.uint64(3)) * np.uint64(0x9E3779B97F4A7C15)
    offsets = np.array([0, 12])
    assert (minima(Ragged(values[order], offsets), 8) == minima(Ragged(values, offsets), 8)).all()


def test_agreement_estimates_jaccard() -> None:
    hashes = np.random.default_rng(1).integers(0, 2**64, 1200, dtype=np.uint64)
    for common, jaccard in ((800, 800 / 1200), (400, 400 / 1200), (1200, 1.0), (0, 0.0)):
        only = (1200 - common) // 2
        pair = [hashes[: common + only], np.concatenate([hashes[:common], hashes[common + only :]])]
        found = minima(Ragged(np.concatenate(pair), np.cumsum([0, *map(len, pair)])), 2000)
        short = short_signatures(found)
        # 2,000 minima: a standard deviation of 0.0105 at two thirds
        assert np.mean(short[0] == short[1]) == pytest.approx(jaccard, abs=0.04)


@pytest.mark.parametrize("size", [5, 40, 400])
def test_agreement_strays_no_further_than_that_of_independent_permutations(size: int) -> None:
    hashes = np.random.default_rng(2).integers(0, 2**64, (500, size), dtype=np.uint64)
    jaccard = 0.6  # the first 0.8 of the grams, and the last
    pairs = np.concatenate([hashes[:, : size * 4 // 5], hashes[:, size // 5 :]], axis=1)
    found = minima(Ragged(pairs.reshape(-1), np.arange(1001) * (size * 4 // 5)), 160)
    agreement = (found[:, ::2] == found[:, 1::2]).mean(axis=0)
    assert agreement.mean() == pytest.approx(jaccard, abs=0.01)
    assert agreement.std() < 1.1 * (jaccard * (1 - jaccard) / 160) ** 0.5


def test_a_band_is_shared_where_all_its_minima_are_and_bands_of_other_numbers_do_not_meet() -> None:
    signatures = np.array([[1, 1], [2, 2], [1, 1], [2, 3]], dtype=np.uint32)  # 2 bands of 2 minima, 2 documents
    hashes = band_hashes(signatures, Sketch(5, 2, 2))
    assert hashes[0, 0] == hashes[1, 0]
    assert hashes[0, 1] != hashes[1, 1]
    assert hashes[0, 0] != hashes[0, 1]  # the same minima 1, 2 in another band
