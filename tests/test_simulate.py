"""A proxy that simulates its target sees every source as often as the target would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import SPEC, Experiment, Finished, write_experiment
from mixproof.train.audit.run import audit_run

Mixproof = Callable[..., Finished]

TARGET_TOKENS = 600_000
PROXIES = """\
  proxies:
    tiny: {tokens: 30K, global_batch_size: 8, lr: 2.0e-3, architecture: &tiny
      {layers: 1, hidden: 32, ffn: 64, heads: 2, kv_heads: 1, head_dim: 16}}
    tiny-longer: {tokens: 60K, global_batch_size: 8, lr: 2.0e-3, architecture: *tiny}
  seeds: [1]
"""
SIMULATED = SPEC[: SPEC.index("  proxies:")] + PROXIES + SPEC[SPEC.index("objective:") :]
SIMULATED += f"target: {{tokens: {TARGET_TOKENS}, max_epochs: 100, simulate: true}}\n"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory, mixproof: Mixproof) -> Experiment:
    """The small experiment at two budgets, cut to what a target of 600,000 tokens would repeat."""
    folder = tmp_path_factory.mktemp("simulated")
    spec, store = write_experiment(folder, SIMULATED), folder / "store"
    done = mixproof("run", spec, "--store", store, "--json")
    assert done.code == 0, done.err
    return Experiment(spec, store, done.json)


def records_of(experiment: Experiment) -> list[dict[str, Any]]:
    """The record of every run."""
    return [json.loads(Path(run["run"], "run.json").read_bytes()) for run in experiment.result["train"]["runs"]]


def training_tokens(experiment: Experiment) -> dict[str, int]:
    """Tokens of every source that the target could train on."""
    manifest = json.loads(Path(experiment.result["build"]["manifest"]).read_bytes())
    return {name: source["train"]["tokens"] for name, source in manifest["sources"].items()}


@pytest.mark.slow
def test_a_proxy_repeats_each_source_as_often_as_its_target_would(simulated: Experiment) -> None:
    tokens_of, checked = training_tokens(simulated), 0
    for record in records_of(simulated):
        for name, delivered in record["delivered"].items():
            of_the_target = delivered["declared"] * TARGET_TOKENS / tokens_of[name]
            draw = record["draws"][name]
            assert draw["cut_tokens"] == -(-tokens_of[name] * record["tokens_planned"] // TARGET_TOKENS)
            assert delivered["epochs"] == delivered["samples"] / ((draw["tokens"] - 1) // 64)
            assert delivered["unique_tokens"] <= draw["tokens"] < tokens_of[name]
            if name != "code":  # whose files are as long as the whole cut
                # half a document, half a sample and the rest of the last window are too many or too few
                assert delivered["epochs"] == pytest.approx(of_the_target, rel=0.06), (record["proxy"], name)
                checked += delivered["epochs"] > 1
    assert checked >= 2  # some sources are really repeated


@pytest.mark.slow
def test_mixtures_of_a_proxy_share_their_draws_and_proxies_do_not(simulated: Experiment) -> None:
    keys: dict[str, dict[str, set[str]]] = {}
    for record in records_of(simulated):
        for name, draw in record["draws"].items():
            keys.setdefault(record["proxy"], {}).setdefault(name, set()).add(draw["key"])
    for name in ("manual", "guide", "notes"):
        assert [len(draws[name]) for draws in keys.values()] == [1, 1]
        assert keys["tiny"][name] != keys["tiny-longer"][name]


@pytest.mark.slow
def test_runs_on_cut_draws_pass_their_audit_and_a_cut_that_is_not_the_draws_is_caught(simulated: Experiment) -> None:
    assert simulated.result["audit"]["ok"] is True
    folder = Path(simulated.result["train"]["runs"][0]["run"])
    assert audit_run(folder).ok
    path = folder / "run.json"
    written = path.read_bytes()
    record = json.loads(written)
    record["draws"]["manual"]["cut_tokens"] //= 2
    path.write_text(json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False) + "\n")
    try:
        failures = audit_run(folder).failures
    finally:
        path.write_bytes(written)
    # nor is it the cut that the run is named by, nor the record that its receipt seals
    assert {failure.equation for failure in failures} == {"E6", "schema", "checksum"}


@pytest.mark.slow
def test_plan_shows_the_cuts(simulated: Experiment, mixproof: Mixproof) -> None:
    planned = mixproof("plan", simulated.spec, "--store", simulated.store, "--json").json
    drawn = {(run["mixture"], run["proxy"]): run for run in records_of(simulated)}
    for run in planned["runs"]:
        record = drawn[run["mixture"], run["proxy"]]
        cuts = {name: source["cut_tokens"] for name, source in run["sources"].items()}
        assert cuts == {name: draw["cut_tokens"] for name, draw in record["draws"].items()}
    table = mixproof("plan", simulated.spec, "--store", simulated.store)
    assert table.code == 0 and "cut to" in table.out and f"{cuts['manual']:,}" in table.out
