"""Who stays of a component: by hand, and against the rule spelled out document by document."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixproof.pipeline.dedup import keepers
from mixproof.pipeline.dedup.edges import Pairs
from mixproof.pipeline.dedup.keepers import losers_of
from mixproof.pipeline.group import Documents
from mixproof.pipeline.shuffle.document_rows import Load


def rows(*pairs: tuple[int, int]) -> Pairs:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def signatures(*minima: tuple[int, ...]) -> Load:
    """Signatures of the documents 0, 1, ..."""
    table = np.array(minima, dtype=np.uint16)

    def of(documents: Documents) -> NDArray[np.uint16]:
        assert np.all(documents[1:] > documents[:-1])
        return table[documents]

    return of


CHAIN = signatures((1, 1, 1, 1), (1, 1, 1, 2), (1, 1, 2, 2), (1, 2, 2, 2), (2, 2, 2, 2))


def test_the_ends_of_a_chain_are_not_alike_and_both_stay() -> None:
    # 0-1-2-3-4 agree in 3 of 4 with the next only: 0 stays, 1 goes for it; 2 stays, 3 goes for it; 4 stays
    found = losers_of(rows((0, 1), (0, 2), (0, 3), (0, 4)), CHAIN, agree=3)
    assert found.tolist() == [[1, 0], [3, 2]]


def test_a_document_goes_for_the_first_that_it_is_like() -> None:
    found = losers_of(rows((0, 1), (0, 2), (0, 3), (0, 4)), CHAIN, agree=2)
    assert found.tolist() == [[1, 0], [2, 0], [4, 3]]
    assert losers_of(rows((0, 4)), CHAIN, agree=1).tolist() == []
    assert losers_of(rows(), CHAIN, agree=1).tolist() == []


def test_after_many_keepers_the_rest_of_a_component_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "MAX_KEEPERS", 1)
    assert losers_of(rows((0, 1), (0, 2), (0, 3)), CHAIN, agree=3).tolist() == [[1, 0]]


@given(
    st.lists(st.tuples(*[st.integers(0, 1)] * 4), min_size=2, max_size=14),
    st.integers(1, 4),
    st.integers(1, 6),
    st.data(),
)
def test_pieces_of_any_size_settle_as_the_rule_says(
    minima: list[tuple[int, ...]], agree: int, chunk: int, data: st.DataObject
) -> None:
    component = data.draw(st.lists(st.integers(0, 2), min_size=len(minima), max_size=len(minima)))
    root = {each: component.index(each) for each in set(component)}
    trees = rows(*sorted((root[each], place) for place, each in enumerate(component) if root[each] != place))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keepers, "CHUNK", chunk)
        found = losers_of(trees, signatures(*minima), agree)
    stay: list[int] = []
    expected = []
    for place, each in enumerate(component):
        alike = [
            other
            for other in stay
            if component[other] == each
            and sum(one == two for one, two in zip(minima[place], minima[other], strict=True)) >= agree
        ]
        if alike:
            expected.append([place, alike[0]])
        else:
            stay.append(place)
    assert found.tolist() == expected
