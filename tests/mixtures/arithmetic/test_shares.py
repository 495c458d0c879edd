"""Shares of every rule, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.mixtures.arithmetic.shares import PhaseShares, Supply, resolve_mixture, shares_of_run
from mixproof.mixtures.blocks.mixture import Mixture, Phase
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.spec import Spec

TOKENS = {"web": 700, "code": 200, "wiki": 100}
AMPLE = Supply(total=400, tokens_of=TOKENS, capacity_of={"web": 2800, "code": 800, "wiki": 400})


@pytest.fixture
def shares(small: Spec) -> Callable[[Mixture, Supply], dict[str, Fraction]]:
    """Resolve a mixture without phases."""

    def resolve(mixture: Mixture, supply: Supply = AMPLE) -> dict[str, Fraction]:
        [phase] = resolve_mixture(small.model_copy(update={"mixtures": {"m": mixture}}), "m", supply)
        return phase.shares

    return resolve


Resolve = Callable[..., dict[str, Fraction]]


def test_written_shares_stay_and_a_share_of_zero_leaves_the_blend(shares: Resolve) -> None:
    mixture = Mixture(shares={"web": Fraction(3, 4), "code": Fraction(1, 4), "wiki": Fraction(0)})
    assert shares(mixture) == {"code": Fraction(1, 4), "web": Fraction(3, 4)}


def test_proportional_follows_tokens_and_multipliers(shares: Resolve) -> None:
    assert shares(Mixture(rule="proportional")) == {
        "web": Fraction(7, 10),
        "code": Fraction(2, 10),
        "wiki": Fraction(1, 10),
    }
    doubled = Mixture(rule="proportional", times={"code": Fraction(2), "wiki": Fraction(0)})
    assert shares(doubled) == {"web": Fraction(7, 11), "code": Fraction(4, 11)}


def test_temperature_one_is_proportional_and_two_takes_square_roots(shares: Resolve) -> None:
    one = Mixture(rule="temperature", temperature=Fraction(1))
    assert shares(one) == shares(Mixture(rule="proportional"))
    squares = Supply(100, {"web": 900, "code": 100}, {})
    two = shares(Mixture(rule="temperature", temperature=Fraction(2)), squares)
    assert float(two["web"]) == pytest.approx(0.75, abs=1e-15)
    assert sum(two.values()) == 1


def test_unimax_gives_all_the_same_while_their_caps_allow(shares: Resolve) -> None:
    assert set(shares(Mixture(rule="unimax")).values()) == {Fraction(1, 3)}


def test_unimax_gives_to_others_what_a_capped_source_cannot_take(shares: Resolve) -> None:
    capped = Supply(1000, TOKENS, {"web": 2800, "code": 400, "wiki": 200})
    assert shares(Mixture(rule="unimax"), capped) == {
        "wiki": Fraction(200, 1000),
        "code": Fraction(400, 1000),
        "web": Fraction(400, 1000),
    }


def test_unimax_says_when_all_sources_together_cannot_supply_the_run(shares: Resolve) -> None:
    with pytest.raises(SpecError, match=r"mixtures: unimax needs 1,000, but its sources supply 900"):
        shares(Mixture(rule="unimax"), Supply(1000, TOKENS, {"web": 500, "code": 300, "wiki": 100}))


def test_a_rule_that_multiplies_everything_by_zero_is_refused(shares: Resolve) -> None:
    with pytest.raises(SpecError, match="sets every source to 0"):
        shares(Mixture(rule="proportional", times=dict.fromkeys(TOKENS, Fraction(0))))


def test_phases_weigh_by_their_length(small: Spec) -> None:
    phases = (
        Phase(until=Fraction(8, 10), shares={"web": Fraction(1)}),
        Phase(until=Fraction(1), shares={"web": Fraction(1, 2), "code": Fraction(1, 2)}),
    )
    spec = small.model_copy(update={"mixtures": {"m": Mixture(phases=phases)}})
    resolved = resolve_mixture(spec, "m", AMPLE)
    assert [phase.until for phase in resolved] == [Fraction(8, 10), 1]
    assert shares_of_run(resolved) == {"web": Fraction(9, 10), "code": Fraction(1, 10)}


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(min_value=1, max_value=10**13), min_size=1),
    st.fractions(min_value="1/10", max_value=20, max_denominator=100),
    st.integers(min_value=1, max_value=10**6),
)
def test_every_rule_sums_to_one_and_unimax_holds_its_caps(
    tokens: dict[str, int], temperature: Fraction, part: int
) -> None:
    total = max(1, sum(tokens.values()) * part // 10**6)
    supply = Supply(total, tokens, tokens)
    rules = [
        Mixture(rule="proportional"),
        Mixture(rule="temperature", temperature=temperature),
        Mixture(rule="unimax"),
    ]
    for mixture in rules:
        [phase] = resolve_mixture(_spec(mixture), "m", supply)
        assert isinstance(phase, PhaseShares)
        assert sum(phase.shares.values()) == 1
        assert list(phase.shares) == sorted(phase.shares)
    assert all(share * total <= tokens[name] for name, share in phase.shares.items())


def _spec(mixture: Mixture) -> Spec:
    return Spec.model_validate(
        {
            "schema": 1,
            "name": "rules",
            "sources": {"a": {"files": ["a"]}},
            "tokenizer": {"sentencepiece": "t"},
            "mixtures": {"m": mixture},
            "train": {"proxies": {"p": {"tokens": 1000, "global_batch_size": 2, "lr": 1, "min_lr": 0}}},
        }
    )
