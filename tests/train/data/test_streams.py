"""Streams: what a pass reads, in which order, and E7."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset

from mixproof.ledger.errors import AccountError, RequestError
from mixproof.mixtures.arithmetic.budget import windows
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.data.streams import Stream, check_pass
from mixproof.train.record import MasksRecord

Make = Callable[..., Any]
Documents = Callable[..., list[list[int]]]
PLAIN = MasksRecord(document_mask=False, eod_mask_loss=False, reset_position_ids=False)


def open_stream(
    corpus: Any,  # noqa: ANN401  a fixture of the conftest
    source: str = "en",
    *,
    seed: int = 1,
    sequence_length: int = 8,
    masks: MasksRecord = PLAIN,
) -> Stream:
    draw = make_draw(corpus.store, corpus.manifest, DrawSize(source, 10**9))
    prefix = corpus.store.path(draw.prefix)
    return Stream(prefix, draw, seed=seed, sequence_length=sequence_length, masks=masks, eod_id=2, vocab_size=1000)


def read(stream: Stream, count: int, first: int = 0) -> list[list[int]]:
    """The S + 1 tokens of each window."""
    samples = [stream.sample(k) for k in range(first, first + count)]
    return [[*s["tokens"].tolist(), int(s["labels"][-1])] for s in samples]


@pytest.mark.parametrize(("tokens", "expected"), [(15, (3, 2)), (13, (3, 0)), (12, (2, 3)), (6, (1, 1)), (5, (1, 0))])
def test_tokens_are_one_more_than_windows_of_four_targets_and_unused_tokens(
    tokens: int, expected: tuple[int, int], make_corpus: Make
) -> None:
    stream = open_stream(make_corpus({"en": [list(range(11, 11 + tokens - 1))]}), sequence_length=4)
    assert stream.draw.tokens == tokens
    assert (stream.windows, stream.unused_tokens) == expected


@given(st.integers(1, 10**15), st.integers(1, 10**6))
def test_tokens_are_one_and_windows_and_fewer_unused_tokens_than_a_window(tokens: int, sequence_length: int) -> None:
    unused = tokens - 1 - windows(tokens, sequence_length) * sequence_length
    assert 0 <= unused < sequence_length


def test_a_source_of_t_tokens_gives_a_window_only_where_t_exceeds_s(make_corpus: Make) -> None:
    corpus = make_corpus({"en": [[11, 12, 13], [14, 15, 16]]})
    assert open_stream(corpus, sequence_length=7).windows == 1
    with pytest.raises(RequestError, match="source en: 8 tokens are too few for one window of 8"):
        open_stream(corpus, sequence_length=8)


def test_a_pass_reads_every_target_once_but_the_first_token_and_the_rest(make_corpus: Make) -> None:
    corpus = make_corpus({"en": [[11, 12, 13], [14], [15, 16, 17, 18, 19], [20, 21]]})  # 15 tokens
    stream = open_stream(corpus, sequence_length=4)
    assert (stream.windows, stream.unused_tokens) == (3, 2)
    for epoch in range(3):
        windows = read(stream, 3, first=3 * epoch)
        order = stream.epoch(epoch).document_index.tolist()
        texts = [[11, 12, 13, 2], [14, 2], [15, 16, 17, 18, 19, 2], [20, 21, 2]]
        laid = [token for document in order for token in texts[document]]
        assert sorted(windows) == sorted(laid[first : first + 5] for first in (0, 4, 8))
        assert Counter(token for window in windows for token in window[1:]) == Counter(laid[1:13])


def test_the_order_does_not_depend_on_the_place_nor_on_who_read_before(make_corpus: Make, documents: Documents) -> None:
    texts = documents(1, 40, 20)
    first = open_stream(make_corpus({"en": texts}, place="a"))
    second = open_stream(make_corpus({"en": texts}, place="b/with/a/longer/path"))
    late = read(second, 5, first=3 * second.windows)
    assert read(first, 4 * first.windows)[3 * first.windows :][:5] == late
    assert read(second, 10) == read(first, 10)


def test_nothing_is_written_beside_the_draw(make_corpus: Make, documents: Documents) -> None:
    corpus = make_corpus({"en": documents(1, 40, 20)})
    stream = open_stream(corpus)
    before = sorted(Path(corpus.store.root).rglob("*"))
    read(stream, 2 * stream.windows)
    assert sorted(Path(corpus.store.root).rglob("*")) == before


def test_epochs_seeds_and_sources_have_orders_of_their_own(make_corpus: Make, documents: Documents) -> None:
    texts = documents(2, 60, 20)
    corpus = make_corpus({"en": texts, "de": texts})
    stream = open_stream(corpus)
    passes = [
        read(stream, stream.windows),
        read(stream, stream.windows, first=stream.windows),
        read(open_stream(corpus, seed=2), stream.windows),
        read(open_stream(corpus, "de"), stream.windows),
    ]
    assert all(a != b for i, a in enumerate(passes) for b in passes[:i])
    assert stream.locate(2 * stream.windows + 3) == (2, 3)


def test_an_epoch_is_megatrons_own_dataset_of_one_pass(make_corpus: Make, documents: Documents, tmp_path: Path) -> None:
    corpus = make_corpus({"en": documents(3, 50, 20)})
    stream = open_stream(corpus)
    prefix = str(corpus.store.path(stream.draw.prefix))
    for epoch in (0, 1):
        config = GPTDatasetConfig(
            random_seed=stream.seed_of(epoch),
            sequence_length=8,
            blend_per_split=[([prefix], None), None, None],
            path_to_cache=str(tmp_path / "cache"),
            tokenizer=stream.epoch(0).config.tokenizer,
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=False,
            create_attention_mask=False,
        )
        theirs = BlendedMegatronDatasetBuilder(GPTDataset, [None, None, None], lambda: True, config).build()[0]
        ours = stream.epoch(epoch)
        assert len(theirs) == len(ours) == stream.windows
        for name in ("document_index", "sample_index", "shuffle_index"):
            np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))
        for k in range(len(ours)):
            assert theirs[k]["tokens"].tolist() == ours[k]["tokens"].tolist()


def test_eods_are_masked_where_they_are_inputs_and_the_mask_is_counted(make_corpus: Make) -> None:
    corpus = make_corpus({"en": [[11, 12, 13], [14, 15, 16], [17, 18, 19]]})  # 12 tokens
    masks = MasksRecord(document_mask=False, eod_mask_loss=True, reset_position_ids=True)
    stream = open_stream(corpus, sequence_length=11, masks=masks)
    sample = stream.sample(0)
    assert sample["loss_mask"].tolist() == [1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1]
    assert sample["position_ids"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    plain = open_stream(corpus, sequence_length=11).sample(0)
    assert plain["loss_mask"].tolist() == [1] * 11
    assert plain["position_ids"].tolist() == list(range(11))


def test_a_mask_that_does_not_sum_to_the_targets_is_an_error(make_corpus: Make) -> None:
    corpus = make_corpus({"en": [[11, 12, 13], [14, 15, 16], [17, 18, 19]]})
    stream = open_stream(corpus, sequence_length=11)
    stream.epoch(0)._pad_token_id = 15
    with pytest.raises(AccountError, match=r"E7 does not close .source en, stage stream, shard epoch 0, window 0"):
        stream.sample(0)


def test_a_draw_that_is_not_what_was_declared_is_an_error(make_corpus: Make, documents: Documents) -> None:
    corpus = make_corpus({"en": documents(4, 30, 10)})
    stream = open_stream(corpus)
    path = corpus.store.path(f"{stream.draw.prefix}.bin")
    path.write_bytes(path.read_bytes()[:-4])
    assert len(IndexedDataset(str(path).removesuffix(".bin"))) == 30  # Megatron opens it without a word
    with pytest.raises(AccountError, match="E6 does not close"):
        Stream(
            corpus.store.path(stream.draw.prefix),
            stream.draw,
            seed=1,
            sequence_length=8,
            masks=PLAIN,
            eod_id=2,
            vocab_size=1000,
        )


def pass_of(lengths: list[int], sequence_length: int) -> tuple[Any, ...]:
    """Arrays of a pass in dataset order, by hand."""
    ends = np.cumsum(lengths)
    windows = (int(ends[-1]) - 1) // sequence_length
    places = np.arange(windows + 1) * sequence_length
    rows = np.searchsorted(ends, places, side="right")
    starts = np.stack([rows, places - (ends - lengths)[rows]], axis=1)
    return (
        np.array(lengths, np.int32),
        np.arange(len(lengths)),
        starts,
        np.arange(windows)[::-1].copy(),
        sequence_length,
    )


@given(st.lists(st.integers(2, 30), min_size=1, max_size=30), st.integers(1, 20))
def test_e7_closes_for_windows_that_lie_end_to_end(lengths: list[int], sequence_length: int) -> None:
    check_pass(*pass_of(lengths, sequence_length), source="en", epoch=0)


def test_e7_names_what_is_wrong_with_a_pass() -> None:
    lengths, documents, starts, order, length = pass_of([5, 4, 6], 4)  # 15 tokens, 3 windows
    for array, place, value, message in (
        (documents, 1, 0, "each of 3 once in the document index"),
        (order, 0, 0, "each of 3 once in the shuffle index"),
        (starts, (1, 1), 3, "window 1 at token 4, found at token 3"),
    ):
        kept = array.copy()
        array[place] = value
        with pytest.raises(AccountError, match=message):
            check_pass(lengths, documents, starts, order, length, source="en", epoch=2)
        array[...] = kept
    with pytest.raises(AccountError, match="3 windows, found 2 in the sample index"):
        check_pass(lengths, documents, starts[:-1], order, length, source="en", epoch=2)
