"""Budgets in whole steps, dealt exactly, by hand-computed numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.mixtures.arithmetic.budget import budget_run, windows
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.mixtures.blocks.mixture import Mixture, Phase
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.spec import Spec

LoadWith = Callable[[str, str], Spec]
TOKENS = {"web": 10_001, "code": 5_001, "wiki": 1_001}


def test_a_window_reads_one_token_more_than_it_has_targets() -> None:
    assert [windows(tokens, 10) for tokens in (0, 1, 10, 11, 20, 21, 22)] == [0, 0, 0, 1, 1, 2, 2]


def test_tokens_round_up_to_whole_steps_and_samples_are_dealt_exactly(small: Spec) -> None:
    budget = budget_run(small, "main", "nano", TOKENS)
    assert (budget.tokens_declared, budget.steps, budget.samples, budget.tokens_planned) == (1000, 50, 100, 1000)
    assert budget.phases == (PhaseBudget(0, 100, {"code": 20, "web": 70, "wiki": 10}),)
    assert (budget.warmup_steps, budget.decay_steps, budget.checkpoint_steps) == (1, 10, None)
    assert budget.declared == {"code": Fraction(2, 10), "web": Fraction(7, 10), "wiki": Fraction(1, 10)}


def test_one_token_more_is_one_step_more(load_with: LoadWith) -> None:
    budget = budget_run(load_with("tokens: 1000", "tokens: 1001"), "main", "nano", TOKENS)
    assert (budget.tokens_declared, budget.steps, budget.tokens_planned) == (1001, 51, 1020)
    assert budget.samples_of == {"code": 21, "web": 71, "wiki": 10}  # 20.4, 71.4, 10.2: code is first by name
    assert (budget.warmup_steps, budget.decay_steps) == (2, 11)


def test_checkpoints_round_up_to_whole_steps(load_with: LoadWith) -> None:
    spec = load_with("sequence_length: 10", "sequence_length: 10\n  checkpoint_every: 41")
    assert budget_run(spec, "main", "nano", TOKENS).checkpoint_steps == 3


def test_decay_gives_way_in_a_run_with_no_room_for_both(load_with: LoadWith) -> None:
    spec = load_with("{web: 70%, code: 20%, wiki: 10%}", "{web: 100%}")
    spec = spec.model_copy(
        update={"train": spec.train.model_copy(update={"proxies": {"nano": _recipe(spec, tokens=20)}})}
    )
    budget = budget_run(spec, "main", "nano", TOKENS)
    assert (budget.steps, budget.warmup_steps, budget.decay_steps) == (1, 1, 0)


def test_phases_end_at_whole_steps_and_the_last_with_the_run(load_with: LoadWith) -> None:
    phases = "{phases: [{until: 79%, shares: {web: 1}}, {until: 100%, shares: {web: 50%, code: 50%}}]}"
    budget = budget_run(load_with("{web: 70%, code: 20%, wiki: 10%}", phases), "main", "nano", TOKENS)
    assert budget.phases == (
        PhaseBudget(0, 80, {"web": 80}),  # 39.5 steps are 40
        PhaseBudget(80, 20, {"code": 10, "web": 10}),
    )
    assert budget.samples_of == {"code": 10, "web": 90}
    assert budget.declared == {"code": Fraction(105, 1000), "web": Fraction(895, 1000)}


def test_a_phase_without_a_step_is_refused(load_with: LoadWith) -> None:
    phases = "{phases: [{until: 99%, shares: {web: 1}}, {until: 100%, shares: {code: 1}}]}"
    spec = load_with("{web: 70%, code: 20%, wiki: 10%}", phases)
    with pytest.raises(
        SpecError, match=r"spec\.yaml:9: mixtures\.main\.phases\[1\].*no step: it ends at step 50 of 50"
    ):
        budget_run(spec, "main", "nano", TOKENS)


def test_a_positive_share_that_gets_no_sample_names_need_and_supply(load_with: LoadWith) -> None:
    spec = load_with("web: 70%, code: 20%, wiki: 10%", "web: 70%, code: 29.95%, wiki: 0.05%")
    said = r"mixtures\.main\.wiki: .*0\.05% of wiki needs at least 1 sample.*samples give it 0\.05.*20 times the tokens"
    with pytest.raises(SpecError, match=rf"spec\.yaml:9: {said}"):
        budget_run(spec, "main", "nano", TOKENS)


def test_a_source_too_short_for_one_window_is_refused(small: Spec) -> None:
    with pytest.raises(SpecError, match="source wiki has 10 training tokens, but one sample needs 11"):
        budget_run(small, "main", "nano", {**TOKENS, "wiki": 10})
    assert budget_run(small, "main", "nano", {**TOKENS, "wiki": 11}).samples == 100


def test_a_share_of_zero_needs_no_tokens(load_with: LoadWith) -> None:
    spec = load_with("web: 70%, code: 20%, wiki: 10%", "web: 80%, code: 20%, wiki: 0")
    assert budget_run(spec, "main", "nano", {**TOKENS, "wiki": 0}).samples_of == {"code": 20, "web": 80}


def test_unimax_fills_a_source_to_its_cap_in_whole_windows(load_with: LoadWith) -> None:
    spec = load_with("{web: 70%, code: 20%, wiki: 10%}", "{rule: unimax}")
    tokens = {"web": 10_001, "code": 10_001, "wiki": 55}  # five windows a pass, four passes: 20 samples
    assert budget_run(spec, "main", "nano", tokens).samples_of == {"code": 40, "web": 40, "wiki": 20}


@given(
    st.lists(st.integers(min_value=1, max_value=50), min_size=3, max_size=3),
    st.integers(min_value=30_000, max_value=10**9),
    st.fractions(min_value="1/10", max_value="9/10", max_denominator=50),
)
def test_every_budget_closes(parts: list[int], tokens: int, boundary: Fraction) -> None:
    spec = _spec(parts, tokens, boundary)
    budget = budget_run(spec, "m", "p", dict.fromkeys("abc", 10**6))
    assert sum(phase.samples for phase in budget.phases) == budget.samples == sum(budget.samples_of.values())
    assert all(sum(phase.samples_of.values()) == phase.samples for phase in budget.phases)
    assert budget.phases[1].first_sample == budget.phases[0].samples
    assert 0 <= budget.tokens_planned - tokens < 20
    assert sum(budget.declared.values()) == 1


def _recipe(spec: Spec, tokens: int) -> object:
    return spec.train.proxies["nano"].model_copy(update={"tokens": tokens})


def _spec(parts: list[int], tokens: int, boundary: Fraction) -> Spec:
    shares = {name: Fraction(part, sum(parts)) for name, part in zip("abc", parts, strict=True)}
    phases = (Phase(until=boundary, shares=shares), Phase(until=Fraction(1), shares=dict(reversed(shares.items()))))
    return Spec.model_validate(
        {
            "schema": 1,
            "name": "closing",
            "sources": {name: {"files": [name]} for name in "abc"},
            "tokenizer": {"sentencepiece": "t"},
            "mixtures": {"m": Mixture(phases=phases)},
            "train": {
                "sequence_length": 10,
                "proxies": {"p": {"tokens": tokens, "global_batch_size": 2, "lr": 1, "min_lr": 0}},
            },
        }
    )


def test_a_branch_ends_with_its_own_phase_and_decays_over_it(load_with: LoadWith) -> None:
    blends = "{until: 50%, shares: {web: 50%, code: 50%}}"
    budgets = [
        budget_run(
            load_with("{web: 70%, code: 20%, wiki: 10%}", f"{{phases: [{blends}, {last}]}}"), "main", "nano", TOKENS
        )
        for last in ("{until: 70%, shares: {web: 1}, decay: true}", "{until: 150%, shares: {code: 1}, decay: true}")
    ]
    first, second = budgets
    assert first.phases[0] == second.phases[0]
    assert first.warmup_steps == second.warmup_steps
    for budget in budgets:
        assert budget.decay_steps * budget.global_batch_size == budget.phases[1].samples
        assert sum(budget.declared.values()) == 1
    assert first.steps < second.steps
    assert second.tokens_declared * 7 == first.tokens_declared * 15
