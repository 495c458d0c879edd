"""The space of a spec, by hand-computed supplies."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.supply import draw_tokens, space_of
from mixproof.mixtures.spec import Spec

LoadWith = Callable[[str, str], Spec]
TOKENS = {"web": 10_001, "code": 101, "wiki": 11}
TARGET = "target: {tokens: 20_000, max_epochs: {code: 8}}\nmixtures:"


def test_without_a_target_caps_speak_of_the_proxy_s_windows(small: Spec) -> None:
    # 100 samples of 10; code has 10 windows and wiki 1, and 4 epochs of them are 40 and 4 samples
    space = space_of(small, "nano", TOKENS)
    assert space.sources == ("code", "web", "wiki")
    assert space.most_units == (4000, 10_000, 400)
    assert space.least_units == 100  # one sample of 100
    assert space.center == (Fraction(100, 10_000), Fraction(9889, 10_000), Fraction(11, 10_000))


def test_with_a_target_caps_speak_of_the_target_s_tokens(load_with: LoadWith) -> None:
    # 8 epochs of 101 are 808 of 20,000, 4.04%; 4 of 11 are 44, .22%, below the floor of 1%; 4 of 10,001 are all
    space = space_of(load_with("mixtures:", TARGET), "nano", TOKENS)
    assert space.most_units == (404, 10_000, 0)
    assert space.anchor == (100, 9900, 0)


def test_a_source_without_a_window_is_out(small: Spec) -> None:
    assert space_of(small, "nano", TOKENS | {"wiki": 10}).most_units == (4000, 10_000, 0)


def test_sources_that_cannot_fill_a_run_are_an_error(small: Spec) -> None:
    with pytest.raises(SpecError, match="no mixture stays within supply and caps"):
        space_of(small, "nano", {"web": 101, "code": 101, "wiki": 11})


def test_draws_hold_the_most_that_any_candidate_may_read(small: Spec) -> None:
    # 40, 100 and 4 of 100 samples of 10 targets, and the token before the first
    assert draw_tokens(small, "nano", space_of(small, "nano", TOKENS)) == {"code": 401, "web": 1001, "wiki": 41}
