"""Memory of one long document, as a multiple of it: allocations are counted, not time."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixproof.pipeline.dedup.minhash import Sketch, grams, minima, minima_of_blocks
from mixproof.pipeline.heldout import overlap
from mixproof.pipeline.heldout.overlap import build_index, find_overlaps
from mixproof.pipeline.paragraphs.cutting import cut_text
from mixproof.pipeline.paragraphs.paragraph_hashes import line_blocks, paragraphs_of
from mixproof.pipeline.record import Raw
from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.filters import repeats
from mixproof.pipeline.steps.filters.gopher_repetition import GopherRepetitionOptions, make_gopher_repetition
from mixproof.pipeline.steps.filters.repeats import (
    LetterHashes,
    WordHashes,
    counted,
    covered,
    ends_of,
    repeated,
    top_count,
)
from mixproof.pipeline.steps.segmentation import memo
from mixproof.pipeline.steps.segmentation.words import splitter_of
from mixproof.pipeline.words import words
from mixproof.pipeline.words.words import long_word_hashes, word_blocks, word_hashes

SKETCH = Sketch(ngram=5, bands=6, rows=2)
PROSE = "The question, whether it was so, was asked and answered by the owner of the café: no.\n"
HAN = "我们在这里的一是不了人来大上个到说时要就出会可也你对生能而子那得于着下自之年过发后作，。"
SPACES = (" ", "\n", ". ", ", ", "— ")
pieces = st.sampled_from([*"abé日本ー_1İ", "Word", "\u0301", "เ", "😀", *SPACES])
texts = st.lists(pieces, max_size=120).map("".join)


def peak(work: Callable[[], object]) -> int:
    """Bytes allocated at the same time while `work` runs."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@settings(max_examples=300)
@given(texts)
def test_the_blocks_of_a_text_have_its_words_and_its_minima(text: str) -> None:
    whole = word_hashes([text])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "LONG_BYTES", 7)
        patch.setattr(words, "SEARCHED_CHARS", 2)
        patch.setattr(words, "BATCH_CHARS", 7)
        blocks = list(word_blocks(text.encode()))
        joined = long_word_hashes(text.encode())
        cut = word_hashes([text])
    assert [value for block in blocks for value in block.tolist()] == whole.values.tolist() == cut.values.tolist()
    assert joined.tolist() == whole.values.tolist()
    found, number = minima_of_blocks(blocks, SKETCH)
    assert number == len(whole.values)
    assert found.tolist() == minima(grams(whole, SKETCH.ngram), SKETCH.minima).tolist()


@settings(max_examples=200)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=40).map(" ".join), min_size=1, max_size=5))
def test_overlaps_are_the_same_in_blocks_of_any_size(documents: list[str]) -> None:
    index = build_index(["a b c d a b c", "b b a c d", "d a d a d a d c c"], 6, 1)
    whole = find_overlaps(index, documents, Fraction(1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "BLOCK_WORDS", 3)
        patch.setattr(overlap, "SORTED_BLOCKS", 1)
        assert find_overlaps(index, documents, Fraction(1, 2)) == whole


@settings(max_examples=50)
@given(texts)
def test_a_text_has_the_same_chunks_in_parts_of_any_size(text: str) -> None:
    splitter = splitter_of("en")
    whole = splitter.words(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memo, "PART_CHARS", 7)
        parts = splitter.words(text)
    assert (parts.ids.tolist(), parts.by_chunk) == (whole.ids.tolist(), whole.by_chunk)


@settings(max_examples=150)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=200), st.integers(1, 10), st.integers(1, 60))
def test_repeated_runs_of_words_are_the_same_in_classes_of_any_size(pieces: list[str], n: int, size: int) -> None:
    words = splitter_of("en").words(" ".join(pieces))
    if len(words) < n:
        return
    ends = ends_of(words)
    found: list[tuple[object, ...]] = []
    for most in (1 << 20, size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(repeats, "LONG_WORDS", most)
            patch.setattr(repeats, "LISTED", most)
            hashes = WordHashes(words)
            among = repeated(hashes.of(max(1, n - 2))).starts
            again = repeated(hashes.of(n), among)
            alone = repeated(LetterHashes(words).of(n))
            assert len({*zip(again.runs.tolist(), hashes.of(n)[again.starts].tolist(), strict=True)}) == len(
                set(again.runs)
            )
            count, tops = top_count(hashes.of(n))
            flags = (again.starts.tolist(), again.later.tolist(), count, sorted(tops.tolist()))
            found.append((*flags, counted(alone, n, ends), covered(alone, n, ends), counted(again, n, ends)))
    assert found[0] == found[1]


@pytest.mark.parametrize(("words", "most"), [("ab", 45), ([f"word{n}" for n in range(50_000)], 60)])
def test_repetition_takes_a_stated_number_of_bytes_per_word(words: Sequence[str], most: int) -> None:
    chosen = random.Random(1).choices(words, k=1_100_000)  # noqa: S311  test data
    options = {"top_n_grams": (), "dup_n_grams": ((5, 0.99), (10, 0.98))}
    decide = make_gopher_repetition(GopherRepetitionOptions.model_validate(options))
    document = Document(Raw(0, None, " ".join(chosen)))
    document.words("en")
    assert peak(lambda: decide(document)) < most * len(chosen)


@pytest.mark.parametrize("unit", [PROSE, HAN, "x" * 40 + " ", "a. b? "])
def test_a_signature_takes_memory_that_does_not_grow_with_the_text(unit: str) -> None:
    def sign(megabytes: int) -> int:
        text = (unit * (megabytes * 1_000_000 // len(unit.encode()) + 1)).encode()
        return peak(lambda: minima_of_blocks(word_blocks(text), SKETCH))

    sign(1)  # tables that stay
    assert sign(12) < 1.2 * sign(4)


@pytest.mark.parametrize(("unit", "most"), [(PROSE, 7), (HAN, 9)])
def test_a_search_for_overlaps_takes_a_stated_multiple_of_the_text(unit: str, most: int) -> None:
    text = unit * (24_000_000 // len(unit.encode()))
    index = build_index([text[:2000], "five words that are there"], 13, 1)
    assert peak(lambda: find_overlaps(index, [text], Fraction(1, 2))) < most * len(text.encode())


@pytest.mark.parametrize(("line", "most"), [(PROSE, 5), ("a b c d\n", 12)])
def test_paragraphs_take_a_stated_multiple_of_the_text(line: str, most: int) -> None:
    text = (line * (8_000_000 // len(line))).encode()
    lost = list(range(0, text.count(b"\n"), 2))

    def hash_and_cut() -> None:
        for block in line_blocks(text):
            paragraphs_of(block, np.array([0, len(block)]))
        cut_text(text, lost)

    assert peak(hash_and_cut) < most * len(text)


def test_the_words_of_filters_take_a_stated_multiple_of_the_text() -> None:
    text = PROSE * (16_000_000 // len(PROSE.encode()))
    splitter: Any = splitter_of("en")
    splitter.words(PROSE)
    assert peak(lambda: splitter.words(text)) < 6 * len(text.encode())
    assert np.array_equal(splitter.words(PROSE * 2).ids, np.tile(splitter.words(PROSE).ids, 2))
