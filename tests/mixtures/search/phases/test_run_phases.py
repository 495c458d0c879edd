"""The option --phases: names and ends of phases, and the columns of their shares."""

from __future__ import annotations

from fractions import Fraction

import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.phases.run_phases import phases_in, read_phases


def test_phases_have_ends_and_therefore_lengths() -> None:
    phases = read_phases("warm=1/4, stable=80% ,decay=1")
    assert phases.names == ("warm", "stable", "decay")
    assert phases.lengths == (Fraction(1, 4), Fraction(11, 20), Fraction(1, 5))
    assert phases.columns(["web"]) == ("warm:web", "stable:web", "decay:web")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("decay=100%", "give two phases or more"),
        ("stable=80%,decay=90%", "the last phase ends at 90%; it must end at 100%"),
        ("stable=80%,decay=70%", "decay ends at 70%, which is not after the phase before it"),
        ("stable=0,decay=1", "stable ends at 0, which is not after"),
        ("stable=80%,stable=100%", "stable occurs twice"),
        ("stable=80%,decay", "decay ends at '', which is not a share"),
        ("stable=80,decay=100%", "stable ends at '80', which is not a share"),
        ("80%,100%", "'80%' is not a valid phase name"),
    ],
)
def test_wrong_phases_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_phases(text)


def test_columns_look_like_phases_if_each_has_the_same_sources() -> None:
    assert phases_in(["a:web", "a:code", "b:code", "b:web"]) == ("a", "b")
    assert phases_in(["web:high", "web:low", "code:high"]) == ()
    assert phases_in(["a:web", "b"]) == phases_in(["a:web", "a:code"]) == ()
