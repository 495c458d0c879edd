"""The space: exact units within floor and caps, whatever weights come in."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.space import UNITS, Space, distances, exact_shares, rounded_center, shares_of

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def space(most_code: Fraction = Fraction(1), least: Fraction = Fraction(1, 100)) -> Space:
    center = {"web": Fraction(6, 10), "code": Fraction(3, 10), "wiki": Fraction(1, 10)}
    return Space.of(center, {"web": Fraction(2), "code": most_code, "wiki": Fraction(1)}, least)


def test_weights_inside_the_caps_stay_in_proportion() -> None:
    assert space().project(np.array([[2.0, 1.0, 1.0]])).tolist() == [[5000, 2500, 2500]]


def test_a_capped_source_stops_and_the_others_share_the_rest_in_proportion() -> None:
    # code stops at 20%; web and wiki divide 80% as 1 to 3
    assert space(Fraction(1, 5)).project(np.array([[0.1, 0.6, 0.3]])).tolist() == [[2000, 2000, 6000]]


def test_a_cap_between_two_units_rounds_down() -> None:
    assert space(THIRD).most_units == (10_000, 3333, 10_000)
    assert space(THIRD).project(np.array([[0.0, 1.0, 0.1]])).tolist() == [[0, 3333, 6667]]


def test_a_share_nearer_to_nothing_than_to_the_floor_goes_out_and_one_nearer_to_the_floor_comes_up() -> None:
    units = space().project(np.array([[0.996, 0.004, 0.0], [0.994, 0.006, 0.0]]))
    assert units.tolist() == [[10_000, 0, 0], [9900, 100, 0]]


def test_where_the_chosen_sources_have_no_room_the_next_by_the_center_comes_in() -> None:
    assert space(Fraction(1, 5)).project(np.array([[0.0, 1.0, 0.0]])).tolist() == [[8000, 2000, 0]]


def test_a_source_whose_cap_lies_below_the_floor_is_out() -> None:
    assert space(Fraction(1, 200)).most_units == (10_000, 0, 10_000)
    assert space(Fraction(1, 200)).anchor == (8571, 0, 1429)  # 6 to 1


def test_the_anchor_is_the_center_where_the_caps_allow_it() -> None:
    assert space().anchor == (6000, 3000, 1000)
    assert space(Fraction(1, 10)).anchor == (7714, 1000, 1286)  # 90% as 6 to 1


def test_sources_that_cannot_fill_a_mixture_are_an_error_that_says_what_they_give() -> None:
    with pytest.raises(SpecError, match=r"at most a 50%, b ~33.3333%, 83.33% together"):
        Space.of({"a": HALF, "b": HALF}, {"a": HALF, "b": THIRD})


def test_whether_the_space_holds_a_mixture() -> None:
    assert space(HALF).holds((5000, 5000, 0))
    assert not space(HALF).holds((4999, 5001, 0))
    assert not space(HALF).holds((9950, 50, 0))
    assert not space(HALF).holds((5000, 4999, 0))


def test_distance_is_the_share_that_must_move() -> None:
    found = distances(np.array([[10_000, 0], [5000, 5000]]), np.array([[10_000, 0], [0, 10_000]]))
    assert found.tolist() == [[0.0, 1.0], [0.5, 0.5]]


def test_units_are_shares_exactly() -> None:
    assert exact_shares(("a", "b", "c"), (3333, 0, 6667)) == {"a": Fraction(3333, UNITS), "c": Fraction(6667, UNITS)}
    assert shares_of([(2500, 7500)]).tolist() == [[0.25, 0.75]]


def test_the_center_is_proportional_in_whole_units() -> None:
    assert rounded_center({"a": 1, "b": 2}) == {"a": Fraction(3333, UNITS), "b": Fraction(6667, UNITS)}


@given(st.data())
def test_whatever_comes_in_comes_out_inside_the_space(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    names = [f"s{number}" for number in range(count)]
    caps = data.draw(st.lists(st.fractions(0, 2), min_size=count, max_size=count))
    tokens = data.draw(st.lists(st.integers(0, 1000), min_size=count, max_size=count))
    least = data.draw(st.sampled_from([Fraction(1, 10_000), Fraction(1, 200), Fraction(1, 10)]))
    center = rounded_center(dict(zip(names, [*tokens[:-1], tokens[-1] + 1], strict=True)))
    most = dict(zip(names, caps, strict=True))
    try:
        built = Space.of(center, most, least)
    except SpecError:
        assert sum(min(cap, Fraction(1)) for cap in caps if cap >= least) < 1 + Fraction(count, UNITS)
        return
    weight = st.floats(0, 1, allow_subnormal=False)
    weights = data.draw(st.lists(st.lists(weight, min_size=count, max_size=count), min_size=1, max_size=4))
    for units in [*built.project(np.array(weights)), built.anchor]:
        assert built.holds(tuple(int(part) for part in units)), (built, units)
        assert all(int(part) <= most[name] * UNITS for name, part in zip(names, units, strict=True))
