"""Fill-in-the-middle: documents keep their tokens in another order, and every token of a pass is read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.ledger.fingerprint import derive_seed
from mixproof.train.audit.fim import Derivation
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.data.fim import Fim, arrange, ids_of_piece, keys_of, rearranged
from mixproof.train.data.packed_stream import PackedStream
from mixproof.train.data.streams import Stream
from mixproof.train.delivered_record import FimRecord
from mixproof.train.record import MasksRecord

EOD, PRE, SUF, MID = 2, 997, 998, 999
SENTINELS = (PRE, SUF, MID)
PLAIN = MasksRecord(document_mask=False, eod_mask_loss=False, reset_position_ids=False)
PACKED = MasksRecord(document_mask=True, eod_mask_loss=False, reset_position_ids=True, best_fit=True)


def declared(rate: str = "1/2", spm_rate: str = "1/2", unit: str = "document") -> FimRecord:
    return FimRecord.model_validate({"rate": rate, "spm_rate": spm_rate, "unit": unit, "sentinels": SENTINELS})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (0, [1, 10, 11, 12, 13, 14, EOD]),
        (1, [1, PRE, 10, SUF, 13, 14, MID, 11, 12, EOD]),
        (2, [1, PRE, SUF, 13, 14, MID, 10, 11, 12, EOD]),
    ],
)
def test_prefix_suffix_and_middle_stand_between_their_tokens(kind: int, expected: list[int]) -> None:
    ids = np.array([1, 10, 11, 12, 13, 14, EOD])
    found = rearranged(ids, np.array([kind, 1, 3]), declared(), before=1, after=1)
    assert found.tolist() == expected


def test_a_piece_in_the_middle_of_a_document_has_neither_bos_nor_eod() -> None:
    document = np.arange(10, 20)
    piece = ids_of_piece(declared(unit="piece"), document, np.array([1, 0, 2]), 3, 7, has_bos=True)
    assert piece.tolist() == [PRE, SUF, 15, 16, MID, 13, 14]


def test_rates_are_those_declared_and_every_epoch_draws_again() -> None:
    keys = keys_of([f"{number:032x}"[::-1] for number in range(20_000)])
    content = np.full(20_000, 50)
    first, second = (arrange(declared("3/10", "1/4"), keys, content, seed) for seed in (7, 8))
    assert (first[:, 0] > 0).mean() == pytest.approx(0.3, abs=0.015)
    assert (first[first[:, 0] > 0, 0] == 2).mean() == pytest.approx(0.25, abs=0.03)
    assert ((first[:, 0] > 0) & (second[:, 0] > 0)).mean() == pytest.approx(0.09, abs=0.015)  # independent
    cuts = first[first[:, 0] > 0, 1:]
    assert (cuts[:, 0] <= cuts[:, 1]).all() and cuts.min() == 0 and cuts.max() == 50
    assert cuts.mean(0) == pytest.approx([50 / 3, 100 / 3], abs=1)  # the order statistics of two uniform cuts
    assert (arrange(declared("1", "1"), keys, content, 7)[:, 0] == 2).all()
    assert not arrange(declared("0"), keys, content, 7).any()


@given(
    hashes=st.lists(st.integers(0, 2**128 - 1), min_size=1, max_size=20),
    seed=st.integers(0, 2**31),
    rate=st.fractions(0, 1, max_denominator=100),
    length=st.integers(1, 60),
    has_bos=st.booleans(),
)
def test_the_audit_derives_the_same_transformations(
    hashes: list[int], seed: int, rate: Fraction, length: int, has_bos: bool
) -> None:
    names = [f"{number:032x}" for number in hashes]
    record, lengths = declared(str(rate)), np.full(len(names), length, np.int32)
    found = arrange(record, keys_of(names), lengths - 1 - has_bos, derive_seed("fim", seed, "code", 3))
    derivation = Derivation(record, names, lengths.tolist(), seed, "code", has_bos=has_bos)
    assert found.tolist() == [list(row) for row in derivation.of_documents(3)]


Opened = Callable[[FimRecord, MasksRecord], Any]


@pytest.fixture
def opened(make_corpus: Callable[..., Any], documents: Callable[..., list[list[int]]]) -> Opened:
    """A stream of 60 documents of up to 90 tokens in windows of 32, of which 20 to 30 are longer than a window."""
    corpus = make_corpus({"code": documents(3, 60, 90, 990)})
    draw = make_draw(corpus.store, corpus.manifest, DrawSize("code", 10**6))
    prefix: Path = corpus.store.folder(draw.prefix)

    def make(record: FimRecord, masks: MasksRecord) -> Any:  # noqa: ANN401  one of two kinds of streams
        fim = Fim(record, prefix, 1, "code", has_bos=False)
        common: dict[str, Any] = {"seed": 1, "sequence_length": 32, "masks": masks, "eod_id": EOD, "fim": fim}
        if masks.best_fit:
            return PackedStream(prefix, draw, **common)
        return Stream(prefix, draw, vocab_size=1000, **common)

    return make


def targets_of(stream: Any, epoch: int) -> list[list[int]]:  # noqa: ANN401  one of two kinds of streams
    """The targets of every window of an epoch."""
    first = sum(stream.windows_in(before) for before in range(epoch))
    samples = [stream.sample(k) for k in range(first, first + stream.windows_in(epoch))]
    return [s["labels"][s["loss_mask"] > 0].tolist() for s in samples]


@pytest.mark.parametrize("unit", ["document", "piece"])
def test_each_token_of_a_pass_is_a_target_once_in_packed_windows(opened: Opened, unit: str) -> None:
    stream, plain = opened(declared(unit=unit), PACKED), opened(declared("0", unit=unit), PACKED)
    for epoch in (0, 1):
        pack = stream.epoch(epoch)
        transformed = int((pack.fim[:, 0] > 0).sum())
        if unit == "document":
            transformed = len(set(pack.documents[pack.fim[:, 0] > 0].tolist()))
        read = Counter(token for window in targets_of(stream, epoch) for token in window)
        assert [read.pop(token) for token in SENTINELS] == [transformed] * 3 and transformed > 10
        assert read == Counter(token for window in targets_of(plain, epoch) for token in window)
    assert stream.epoch(0).fim.tolist() != stream.epoch(1).fim.tolist()


def test_each_token_of_a_pass_is_read_once_in_concatenated_windows(opened: Opened) -> None:
    """All but the tokens at the end of a pass, which no window holds, and the first, which is only an input."""
    stream, plain = opened(declared(), PLAIN), opened(declared("0"), PLAIN)
    whole = Counter(token for window in targets_of(plain, 0) for token in window)
    for epoch in (0, 1):
        read = Counter(token for window in targets_of(stream, epoch) for token in window)
        added = int((stream._arrangement(epoch)[:, 0] > 0).sum()) * 3
        total = int(stream.lengths.sum()) + added
        assert sum(read.values()) == stream.windows_in(epoch) * 32 == (total - 1) // 32 * 32
        assert added - 32 <= sum(read[token] for token in SENTINELS) <= added
        missing = whole - read
        assert sum(missing.values()) <= 33


def test_a_window_says_what_a_document_is_read_as(opened: Opened) -> None:
    """A piece begins with its transformed tokens; a gap and its context share one window with unit `piece`."""
    stream = opened(declared("1", "0", unit="piece"), PACKED)
    for window in targets_of(stream, 0):
        counts = Counter(window)
        assert counts[PRE] == counts[SUF] == counts[MID] >= 0
        order = [token for token in window if token in SENTINELS]
        assert order == list(SENTINELS) * counts[PRE]


def test_a_stream_is_located_across_epochs_of_different_lengths(opened: Opened) -> None:
    stream = opened(declared(), PACKED)
    ends = np.cumsum([stream.windows_in(epoch) for epoch in range(4)])
    expected = [(epoch, k) for epoch in range(4) for k in range(stream.windows_in(epoch))]
    assert [stream.locate(k) for k in range(ends[-1])] == expected


def test_what_is_transformed_depends_on_the_document_alone(
    make_corpus: Callable[..., Any], documents: Callable[..., list[list[int]]]
) -> None:
    """A smaller draw of a source transforms its documents as the larger one does."""
    corpus = make_corpus({"code": documents(3, 60, 90, 990)})
    found = []
    for need in (10**6, 512):
        draw = make_draw(corpus.store, corpus.manifest, DrawSize("code", need))
        prefix = corpus.store.folder(draw.prefix)
        stream = Stream(
            prefix, draw, seed=1, sequence_length=32, masks=PLAIN, eod_id=EOD, vocab_size=1000,
            fim=Fim(declared(), prefix, 1, "code", has_bos=False),
        )  # fmt: skip
        keys = stream.fim._keys.tolist() if stream.fim is not None else []
        arrangement = stream._arrangement(1)
        assert arrangement is not None
        found.append(dict(zip(keys, arrangement.tolist(), strict=True)))
    assert 0 < len(found[1]) < len(found[0])
    assert all(found[0][key] == row for key, row in found[1].items())
