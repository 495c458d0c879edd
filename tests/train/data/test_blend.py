"""The blend: exact counts, phases that go on where the one before stopped, and Megatron's own dealing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from megatron.core.datasets.blended_dataset import BlendedDataset

from mixproof.ledger.errors import AccountError
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.train.data.blend import Blend, interleave, order_phases
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.data.streams import Stream
from mixproof.train.distributed import process_group
from mixproof.train.record import MasksRecord

Make = Callable[..., Any]
Documents = Callable[..., list[list[int]]]
PLAIN = MasksRecord(document_mask=False, eod_mask_loss=False, reset_position_ids=False)


@pytest.fixture
def streams(make_corpus: Make, documents: Documents) -> dict[str, Stream]:
    """Three sources: about 3,100, 420 and 900 tokens, windows of 32 targets."""
    corpus = make_corpus({"a": documents(1, 100, 60), "b": documents(2, 14, 60), "c": documents(3, 30, 60)})
    opened = {}
    for source in corpus.manifest.sources:
        draw = make_draw(corpus.store, corpus.manifest, DrawSize(source, 10**9))
        prefix = corpus.store.path(draw.prefix)
        opened[source] = Stream(prefix, draw, seed=7, sequence_length=32, masks=PLAIN, eod_id=2, vocab_size=1000)
    return opened


@pytest.fixture
def group() -> Iterator[None]:
    with process_group("cpu"):
        assert dist.is_initialized()
        yield


def test_seven_three_and_one_are_dealt_evenly() -> None:
    datasets, numbers = interleave([7, 3, 1])
    assert datasets.tolist() == [0, 1, 0, 2, 0, 1, 0, 0, 1, 0, 0]
    assert numbers.tolist() == [0, 0, 1, 0, 2, 1, 3, 4, 2, 5, 6]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_every_prefix_keeps_the_proportions_and_the_whole_is_exact(counts: list[int]) -> None:
    datasets, numbers = interleave(counts)
    assert np.bincount(datasets, minlength=len(counts)).tolist() == counts
    one_hot = datasets[:, None] == np.arange(len(counts))
    dealt = np.cumsum(one_hot, axis=0)
    share = np.arange(1, len(datasets) + 1)[:, None] * np.array(counts) / sum(counts)
    assert np.abs(dealt - share).max() <= max(len(counts) - 1, 1)
    assert all(numbers[datasets == d].tolist() == list(range(n)) for d, n in enumerate(counts))


@pytest.mark.parametrize("counts", [[], [0], [3, 0], [-1, 4]])
def test_counts_that_megatron_cannot_deal_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="needs at least one sample"):
        interleave(counts)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("counts", [(60, 10, 20), (1, 1, 1), (90, 3, 25), (5, 13, 2)])
def test_the_dealing_is_that_of_megatrons_blended_dataset(
    streams: dict[str, Stream],
    counts: tuple[int, ...],
    tmp_path: Any,  # noqa: ANN401
) -> None:
    datasets = [streams[name].epoch(0) for name in "abc"]
    config = replace(datasets[0].config, path_to_cache=str(tmp_path))
    theirs = BlendedDataset(datasets, list(counts), None, config)
    ours = interleave(counts)
    np.testing.assert_array_equal(theirs.dataset_index, ours[0])
    np.testing.assert_array_equal(theirs.dataset_sample_index, ours[1])


@pytest.mark.usefixtures("group")
def test_a_run_within_one_epoch_reads_what_a_blended_dataset_reads(
    streams: dict[str, Stream],
    make_budget: Make,
    tmp_path: Any,  # noqa: ANN401
) -> None:
    blend = Blend(streams, make_budget(32, {"a": 20, "b": 4, "c": 9}))
    datasets = [streams[name].epoch(0) for name in "abc"]
    theirs = BlendedDataset(datasets, [20, 4, 9], None, replace(datasets[0].config, path_to_cache=str(tmp_path)))
    assert len(blend) == len(theirs) == 33
    for i in range(33):
        ours, megatrons = blend[i], theirs[i]
        assert ours["source"] == megatrons["dataset_id"]
        for name in ("tokens", "labels", "loss_mask", "position_ids"):
            assert ours[name].tolist() == megatrons[name].tolist()  # type: ignore[union-attr]


def test_each_phase_is_dealt_exactly_and_goes_on_in_every_stream(streams: dict[str, Stream], make_budget: Make) -> None:
    phases = ({"a": 60, "b": 50}, {"a": 10, "b": 30, "c": 40})
    blend = Blend(streams, make_budget(32, *phases))
    places = [blend.locate(i) for i in range(len(blend))]
    assert Counter(source for source, _, _ in places[:110]) == phases[0]
    assert Counter(source for source, _, _ in places[110:]) == phases[1]
    assert len(set(places)) == len(places) == 190
    for source, samples in (("a", 70), ("b", 80), ("c", 40)):
        windows = streams[source].windows
        read = [(epoch, place) for name, epoch, place in places if name == source]
        assert read == [divmod(k, windows) for k in range(samples)]
    assert streams["b"].windows < 20  # so b was read more than four times over


def test_the_windows_read_are_those_of_the_streams(streams: dict[str, Stream], make_budget: Make) -> None:
    blend = Blend(streams, make_budget(32, {"a": 5, "b": 30}, {"c": 3, "b": 5}))
    seen: Counter[str] = Counter()
    for i in range(len(blend)):
        sample, (source, epoch, place) = blend[i], blend.locate(i)
        assert blend.sources[int(sample["source"])] == source
        expected = streams[source].epoch(epoch)[place]
        assert sample["tokens"].tolist() == expected["tokens"].tolist()  # type: ignore[union-attr]
        assert streams[source].locate(seen[source]) == (epoch, place)
        seen[source] += 1


def test_a_source_reads_the_same_windows_in_every_mixture(streams: dict[str, Stream], make_budget: Make) -> None:
    def windows(blend: Blend, source: str) -> list[tuple[int, int]]:
        places = (blend.locate(i) for i in range(len(blend)))
        return [(epoch, place) for name, epoch, place in places if name == source]

    few = Blend(streams, make_budget(32, {"a": 90, "b": 10}))
    many = Blend(streams, make_budget(32, {"b": 40, "c": 60}, {"b": 10, "a": 1}))
    assert windows(many, "b")[:10] == windows(few, "b")


def test_no_sample_lies_before_or_behind_the_run(streams: dict[str, Stream], make_budget: Make) -> None:
    blend = Blend(streams, make_budget(32, {"a": 3}))
    for i in (-1, 3):
        with pytest.raises(IndexError):
            blend[i]
        with pytest.raises(IndexError):
            blend.locate(i)


def test_phases_that_do_not_sum_or_do_not_meet_break_e8(streams: dict[str, Stream], make_budget: Make) -> None:
    budget = make_budget(32, {"a": 3})
    with pytest.raises(AccountError, match="E8 does not close .stage blend, shard phase 0.*4 samples from 0.*3 from 0"):
        order_phases(replace(budget, phases=(PhaseBudget(0, 4, {"a": 2, "b": 1}),)))
    with pytest.raises(AccountError, match="E8 does not close .stage blend, shard phase 1"):
        order_phases(replace(budget, phases=(PhaseBudget(0, 3, {"a": 3}), PhaseBudget(4, 1, {"a": 1}))))
    with pytest.raises(AccountError, match="E8 does not close"):
        Blend(streams, replace(budget, samples=4))
