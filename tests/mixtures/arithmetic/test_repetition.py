"""What repetition is worth, against the published figures."""

from __future__ import annotations

import pytest

from mixproof.mixtures.arithmetic.repetition import effective_tokens


@pytest.mark.parametrize(("epochs", "worth"), [(1, 1.0), (2, 1.968), (4, 3.726), (8, 6.624)])
def test_passes_are_worth_what_was_measured(epochs: float, worth: float) -> None:
    assert effective_tokens(1.0, epochs) == pytest.approx(worth, abs=5e-4)


def test_below_one_epoch_every_token_counts() -> None:
    assert effective_tokens(1000, 0.25) == 250


def test_no_number_of_passes_is_worth_more_than_16_4_times_the_text() -> None:
    assert effective_tokens(1.0, 1e9) == pytest.approx(16.387756)


def test_negative_amounts_are_refused() -> None:
    with pytest.raises(ValueError):
        effective_tokens(-1, 2)
