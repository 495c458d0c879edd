"""Objectives that name a score of a stage after pretraining: their direction, their unit, their bootstrap."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.mixtures.blocks.mixture import Objective
from mixproof.train.compare.compare import compare
from mixproof.train.compare.resampled_scores import CalibrationError, RankCorrelation
from mixproof.train.evaluate.attribute_terms import AttributeTerms
from mixproof.train.evaluate.pair_terms import PairTerms
from mixproof.train.page.answers_table import answers_table
from mixproof.train.record import RunRecord

if TYPE_CHECKING:
    from .conftest import MakeRun

POST_TRAINING = {"too_long": "drop", "shares_by": "supervised", "planned": {}, "templates": {"english": '"plain"'}}
DPO = {**POST_TRAINING, "stage": "dpo", "dpo": {"beta": "1/10", "label_smoothing": "0", "loss": "sigmoid"}}


def with_pairs(make_run: MakeRun, mixture: str, seed: int, accuracy: float, **changes: object) -> RunRecord:
    """A run that prefers the chosen answer in `accuracy` of 4 pairs; `code` holds single answers."""
    scored: dict[str, Any] = {"pairs": 4, "pair_accuracy": accuracy, "margin": 2 * accuracy - 1, "kl": 1.5}
    return make_run(
        mixture, seed, {"english": 1.0, "code": 2.0}, heldout__english__pairs=scored, post_training=DPO, **changes
    )


def test_the_named_score_decides_and_the_higher_accuracy_wins(make_run: MakeRun) -> None:
    runs = [
        with_pairs(make_run, mixture, seed, accuracy + 0.001 * seed)
        for mixture, accuracy in (("even", 0.6), ("wordy", 0.8))
        for seed in (1, 2)
    ]
    found = compare(runs, Objective(score="pair_accuracy"))
    assert [row.mixture for row in found.groups[0].rankings["nano"].rows] == ["wordy", "even"]
    assert found.groups[0].rankings["nano"].rows[0].scores == {"english": pytest.approx(0.8015)}
    assert found.verdict.startswith("nano: wordy wins with 0.8015 pair accuracy, ahead of even by 0.2000 ±")
    assert found.objective == "plain mean of held-out pair accuracy over sources, higher is better"
    assert found.to_json()["higher_is_better"] is True
    unnamed = compare(runs, None)
    assert unnamed.verdict.startswith("nano: wordy wins with 0.1985 share of wrong pairs")
    by_nats = compare(runs, Objective(score="loss", sources={"code": 1}))
    assert by_nats.groups[0].rankings["nano"].rows[0].mean == pytest.approx(8.0)


def test_the_divergence_on_conversations_ranks_and_is_shown_with_its_interval(make_run: MakeRun) -> None:
    runs = [
        with_pairs(make_run, mixture, 1, 0.5, heldout__code__kl=kl, heldout__code__kl_interval=(kl / 2, 2 * kl))
        for mixture, kl in (("even", 0.25), ("wordy", 0.125))
    ]
    ranking = compare(runs, Objective(score="kl", sources={"code": 1})).groups[0].rankings["nano"]
    assert [(row.mixture, row.mean) for row in ranking.rows] == [("wordy", 0.125), ("even", 0.25)]
    assert ranking.rows[0].heldout["code"]["kl_high"] == 0.25
    shown = answers_table(ranking, 1)
    assert shown is not None and shown.columns[4].name == "KL"
    cells = {(row[0].text, row[1].text): (row[4].text, row[4].note) for row in shown.rows}
    assert cells["wordy", "code"] == ("0.1250", "0.0625 to 0.2500") and cells["wordy", "english"] == ("1.5000", None)


def test_bits_per_byte_say_whether_answers_or_whole_texts_are_scored(make_run: MakeRun) -> None:
    for answers, unit in ((None, "bits per byte"), (True, "bits per byte of answers")):
        changes = {f"heldout__{name}__answers": answers for name in ("english", "code")}
        runs = [make_run(mixture, 1, {"english": 1.0, "code": 2.0}, **changes) for mixture in ("even", "wordy")]
        for objective in (None, Objective(heldout_bpb={"code": 1})):
            assert compare(runs, objective).groups[0].rankings["nano"].unit == unit


def test_mixtures_of_other_sources_are_comparable_and_those_of_another_template_are_not(make_run: MakeRun) -> None:
    def verdict(*templates: dict[str, str]) -> str:
        stages = [{**POST_TRAINING, "stage": "sft", "templates": of_sources} for of_sources in templates]
        runs = [
            make_run(mixture, 1, {"english": 1.0, "code": 2.0}, post_training=stage)
            for mixture, stage in zip(("even", "wordy"), stages, strict=True)
        ]
        return compare(runs, None).verdict

    assert "nothing is comparable" not in verdict({"english": "plain"}, {"english": "plain", "code": "plain"})
    assert "nothing is comparable" not in verdict({"english": "plain"}, {"code": "plain"})
    assert "differ in template: plain and chatml" in verdict({"english": "plain"}, {"english": "chatml"})


def test_a_score_that_a_held_out_set_lacks_is_an_error(make_run: MakeRun) -> None:
    runs = [with_pairs(make_run, mixture, 1, 0.5) for mixture in ("even", "wordy")]
    with pytest.raises(RequestError, match=r"held-out set of code has no pair accuracy.*leave it out"):
        compare(runs, Objective(score="pair_accuracy", sources={"code": 1}))


def test_after_fine_tuning_plain_texts_do_not_count_unless_the_objective_names_them(make_run: MakeRun) -> None:
    sft = {**POST_TRAINING, "stage": "sft"}
    runs = [make_run("even", 1, {"english": 1.0, "code": 9.0}, post_training=sft)]
    runs.append(make_run("wordy", 1, {"english": 2.0, "code": 3.0}, post_training=sft))
    best = compare(runs, None).groups[0].rankings["nano"].rows[0]
    assert (best.mixture, best.mean, best.plain_mean) == ("even", 1.0, 1.0)
    named = compare(runs, Objective(heldout_bpb={"english": 1, "code": 1})).groups[0].rankings["nano"].rows[0]
    assert (named.mixture, named.mean) == ("wordy", 2.5)


def test_a_ranking_by_pairs_shows_the_other_held_out_sets_apart_in_bits_per_byte(make_run: MakeRun) -> None:
    runs = [with_pairs(make_run, mixture, 1, accuracy) for mixture, accuracy in (("even", 0.75), ("wordy", 0.5))]
    row = compare(runs, None).groups[0].rankings["nano"].rows[0]
    assert (row.mixture, row.scores, row.unranked) == ("even", {"english": 0.25}, {"code": 2.0})


def test_seeds_of_a_fine_tuned_mixture_are_one_mixture_though_their_windows_differ(make_run: MakeRun) -> None:
    sft = {**POST_TRAINING, "stage": "sft"}
    runs = [
        make_run(
            mixture,
            seed,
            {"english": bits + seed / 100},
            post_training=sft,
            phases=[{"first_sample": 0, "samples": 80, "samples_of": {"english": 70 + seed, "code": 10 - seed}}],
        )
        for mixture, bits in (("even", 1.0), ("wordy", 2.0))
        for seed in (1, 2)
    ]
    found = compare(runs, None)
    rows = found.groups[0].rankings["nano"].rows
    assert [(row.mixture, row.seeds) for row in rows] == [("even", (1, 2)), ("wordy", (1, 2))]
    assert found.reasons == ()


def test_prompts_are_resampled_with_all_of_their_pairs(make_run: MakeRun, tmp_path: Path) -> None:
    """Prompt a has a right and a wrong pair, prompt b two right ones: any two draws give 1/2, 3/4 or 1."""
    runs, folders = [], {}
    for mixture, rejected in (("even", [0.0, 2.0, 0.0, 0.0]), ("wordy", [2.0, 2.0, 2.0, 2.0])):
        for seed in (1, 2):
            record = with_pairs(make_run, mixture, seed, float(np.mean([one < 1.0 for one in rejected])))
            rewards = np.stack([np.ones(4), np.array(rejected)], axis=1).ravel()
            folder = tmp_path / record.key
            folder.mkdir()
            columns = {"source": ["english"] * 8, "reward": rewards, "prompt_xxh128": ["a"] * 4 + ["b"] * 4}
            pq.write_table(pa.table(columns), folder / "scores.parquet")
            files = {"scores.parquet": sha256_of_file(folder / "scores.parquet")}
            runs.append(record.model_copy(update={"files": files}))
            folders[record.key] = folder
    found = compare(runs, Objective(score="pair_accuracy"), folders=folders).groups[0].rankings["nano"]
    best = found.rows[0]
    assert best.mean == 0.75
    assert best.interval is not None and best.interval.documents is not None
    # 1/2, 3/4 and 1 with probabilities 1/4, 1/2 and 1/4 spread by sqrt(1/32); t(0.975; 1 degree) = 12.706
    assert best.interval.documents == pytest.approx(12.706 * (1 / 32) ** 0.5, rel=0.05)


def test_weighted_statistics_are_those_of_repeated_rows() -> None:
    chance = np.random.default_rng(5)
    weights = chance.integers(0, 4, 30)
    rated, predicted = chance.integers(0, 4, (30, 2)).astype(np.float64), chance.normal(size=(30, 2)).round(1)
    rated[::3, 1] = np.nan
    repeated = [np.repeat(values, weights, axis=0) for values in (rated, predicted)]
    present = np.isfinite(repeated[0][:, 1])
    expected = [
        spearmanr(repeated[0][:, 0], repeated[1][:, 0]).statistic,
        spearmanr(repeated[0][present, 1], repeated[1][present, 1]).statistic,
    ]
    assert RankCorrelation(rated, predicted)(weights) == pytest.approx(float(np.mean(expected)))
    differences = chance.normal(size=30)
    terms = PairTerms(np.stack([np.repeat(differences, weights), np.zeros(weights.sum())], axis=1).ravel())
    error = sum(one.pairs * abs(one.accuracy - one.confidence) for one in terms.reliability()) / weights.sum()
    assert CalibrationError(differences)(weights) == pytest.approx(error)


def test_calibration_compares_confidence_with_accuracy() -> None:
    """Three pairs at a confidence of 0.9, two of them right, and one equal pair: a hit of one half at 0.5."""
    sure = float(np.log(9))
    terms = PairTerms(np.array([sure, 0, sure, 0, 0, sure, 1, 1]))
    equal, confident = terms.reliability()
    assert (equal.pairs, equal.confidence, equal.accuracy) == (1, 0.5, 0.5)
    assert confident.pairs == 3
    assert [confident.confidence, confident.accuracy] == pytest.approx([0.9, 2 / 3])
    rated = np.array([[0.0], [2.0], [4.0]])
    assert AttributeTerms(("good",), rated, rated * 2 + 1).scores()["good"].calibration_slope == pytest.approx(0.5)
