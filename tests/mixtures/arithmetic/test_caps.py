"""Caps speak of the run that counts, and say need, supply, epochs and the ways out."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from mixproof.mixtures.arithmetic.budget import RunBudget, budget_run
from mixproof.mixtures.arithmetic.caps import check_caps, check_largest_supply, cuts_of, simulated_tokens, uses_of
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.spec import Spec

LoadWith = Callable[[str, str], Spec]
TARGET = "schema: 1\ntarget: {tokens: 1M, max_epochs: {code: 2}}"


def _budgets(spec: Spec, tokens: dict[str, int]) -> dict[tuple[str, str], RunBudget]:
    return {("main", "nano"): budget_run(spec, "main", "nano", tokens)}


def test_without_a_target_caps_speak_of_the_proxy_run(small: Spec) -> None:
    tokens = {"web": 1_001, "code": 1_001, "wiki": 21}  # 100, 100 and 2 windows for 70, 20 and 10 samples
    code, web, wiki = uses_of(small, "main", "nano", _budgets(small, tokens)["main", "nano"], tokens)
    assert (code.source, code.epochs, code.exceeded) == ("code", Fraction(2, 10), False)
    assert (web.epochs, web.need_tokens, web.supply_tokens) == (Fraction(7, 10), 700, 4000)
    assert (wiki.epochs, wiki.exceeded, wiki.supply_tokens) == (Fraction(5), True, 80)


def test_exactly_the_cap_is_allowed_and_one_sample_more_is_not(small: Spec) -> None:
    four_epochs = {"web": 1_001, "code": 51, "wiki": 31}  # 5 windows for 20 samples, 3 for 10
    check_caps(small, _budgets(small, four_epochs), four_epochs)
    short = {**four_epochs, "code": 50}
    said = (
        r"spec\.yaml:9: mixtures\.main\.code: the run at proxy nano needs 200 tokens of code \(20% of 1,000\), "
        r"5 epochs of 40, but its cap of 4 epochs supplies 160; lower its share to 16%, "
        r"or train\.proxies\.nano\.tokens to 800"
    )
    with pytest.raises(SpecError, match=said) as caught:
        check_caps(small, _budgets(small, short), short)
    assert caught.value.exit_code == 2


def test_with_a_target_caps_speak_of_the_target(load_with: LoadWith) -> None:
    spec = load_with("schema: 1", TARGET)
    enough = {"web": 175_000, "code": 100_000, "wiki": 25_000}  # 4, 2 and 4 epochs of the million
    check_caps(spec, _budgets(spec, enough), enough)
    short = {**enough, "code": 99_999}
    said = (
        r"main\.code: the target run needs 200,000 tokens of code \(20% of 1,000,000\), 2 epochs of 99,999, but its "
        r"cap of 2 epochs supplies 199,998; lower its share to 19\.999%, or target\.tokens to 999990, "
        r"raise target\.max_epochs\.code"
    )
    with pytest.raises(SpecError, match=said):
        check_caps(spec, _budgets(spec, short), short)


def test_every_cap_that_does_not_hold_is_named_once(load_with: LoadWith) -> None:
    spec = load_with("schema: 1", TARGET)
    short = {"web": 1_000, "code": 1_000, "wiki": 100_000}
    budget = budget_run(spec, "main", "nano", short)
    with pytest.raises(SpecError) as caught:
        check_caps(spec, {("main", "nano"): budget, ("main", "62m"): budget}, short)
    assert len(str(caught.value).splitlines()) == 2


def test_simulation_repeats_a_source_as_often_as_the_target_would(load_with: LoadWith) -> None:
    spec = load_with("schema: 1", TARGET)
    tokens = {"web": 350_000, "code": 200_000, "wiki": 50_000}  # the target sees them 2, 1 and 2 times
    cut = simulated_tokens(spec, budget_run(spec, "main", "nano", tokens), tokens)
    assert cut == {"web": 350, "code": 200, "wiki": 50}  # the proxy sees 700, 200 and 100 tokens


def test_all_mixtures_of_a_proxy_are_cut_alike(load_with: LoadWith) -> None:
    spec = load_with("{web: 70%, code: 20%, wiki: 10%}", "{web: 33%, code: 66%, wiki: 1%}")
    spec = spec.model_copy(update={"target": load_with("schema: 1", TARGET).target})
    tokens = {"web": 350_123, "code": 200_000, "wiki": 50_999}
    budget = budget_run(spec, "main", "nano", tokens)
    assert budget.samples_of == {"web": 33, "code": 66, "wiki": 1}
    # 1,000 of 1,000,000 tokens: a thousandth of each source, rounded up
    assert simulated_tokens(spec, budget, tokens) == {"web": 351, "code": 200, "wiki": 51}


def test_no_source_is_cut_above_what_it_has(load_with: LoadWith) -> None:
    spec = load_with("schema: 1", "schema: 1\ntarget: {tokens: 500, simulate: true}")
    tokens = {"web": 350_000, "code": 200_000, "wiki": 50_000}
    assert cuts_of(spec, budget_run(spec, "main", "nano", tokens), tokens) == tokens


def test_sources_are_cut_only_where_the_spec_asks_for_it(load_with: LoadWith, small: Spec) -> None:
    tokens = {"web": 350_000, "code": 200_000, "wiki": 50_000}
    for spec in (small, load_with("schema: 1", TARGET)):
        assert cuts_of(spec, budget_run(spec, "main", "nano", tokens), tokens) == {}
    spec = load_with("schema: 1", "schema: 1\ntarget: {tokens: 1M, simulate: true}")
    assert cuts_of(spec, budget_run(spec, "main", "nano", tokens), tokens) == {"web": 350, "code": 200, "wiki": 50}


def test_a_simulation_below_one_window_is_refused(load_with: LoadWith) -> None:
    spec = load_with("schema: 1", TARGET)
    tokens = {"web": 350_000, "code": 200_000, "wiki": 4_000}
    with pytest.raises(SpecError, match=r"source wiki would be cut to 4 tokens, but one sample needs 11"):
        simulated_tokens(spec, budget_run(spec, "main", "nano", tokens), tokens)


def test_without_a_target_a_simulation_cuts_nothing(small: Spec) -> None:
    tokens = {"web": 1_001, "code": 1_001, "wiki": 1_001}
    assert simulated_tokens(small, budget_run(small, "main", "nano", tokens), tokens) == tokens


def test_what_no_tokenizer_could_supply_is_refused_before_the_build(load_with: LoadWith) -> None:
    most = {"web": 1_001, "code": 1_001, "wiki": 1_001}
    check_largest_supply(load_with("tokens: 1000", "tokens: 2000"), most)
    with pytest.raises(SpecError, match=r"needs 7,000 tokens of web"):
        check_largest_supply(load_with("tokens: 1000", "tokens: 10_000"), most)
    by_rule = load_with("{web: 70%, code: 20%, wiki: 10%}", "{rule: proportional}")
    check_largest_supply(by_rule, most)
    with pytest.raises(
        SpecError, match=r"needs 1,000 tokens, but all sources up to their epoch caps supply at most 492"
    ):
        check_largest_supply(by_rule, dict.fromkeys(most, 41))
