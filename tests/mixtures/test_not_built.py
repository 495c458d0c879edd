"""What is valid and not built is refused by name, and what is built is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mixproof.mixtures.errors import NotBuiltError
from mixproof.mixtures.not_built import check_built
from mixproof.mixtures.spec import Spec

LoadWith = Callable[[str, str], Spec]


def test_the_small_spec_is_executed(small: Spec) -> None:
    check_built(small)


@pytest.mark.parametrize(
    "mixture",
    [
        "{rule: proportional}",
        "{rule: unimax}",
        "{rule: temperature, temperature: 2}",
        "{phases: [{until: 1, shares: {web: 1}}]}",
    ],
)
def test_every_kind_of_mixture_is_executed(mixture: str, load_with: LoadWith) -> None:
    check_built(load_with("{web: 70%, code: 20%, wiki: 10%}", mixture))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format: code", "split_by: quality", r":5: sources\.code\.split_by: .* is not built yet"),
    ],
)
def test_what_is_not_built_is_refused_by_name(old: str, new: str, said: str, load_with: LoadWith) -> None:
    with pytest.raises(NotBuiltError, match=said) as caught:
        check_built(load_with(old, new))
    assert caught.value.exit_code == 2
