"""The shipped specs load, are executed by this version, ship in the wheel, and state their arithmetic truly."""

from __future__ import annotations

import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from ruamel.yaml import YAML

from mixproof.mixtures.arithmetic.budget import RunBudget, budget_run, windows
from mixproof.mixtures.arithmetic.caps import check_caps, check_largest_supply, simulated_tokens
from mixproof.mixtures.arithmetic.repetition import effective_tokens
from mixproof.mixtures.blocks.labels import Clusters
from mixproof.mixtures.blocks.search import Search
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.schema import json_schema
from mixproof.mixtures.shipped import shipped_spec
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import with_parts
from mixproof.pipeline.steps import make_steps
from mixproof.train.proxies import architecture_of, count_parameters
from mixproof.train.scaling.repetition_law import PUBLISHED

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "mixtures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
FILTERINGS = ("filters", "filters_length", "filters_gopher")


def load(name: str) -> Spec:
    return load_spec(FOLDER / f"{name}.yaml").spec


def comments(name: str) -> str:
    lines = shipped_spec(name).splitlines()
    return " ".join(" ".join(line[1:] for line in lines if line.startswith("#")).split())


def says(name: str, *facts: str | int) -> None:
    """Assert that the comments of a spec hold every fact, numbers with commas."""
    text = comments(name)
    for fact in facts:
        spelled = f"{fact:,}" if isinstance(fact, int) else fact
        assert spelled in text, f"{name}.yaml does not say {spelled}"


def first_missing(spec: Spec, mixture: str, proxy: str, tokens_of: dict[str, int]) -> bool:
    """Whether one token less of every source breaks a cap that holds with `tokens_of`."""
    check_caps(spec, {(mixture, proxy): budget_run(spec, mixture, proxy, tokens_of)}, tokens_of)
    less = {name: tokens - 1 for name, tokens in tokens_of.items()}
    with pytest.raises(SpecError, match="epochs"):
        check_caps(spec, {(mixture, proxy): budget_run(spec, mixture, proxy, less)}, less)
    return True


def test_the_shipped_specs_are_these() -> None:
    after = {"nemotron4_sft", "nemotron4_dpo", "nemotron4_reward"}
    chain = {"demo_base", "demo_sft", "demo_dpo", "demo_reward"}
    others = {"climb", "data_constrained", "demo", "filters_yardstick", "nemotron4"}
    extractors = {"extractors", "extractors_resiliparse"}
    assert set(NAMES) == {*FILTERINGS, *extractors, *others, *after, *chain}


@pytest.mark.parametrize(
    ("name", "steps", "tokens", "windows"),
    [
        ("nemotron4_sft", 763, 200_015_872, 97_664),
        ("nemotron4_dpo", 611, 80_084_992, 39_104),
        ("nemotron4_reward", 306, 20_054_016, 9_792),
    ],
)
def test_specs_after_pretraining_state_their_arithmetic(name: str, steps: int, tokens: int, windows: int) -> None:
    spec = load(name)
    for mixture in spec.mixtures:
        budget = budget_run(spec, mixture, "62m", dict.fromkeys(spec.sources, 10**9))
        assert (budget.steps, budget.tokens_planned, budget.samples) == (steps, tokens, windows)
    says(name, f"{steps} =", tokens, windows)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_spec_loads_and_is_executed(name: str) -> None:
    spec = load(name)
    for source, declared in spec.sources.items():
        make_steps(declared.steps, spec.where("sources", source, "steps"))
    for proxy, recipe in spec.train.proxies.items():
        architecture_of(proxy, recipe)


@pytest.mark.parametrize("name", NAMES)
def test_editors_accept_a_shipped_spec(name: str) -> None:
    data: Any = YAML(typ="safe", pure=True).load(shipped_spec(name))
    jsonschema.Draft202012Validator(json_schema()).validate(data)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "demo"])
def test_a_shipped_spec_says_in_one_line_what_corpora_it_expects(name: str) -> None:
    assert sum(line.startswith("# Expects: ") for line in shipped_spec(name).splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_spec_is_in_the_wheel(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included[f"mixtures/{name}.yaml"] == f"mixproof/mixtures/specs/{name}.yaml"


def test_nemotron4_has_its_declared_shape_and_target() -> None:
    spec = load("nemotron4")
    assert spec.target is not None and spec.target.tokens == 9 * 10**12
    need = {"english": 6_300_000_000_000, "multilingual": 1_350_000_000_000, "code": 1_350_000_000_000}
    tokens = {name: tokens // 4 for name, tokens in need.items()}
    shares = spec.mixtures["nemotron4"].shares or {}
    assert {name: share * spec.target.tokens for name, share in shares.items()} == need
    assert first_missing(spec, "nemotron4", "62m", tokens)
    says("nemotron4", "6.3T", "1.35T", "1.575T, 337.5B and 337.5B", "3 mixtures x 2 proxies x 3 seeds = 18")
    for proxy, samples_of in {
        "62m": {"english": 683_827, "multilingual": 146_534, "code": 146_535},
        "350m": {"english": 2_392_678, "multilingual": 512_717, "code": 512_717},
    }.items():
        budget = budget_run(spec, "nemotron4", proxy, tokens)
        assert budget.samples_of == samples_of
        says("nemotron4", 512 * 2048, budget.steps, budget.tokens_planned, budget.samples, *samples_of.values())
        phase = budget_run(spec, "annealed", proxy, tokens).phases[0]
        says("nemotron4", f"step {phase.samples // 512:,} at {proxy}")
    assert len(spec.mixtures) * len(spec.train.proxies) * len(spec.train.seeds) == 18


def test_a_climb_candidate_is_6500_steps_of_304_samples_of_1024_tokens() -> None:
    written = load("climb")
    assert written.target is not None and written.search == Search()
    assert written.sources["all"].axes[0].clusters == Clusters(number=20)
    clusters = [f"c{number:02}" for number in range(1, 21)]
    spec = with_parts(written, {"all": clusters})
    assert list(spec.sources) == [f"all/{name}" for name in clusters]
    assert spec.objective is not None and set(spec.objective.heldout_bpb.values()) == {Fraction(1, 20)}
    tokens = dict.fromkeys(spec.sources, 5 * 10**9)
    budget = budget_run(spec, "flat", "350m", tokens)
    assert (budget.steps, budget.global_batch_size, budget.sequence_length) == (6500, 304, 1024)
    assert budget.tokens_declared == budget.tokens_planned == 2_023_424_000 == 6500 * 304 * 1024
    assert (budget.warmup_steps, budget.decay_steps) == (65, 6435)
    assert set(budget.samples_of.values()) == {98_800}
    uneven = tokens | {"all/c20": 10**9, "all/c01": 9 * 10**9}
    shares = budget_run(spec, "flat", "350m", uneven).declared
    assert [shares[f"all/{name}"] for name in ("c20", "c02", "c01")] == [Fraction(share, 100) for share in (1, 5, 9)]
    candidate = budget.tokens_planned
    says("climb", 304 * 1024, budget.samples, candidate, 64 * candidate, (64 + 32 + 16) * candidate, 98_800)
    says("climb", "65 steps of warm-up, then 6,435", "20B tokens", "5B unique tokens")


def test_the_filterings_differ_in_name_and_steps_alone() -> None:
    specs = [load(name) for name in FILTERINGS]
    assert len({spec.name for spec in specs}) == 3
    assert [[step.name for step in spec.sources["web"].steps] for spec in specs] == [
        [],
        ["length"],
        ["gopher_repetition", "gopher_quality"],
    ]
    plain = specs[0]
    for spec in specs:
        assert spec.heldout.from_ == "yardstick.json" and spec.heldout.create is None
        source = spec.sources["web"].model_copy(update={"steps": ()})
        assert spec.model_copy(update={"name": plain.name, "sources": {"web": source}}) == plain


def test_the_yardstick_is_made_from_other_files_for_a_source_of_the_same_name() -> None:
    plain, yardstick = load("filters"), load("filters_yardstick")
    assert set(plain.sources) == set(yardstick.sources) == {"web"}
    assert plain.sources["web"].files != yardstick.sources["web"].files
    assert yardstick.heldout.from_ is None and yardstick.heldout.create is not None
    assert (yardstick.heldout.create.tokens, yardstick.heldout.create.min_documents) == (2_000_000, 500)
    check_largest_supply(yardstick, {"web": 100_000_000})
    assert plain.tokenizer == yardstick.tokenizer


def test_the_filterings_state_how_much_they_must_leave() -> None:
    spec = load("filters")
    tokens = {"web": 250_085_377}
    budget = budget_run(spec, "web", "62m", tokens)
    per_pass = windows(tokens["web"], budget.sequence_length)
    assert per_pass * 4 == budget.samples
    assert first_missing(spec, "web", "62m", tokens)
    unrepeated = budget.tokens_planned + 1
    assert windows(unrepeated, budget.sequence_length) == budget.samples
    says("filters", 512 * 2048, budget.steps, budget.tokens_planned, budget.samples, per_pass, tokens["web"])
    says("filters", f"fewer than {unrepeated:,}", "3 specs x 1 mixture x 3 seeds = 9")


def test_the_repetition_study_repeats_from_1_to_64_times() -> None:
    spec = load("data_constrained")
    assert spec.target is not None and spec.target.simulate
    whole = 50 * 10**9
    tokens = dict(zip(spec.sources, [whole // 2**power for power in range(7)], strict=True))
    budgets: dict[tuple[str, str], RunBudget] = {}
    for power, (mixture, source) in enumerate(zip(spec.mixtures, spec.sources, strict=True)):
        assert mixture == f"epochs_{2**power}"
        budget = budgets[mixture, "62m"] = budget_run(spec, mixture, "62m", tokens)
        cut = simulated_tokens(spec, budget, tokens)
        assert cut == {source: -(-budget.tokens_planned // 2**power)}
        assert budget.samples / windows(cut[source], 2048) == pytest.approx(2**power, rel=1e-4)
    check_caps(spec, budgets, tokens)
    says("data_constrained", 512 * 2048, budget.steps, budget.tokens_planned, "7 mixtures x 1 proxy x 3 seeds = 21")


def test_the_repetition_study_states_what_the_published_law_expects() -> None:
    spec = load("data_constrained")
    (proxy,) = spec.train.proxies
    parameters = count_parameters(architecture_of(proxy, spec.train.proxies[proxy]), 32_000).total
    trained = 2_000_683_008
    unique = [trained / 2**power for power in range(7)]
    worth = [effective_tokens(tokens, trained / tokens) / trained for tokens in unique]
    losses = [PUBLISHED.loss(parameters, trained, tokens) for tokens in unique]
    says("data_constrained", parameters, "worth " + " ".join(f"{value:.4f}" for value in worth))
    says("data_constrained", "loss " + " ".join(f"{value:.4f}" for value in losses))
