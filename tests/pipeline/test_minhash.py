"""Grams, minima and bands: counted by hand, the same in any company, and as alike as the sets are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.pipeline import minhash
from mixproof.pipeline.minhash import NO_GRAM, Sketch, band_hashes, grams, minima, short_signatures
from mixproof.pipeline.ngrams import Ragged
from mixproof.pipeline.words import word_hashes

TEXTS = st.lists(st.text(alphabet="ab é日.", max_size=30), max_size=6)


def test_a_text_has_a_gram_for_each_run_of_n_words_and_a_short_one_a_single_gram() -> None:
    found = grams(word_hashes(["a b c d", "a b c", "B, c! a", "a b", "A-b", "?!", "b c d"]), 3)
    assert found.lengths.tolist() == [2, 1, 1, 1, 1, 0, 1]
    assert found.of(0)[0] == found.of(1)[0]  # a b c
    assert found.of(0)[1] == found.of(6)[0]  # b c d
    assert found.of(3)[0] == found.of(4)[0]  # a b, too short for three words
    assert len(set(found.values.tolist())) == 4


def test_minima_are_the_smallest_products_mod_two_to_the_32() -> None:
    values = np.array([5, 2**31 + 1, 7], dtype=np.uint64) << np.uint64(32)
    found = minima(Ragged(values, np.array([0, 2, 2, 3])), 4)
    multipliers = [int(one) for one in minhash._multipliers(4)]
    assert all(one % 2 for one in multipliers) and len(set(multipliers)) == 4
    for k, multiplier in enumerate(multipliers):
        assert found[k].tolist() == [
            min(5 * multiplier % 2**32, (2**31 + 1) * multiplier % 2**32),
            int(NO_GRAM),
            7 * multiplier % 2**32,
        ]


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=9), max_size=8), st.integers(1, 5))
def test_minima_do_not_depend_on_blocks(documents: list[list[int]], block: int) -> None:
    values = np.array([value for one in documents for value in one], dtype=np.uint64)
    offsets = np.cumsum([0, *map(len, documents)])
    whole = minima(Ragged(values, offsets), 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "BLOCK_GRAMS", block)
        assert (minima(Ragged(values, offsets), 3) == whole).all()


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


def test_a_band_is_shared_where_all_its_minima_are_and_bands_of_other_numbers_do_not_meet() -> None:
    signatures = np.array([[1, 1], [2, 2], [1, 1], [2, 3]], dtype=np.uint32)  # 2 bands of 2 minima, 2 documents
    hashes = band_hashes(signatures, Sketch(5, 2, 2))
    assert hashes[0, 0] == hashes[1, 0]
    assert hashes[0, 1] != hashes[1, 1]
    assert hashes[0, 0] != hashes[0, 1]  # the same minima 1, 2 in another band
