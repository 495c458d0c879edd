"""Windows are chosen so that sources have their shares of supervised tokens, exactly known before training."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixproof.train.data.window_plan import choose_windows


def counts_of(streams: dict[str, list[int]]) -> object:
    def counts(source: str, first: int, stop: int) -> NDArray[np.int64]:
        of_pass = streams[source]
        return np.array([of_pass[k % len(of_pass)] for k in range(first, stop)], np.int64)

    return counts


HALF = {"a": Fraction(1, 2), "b": Fraction(1, 2)}


def choose(samples: int, shares: dict[str, Fraction], streams: dict[str, list[int]], **firsts: int) -> dict[str, int]:
    return choose_windows(samples, shares, dict.fromkeys(shares, 0) | firsts, counts_of(streams))  # type: ignore[arg-type]


def test_a_source_with_few_supervised_tokens_gets_more_windows() -> None:
    """Windows of 30 and of 10 supervised tokens: half of the tokens each takes one window of `a` for three of `b`."""
    assert choose(40, HALF, {"a": [30], "b": [10]}) == {"a": 10, "b": 30}


def test_a_phase_continues_where_the_last_one_stopped() -> None:
    streams = {"a": [10] * 10 + [90] * 90, "b": [10]}
    assert choose(20, HALF, streams) == {"a": 10, "b": 10}
    assert choose(20, HALF, streams, a=10, b=10) == {"a": 2, "b": 18}


def test_a_share_below_half_a_window_gets_none() -> None:
    assert choose(4, {"a": Fraction(999, 1000), "b": Fraction(1, 1000)}, {"a": [10], "b": [10]}) == {"a": 4, "b": 0}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=9), min_size=1, max_size=4),
    st.lists(st.integers(1, 9), min_size=4, max_size=4),
    st.integers(1, 120),
)
def test_every_source_is_within_half_a_window_of_one_level(
    passes: list[list[int]], parts: list[int], samples: int
) -> None:
    names = "abcd"[: len(passes)]
    streams = dict(zip(names, passes, strict=True))
    weights = dict(zip(names, parts, strict=False))
    shares = {name: Fraction(weights[name], sum(weights.values())) for name in names}
    chosen = choose(samples, shares, streams)
    assert sum(chosen.values()) == samples
    lowest, highest = 0.0, np.inf
    for name, windows in chosen.items():
        of_pass = streams[name]
        read = sum(of_pass[k % len(of_pass)] for k in range(windows))
        following = of_pass[windows % len(of_pass)]
        last = of_pass[(windows - 1) % len(of_pass)] if windows else 0
        lowest = max(lowest, (read - last / 2) / float(shares[name]))
        highest = min(highest, (read + following / 2) / float(shares[name]))
    assert lowest <= highest + 1e-6
