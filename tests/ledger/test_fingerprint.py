"""Fingerprints: equal things share a name, different things never do, and what has no exact spelling raises."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.ledger.fingerprint import StageKeys, canonical_json, derive_seed, sha256_of, sha256_of_file, stage_key


def test_canonical_json_sorts_names_and_has_no_white_space() -> None:
    assert canonical_json({"b": [1, True, None], "a": "é"}) == '{"a":"é","b":[1,true,null]}'.encode()


def test_the_order_of_names_does_not_matter_but_the_order_of_items_does() -> None:
    assert sha256_of({"a": 1, "b": 2}) == sha256_of({"b": 2, "a": 1})
    assert sha256_of([1, 2]) != sha256_of([2, 1])


def test_a_number_and_its_text_have_different_names() -> None:
    assert sha256_of(1) != sha256_of("1")


def test_a_fraction_is_spelled_in_lowest_terms() -> None:
    assert canonical_json(Fraction(70, 100)) == b'"7/10"'


@pytest.mark.parametrize("value", [0.5, {"a": 1.0}, {1: "a"}, Path("a"), {1, 2}, b"a"])
def test_what_has_no_exact_spelling_raises(value: object) -> None:
    with pytest.raises(TypeError):
        sha256_of(value)


def test_the_sha256_of_abc_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_each_part_of_a_stage_changes_its_key() -> None:
    keys = {
        stage_key("read", 1, {}, ["x"]),
        stage_key("read", 2, {}, ["x"]),
        stage_key("dedup", 1, {}, ["x"]),
        stage_key("read", 1, {"text": "body"}, ["x"]),
        stage_key("read", 1, {}, ["y"]),
    }
    assert len(keys) == 5


@given(st.text(), st.text())
def test_seeds_depend_on_names_alone_and_fit_31_bits(first: str, second: str) -> None:
    seed = derive_seed(first, second)
    assert seed == derive_seed(first, second)
    assert 0 <= seed < 2**31


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), JSON), st.lists(JSON, max_size=3))
def test_the_keys_of_many_outputs_are_those_of_each(config: dict[str, object], inputs: list[object]) -> None:
    keys = StageKeys("read", 3, config)
    assert [keys.key(one) for one in inputs] == [stage_key("read", 3, config, one) for one in inputs]
