"""Sweeps of learning rates: which runs try them, which rate is chosen, and what speaks against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.launch.chosen_rate import ChosenRate, TriedRates
from mixproof.train.launch.family import train_all, train_sweeps
from mixproof.train.launch.plan import chosen_rates, plan_requests, tokens_needed
from mixproof.train.launch.rates import sweep_families, sweep_sentences, with_rates
from mixproof.train.outcome import find_outcomes

WILD = str(10**30)
SPEC = """\
schema: 1
name: rates
sources: {manual: {files: "*.jsonl"}, guide: {files: "*.jsonl"}}
tokenizer: {sentencepiece: tok.model}
mixtures:
  even: {manual: 50%, guide: 50%}
  manual_only: {manual: 100%}
train:
  sequence_length: 32
  seeds: [1, 2]
  proxies:
    tiny:
      {tokens: 512, global_batch_size: 4, lr: {sweep: [0.003, 0.0003, 1.0e+30], check: [manual_only]},
       mup: {base_hidden: 8, output: 4},
       architecture: {layers: 1, hidden: 16, ffn: 16, heads: 2, kv_heads: 1, head_dim: 8}}
"""


def load(folder: Path, text: str = SPEC) -> Spec:
    path = folder / "rates.yaml"
    path.write_text(text)
    return load_spec(path).spec


def test_each_rate_is_tried_by_the_anchor_and_the_checked_mixtures_with_one_seed(tmp_path: Path) -> None:
    families = sweep_families(load(tmp_path), "tiny")
    assert list(families) == ["0.0003", "0.003", WILD]
    assert {tuple(family.mixtures) for family in families.values()} == {("even", "manual_only")}
    assert {family.train.seeds for family in families.values()} == {(1,)}
    assert sweep_sentences(load(tmp_path)) == [
        "tiny: trains even, manual_only at 3 learning rates first, and all runs at the best one"
    ]
    anchored = load(tmp_path, SPEC.replace("check: [manual_only]", "anchor: manual_only"))
    assert {tuple(family.mixtures) for family in sweep_families(anchored, "tiny").values()} == {("manual_only",)}


def test_a_rate_at_the_end_of_the_sweep_or_worse_for_a_checked_mixture_is_warned_of() -> None:
    found = ChosenRate(
        "tiny", "even", "0.003", {"even": {"0.001": 2.0, "0.003": 1.9}, "code": {"0.001": 1.5, "0.003": 1.6}}
    )
    assert found.warnings == [
        "proxy tiny: the best rate 0.003 is the highest of the sweep; try rates beyond it",
        "proxy tiny: code is best at the rate 0.001 (1.5000), and all mixtures are trained at 0.003 (1.6000), the best "
        "of even",
    ]
    inner = ChosenRate("tiny", "even", "0.003", {"even": {"0.001": 2.0, "0.003": 1.9, "0.01": None}})
    assert inner.warnings == []


def test_of_rates_that_seeds_cannot_tell_apart_the_middle_one_is_chosen() -> None:
    noisy = TriedRates({"0.001": (2.0, 2.4), "0.002": (1.9, 2.3), "0.004": (1.95, 2.27), "0.008": None})
    assert noisy.best == "0.002" and noisy.as_good == ["0.001", "0.002", "0.004"] and noisy.chosen == "0.002"
    # the first three differ by .01 at a noise of about .01, the last is .5 worse
    plateau = {
        "0.001": (2.01, 2.02, 1.99),
        "0.002": (2.0, 2.01, 1.99),
        "0.004": (1.99, 2.0, 2.01),
        "0.008": (2.5, 2.51, 2.49),
    }
    found = TriedRates(plateau)
    assert found.as_good == ["0.001", "0.002", "0.004"] and found.chosen == "0.002"
    told_apart = TriedRates({"0.001": (2.1, 2.2), "0.002": (2.0, 2.1001), "0.004": (2.3, 2.4)})  # seeds shift all alike
    assert told_apart.as_good == ["0.002"] == [told_apart.chosen]
    two = TriedRates({"0.001": (2.0, 2.02, 1.98), "0.002": (2.01, 1.99, 1.99)})
    assert two.best == "0.002" and two.chosen == "0.001"  # the lower of two middle ones
    assert TriedRates({"0.001": (2.0,), "0.002": (1.999,)}).as_good == ["0.002"]  # one seed shows no noise


def test_a_choice_within_the_noise_says_so_and_warns_only_of_mixtures_that_differ_beyond_it() -> None:
    even = TriedRates({"0.001": (2.0, 2.02, 1.98), "0.002": (2.01, 1.99, 1.99)})
    worse = TriedRates({"0.001": (2.3, 2.29, 2.31), "0.002": (2.01, 1.99, 2.0)})
    found = ChosenRate.of("tiny", "even", {"even": even, "alike": even, "code": worse})
    assert found is not None and found.lr == "0.001" and found.seeds == 3
    assert (
        "0.001 and 0.002 cannot be told apart within the noise of 3 seeds, so the middle one is used" in found.sentence
    )
    assert [warning.split(" (")[0] for warning in found.warnings] == [
        "proxy tiny: the best rate 0.002 is the highest of the sweep; try rates beyond it",
        "proxy tiny: code is best at the rate 0.002",
    ]
    assert ChosenRate.of("tiny", "even", {"even": TriedRates({"0.001": None, "0.002": None})}) is None


def test_several_seeds_try_each_rate(tmp_path: Path) -> None:
    spec = load(tmp_path, SPEC.replace("check: [manual_only]", "seeds: 2"))
    assert {family.train.seeds for family in sweep_families(spec, "tiny").values()} == {(1, 2)}
    assert sweep_sentences(spec) == [
        "tiny: trains even at 3 learning rates first with 2 seeds each, and all runs at the best one"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("check: [manual_only]", "seeds: 3", r"lr\.seeds: is 3, but `train\.seeds` has 2"),
        ("check: [manual_only]", "check: [manul]", r"lr\.check: no such mixture: 'manul'; did you mean 'manual_only'"),
        ("[0.003, 0.0003, 1.0e+30]", "[0.003]", r"lr.*sweep"),
        ("mup: {base_hidden: 8, output: 4}", "min_lr: 0.001", r"lr\.sweep\[1\]: is below `min_lr`"),
    ],
)
def test_a_wrong_sweep_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load(tmp_path, SPEC.replace(old, new))


@pytest.mark.slow
def test_all_runs_use_the_rate_at_which_the_anchor_is_best_and_its_run_is_reused(
    tmp_path: Path,
    encoded_corpus: Any,  # noqa: ANN401
    cluster: Cluster,
) -> None:
    spec, store, manifest = load(tmp_path), encoded_corpus.store, encoded_corpus.manifest
    outcomes = train_all(spec, manifest, store, cluster, device="cpu")
    (chosen,) = chosen_rates(spec, manifest, store)
    tried = chosen.objective_of["even"]
    assert tried[WILD] is None and chosen.lr == min(("0.0003", "0.003"), key=lambda rate: tried[rate] or 0)
    records = [run.record for run in outcomes if run.record is not None]
    assert [(record.mixture, record.seed) for record in records] == [
        ("even", 1),
        ("even", 2),
        ("manual_only", 1),
        ("manual_only", 2),
    ]
    keys = ("lr", "mup_base_hidden", "mup_output")
    assert {tuple(record.recipe[key] for key in keys) for record in records} == {(chosen.lr, "8", "4")}
    assert [run.reused for run in outcomes] == [True, False, True, False]
    assert find_outcomes(plan_requests(with_rates(spec, [chosen]), manifest, store, None)) == find_outcomes(
        plan_requests(spec, manifest, store, None)
    )
    with pytest.raises(RequestError, match="the sweep has not been trained at 0.0007"):
        chosen_rates(load(tmp_path, SPEC.replace("0.0003", "0.0007")), manifest, store)
    questions = ["Where is the manual?", "What does the guide say?", "Who reads the manual?"]
    lines = [
        f'{{"question": "{question}", "answer": "the guide {number}"}}' for number, question in enumerate(questions)
    ]
    (tmp_path / "quiz.jsonl").write_text("\n".join(lines))
    quiz = load(tmp_path, f"{SPEC}external: {{questions: {{quiz: quiz.jsonl}}}}\nobjective: {{tasks: {{quiz: 1}}}}\n")
    with pytest.raises(RequestError, match=r"the run of the sweep at 0.0003 has no score for tasks\.quiz"):
        chosen_rates(quiz, manifest, store)
    (by_quiz,) = train_sweeps(quiz, manifest, store, cluster, tokens_needed(quiz, manifest), device="cpu")
    scored = by_quiz.objective_of["even"]
    assert scored[WILD] is None and scored["0.0003"] != tried["0.0003"]
    assert by_quiz.lr == min(("0.0003", "0.003"), key=lambda rate: scored[rate] or 0)
    assert chosen_rates(quiz, manifest, store) == [by_quiz]
