"""Budgets in rungs: phases, what a rung trains beyond the trunk of the one before, and what cannot race."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from mixproof.mixtures.arithmetic.budget import budget_run
from mixproof.mixtures.arithmetic.rungs import check_race, check_rungs, rung_spec, tokens_to_read, trained_tokens
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec

TOKENS = {"web": 100_000, "code": 50_000}
PARTS = (Fraction(1, 10), Fraction(1, 5), Fraction(1))
SPEC = """
schema: 1
name: raced
sources: {web: {files: w.jsonl}, code: {files: c.jsonl}}
tokenizer: {sentencepiece: tok.model}
mixtures: {even: {web: 50%, code: 50%}, natural: {rule: proportional}}
train:
  sequence_length: 100
  proxies: {nano: {tokens: 40000, global_batch_size: 4, lr: 0.003}}
  seeds: [1, 2]
"""


def spec_of(folder: Path, text: str = SPEC) -> Spec:
    """Load a spec."""
    (folder / "spec.yaml").write_text(text)
    return load_spec(folder / "spec.yaml").spec


def test_a_rung_branches_from_the_trunk_of_the_rung_before(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    assert check_race(spec) == "nano"
    budgets = [
        budget_run(rung_spec(spec, TOKENS, PARTS[:number], ["even"]), "even", "nano", TOKENS) for number in (1, 2, 3)
    ]
    # 100 steps: trunks end at 8, 16 and 80, decays at 10, 20 and 100; 4 samples a step
    assert [[phase.samples // 4 for phase in budget.phases] for budget in budgets] == [
        [8, 2],
        [8, 8, 4],
        [8, 8, 64, 20],
    ]
    assert [(budget.steps, budget.decay_steps, budget.warmup_steps) for budget in budgets] == [
        (10, 2, 2),
        (20, 4, 2),
        (100, 20, 2),
    ]
    assert budgets[0].phases[0] == budgets[1].phases[0] == budgets[2].phases[0]
    assert budgets[1].phases[1] == budgets[2].phases[1]
    trained = [trained_tokens([phase.samples for phase in budget.phases], 100) for budget in budgets]
    assert trained == [4_000, 4_800, 33_600]


def test_a_rule_gives_the_shares_of_the_full_run_at_every_rung(tmp_path: Path) -> None:
    spec = rung_spec(spec_of(tmp_path), TOKENS, PARTS[:1], ["natural"])
    assert list(spec.mixtures) == ["natural"]
    assert [phase.shares for phase in spec.mixtures["natural"].phases] == [
        {"code": Fraction(1, 3), "web": Fraction(2, 3)}
    ] * 2
    assert tokens_to_read(spec_of(tmp_path), TOKENS, PARTS[:2]) == {"code": 200 * 100 + 1, "web": 267 * 100 + 1}


def test_draws_have_room_for_what_the_phases_of_rungs_round_up(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC.replace("even: {web: 50%, code: 50%}", "mostly: {web: 90%, code: 10%}"))
    # a third of 400 samples is 133; of phases of 32, 32, 256 and 80 samples it is 11 + 11 + 85 + 27
    assert tokens_to_read(spec, TOKENS, PARTS[:2])["code"] == 134 * 100 + 1


def test_a_rung_that_is_too_short_for_a_share_is_refused_before_any_work(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC.replace("even: {web: 50%, code: 50%}", "even: {web: 99%, code: 1%}"))
    check_rungs(spec, TOKENS, [Fraction(9, 10)])
    with pytest.raises(SpecError, match=r"even.*code: at proxy nano .*\(at the first rung of the race, 10% of"):
        check_rungs(spec, TOKENS, PARTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds: [1, 2]", "seeds: [1]"), r"spec.yaml:10: train.seeds: a race needs at least two seeds"),
        (
            ("natural: {rule: proportional}", "two: {phases: [{until: 100%, shares: {web: 100%}}]}"),
            "needs mixtures without phases",
        ),
        ((", natural: {rule: proportional}", ""), "a race needs at least two mixtures"),
        (("sequence_length: 100", "schedule: {wsd: {decay: 0%}}"), "wsd.decay: a race needs a decay above 0"),
    ],
)
def test_what_cannot_race_is_refused_before_any_work(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        check_race(spec_of(tmp_path, SPEC.replace(*change)))
