"""Compare: what is ranked, what is not and why, and when nothing wins."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.blocks.mixture import Objective
from mixproof.train.compare.compare import compare
from mixproof.train.compare.comparison import Comparison
from mixproof.train.record import RunRecord

if TYPE_CHECKING:
    from .conftest import MakeRun


def bits(english: float, code: float) -> dict[str, float]:
    """Held-out bits per byte of two sources."""
    return {"english": english, "code": code}


def ranking(comparison: Comparison) -> list[dict[str, list[str]]]:
    """The rankings of all groups."""
    groups: Any = comparison.to_json()["groups"]
    return [group["ranking"] for group in groups]


def test_mixtures_are_ranked_by_the_plain_mean_where_the_spec_names_no_objective(make_run: MakeRun) -> None:
    runs = [
        make_run("even", 1, bits(1.0, 2.0)),
        make_run("even", 2, bits(1.004, 2.0)),
        make_run("wordy", 1, bits(0.9, 2.3)),
        make_run("wordy", 2, bits(0.904, 2.3)),
    ]
    found = compare(runs, None)
    assert found.comparable
    assert found.objective == "plain mean of held-out bits per byte over sources, because the spec names no objective"
    assert found.reasons == ()
    assert ranking(found) == [{"nano": ["even", "wordy"]}]
    (group,) = found.groups
    best, second = group.rankings["nano"].rows
    assert [best.mean, second.mean] == pytest.approx([1.501, 1.601])
    assert list(best.by_seed) == pytest.approx([1.5, 1.502])
    # its own variance 2·0.001², one degree of freedom, t(0.975; 1) = 12.7062
    assert best.interval is not None
    assert best.interval.total == pytest.approx(12.7062 * 0.001, rel=1e-4)
    assert group.rankings["nano"].variance.degrees_of_freedom == 2
    assert group.rankings["nano"].winner == "even"
    assert "even wins with 1.5010 bits per byte, ahead of wordy by 0.1000 ±0.0061" in found.verdict
    # 4 nats times 3000 and 1000 tokens
    assert best.token_weighted_loss == pytest.approx(4 * (1.002 * 3000 + 2.0 * 1000) / 4000)


def test_weights_of_the_objective_turn_a_ranking_round(make_run: MakeRun) -> None:
    runs = [make_run("even", 1, bits(1.0, 2.0)), make_run("wordy", 1, bits(0.9, 2.3))]
    assert ranking(compare(runs, Objective(heldout_bpb={"english": 3, "code": 0}))) == [{"nano": ["wordy", "even"]}]
    thirds = compare(runs, Objective(heldout_bpb={"english": Fraction(2), "code": Fraction(1)}))
    assert thirds.groups[0].rankings["nano"].rows[0].mean == pytest.approx((2 * 1.0 + 2.0) / 3)
    with pytest.raises(RequestError, match="law has no held-out set"):
        compare(runs, Objective(heldout_bpb={"law": 1}))


def test_nothing_wins_within_the_noise_of_seeds_and_the_seeds_that_would_settle_it_are_said(make_run: MakeRun) -> None:
    runs = [
        make_run(mixture, seed, {"english": value})
        for mixture, values in (("even", (1.0, 1.2)), ("wordy", (1.5, 1.7)))
        for seed, value in enumerate(values)
    ]
    found = compare(runs, None)
    result = found.groups[0].rankings["nano"]
    assert result.winner is None
    assert result.lead is not None
    assert result.lead.difference == pytest.approx(0.5)
    assert result.lead.unsure == ("wordy",)
    assert result.lead.seeds_to_settle == 3
    assert "no winner: even is ahead of wordy by 0.5000 ±0.6085" in found.verdict
    assert "about 3 seeds per mixture would settle it (minimum detectable difference: 0.7585)" in found.verdict


def test_one_seed_a_mixture_gives_a_ranking_but_no_winner(make_run: MakeRun) -> None:
    found = compare([make_run("even", 1, bits(1, 2)), make_run("wordy", 1, bits(2, 3))], None)
    assert ranking(found) == [{"nano": ["even", "wordy"]}]
    assert found.groups[0].rankings["nano"].winner is None
    assert found.groups[0].rankings["nano"].rows[0].interval is None
    assert "with one seed per mixture the variation between seeds is unknown" in found.verdict


def test_the_best_of_three_must_be_sure_against_each_of_the_others(make_run: MakeRun) -> None:
    runs = [
        make_run(mixture, seed, {"english": mean + off})
        for mixture, mean in (("even", 1.0), ("wordy", 1.02), ("codey", 2.0))
        for seed, off in ((1, -0.01), (2, 0.0), (3, 0.01))
    ]
    lead = compare(runs, None).groups[0].rankings["nano"].lead
    assert lead is not None
    # variance 0.0001, six degrees; t(0.9875; 6) = 2.96869 times sqrt(2·0.0001/3) = 0.02424
    assert lead.interval is not None
    assert lead.interval.total == pytest.approx(0.024239, rel=1e-4)
    assert lead.unsure == ("wordy",)


def test_runs_whose_facts_differ_are_not_ranked_and_the_fact_is_named_with_both_values(make_run: MakeRun) -> None:
    runs = [make_run("even", 1, bits(1, 2)), make_run("wordy", 1, bits(1, 3), consumed_tokens=5_120)]
    found = compare(runs, None)
    assert not found.comparable
    assert found.reasons == ("nano: even and wordy differ in consumed_tokens: 10240 and 5120",)
    assert ranking(found) == [{"nano": ["even"]}, {"nano": ["wordy"]}]
    assert found.verdict == "nothing is comparable: " + found.reasons[0]


@pytest.mark.parametrize(
    ("change", "value", "name"),
    [
        ("tokenizer__sha256", "8" * 64, "tokenizer"),
        ("sequence_length", 256, "sequence_length"),
        ("masks__document_mask", True, "masks.document_mask"),
        ("recipe__lr", "1/1000", "recipe.lr"),
        ("global_batch_size", 16, "global_batch_size"),
        ("init_from", {"sha256": "9" * 64, "prior_tokens": 5}, "init_from"),
        ("heldout__english__texts_sha256", "other texts", "heldout.english"),
        ("evaluation__protocol", 2, "evaluation.protocol"),
        ("architecture__hidden", 128, "architecture.hidden"),
        ("build", "c" * 64, "audit"),
    ],
)
def test_every_fact_that_must_agree_divides_runs(make_run: MakeRun, change: str, value: object, name: str) -> None:
    runs = [make_run("even", 1, bits(1, 2)), make_run("wordy", 1, bits(1, 3), **{change: value})]
    found = compare(runs, None, audits={"b" * 64: True})
    assert not found.comparable
    assert f"nano: even and wordy differ in {name}: " in found.reasons[0]


def test_builds_may_differ_and_so_may_imported_held_out_tokens(make_run: MakeRun) -> None:
    other = make_run("wordy", 1, bits(1, 3), build="c" * 64, heldout__english__datasets_sha256="x")
    audits = {"b" * 64: True, "c" * 64: True}
    assert compare([make_run("even", 1, bits(1, 2)), other], None, audits=audits).comparable


@pytest.mark.parametrize(
    ("axis", "change", "value"),
    [
        ("tokens", "consumed_tokens", 5_120),
        ("tokens", "recipe__decay_steps", "4"),
        ("flops", "architecture__hidden", 128),
        ("flops", "consumed_tokens", 5_120),
        ("tokenizer", "tokenizer__sha256", "8" * 64),
        ("recipe", "recipe__lr", "1/1000"),
        ("recipe", "global_batch_size", 16),
    ],
)
def test_an_axis_lets_its_facts_differ_and_is_printed(make_run: MakeRun, axis: str, change: str, value: object) -> None:
    runs = [make_run("even", 1, bits(1, 2)), make_run("wordy", 1, bits(1, 3), **{change: value})]
    found = compare(runs, None, across=axis)
    assert found.comparable
    assert found.verdict.startswith(f"across {axis}: ")
    groups: Any = found.to_json()["groups"]
    (group,) = groups
    assert group["across"] == axis
    one, other = (row["across"] for row in group["table"])
    assert one != other
    assert set(one) == set(other)


def test_an_axis_frees_nothing_else(make_run: MakeRun) -> None:
    even = make_run("even", 1, bits(1, 2))
    for axis, change, value in (
        ("tokens", "recipe__lr", "1/1000"),
        ("recipe", "consumed_tokens", 5_120),
        ("tokenizer", "heldout__english__texts_sha256", "other texts"),
        ("flops", "tokenizer__sha256", "8" * 64),
    ):
        assert not compare([even, make_run("wordy", 1, bits(1, 3), **{change: value})], None, across=axis).comparable
    with pytest.raises(RequestError, match="unknown axis; use one of tokens, flops, tokenizer, recipe"):
        compare([even], None, across="seeds")


def test_a_lossy_tokenizer_is_never_ranked_against_another(make_run: MakeRun) -> None:
    even = make_run("even", 1, bits(1, 2))
    lossy = {"sha256": "8" * 64, "vocab_size": 32_000, "eod_id": 2, "lossless": False}
    assert not compare([even, make_run("wordy", 1, bits(1, 3), tokenizer=lossy)], None, across="tokenizer").comparable
    both = [make_run(mixture, 1, bits(1, 2), tokenizer=lossy) for mixture in ("even", "wordy")]
    assert compare(both, None).comparable


def test_one_mixture_under_two_values_of_the_axis_is_told_apart(make_run: MakeRun) -> None:
    runs = [make_run("even", 1, bits(1, 2)), make_run("even", 1, bits(1, 3), consumed_tokens=5_120)]
    assert ranking(compare(runs, None, across="tokens")) == [
        {"nano": ["even (consumed_tokens 10240)", "even (consumed_tokens 5120)"]}
    ]


def test_runs_that_failed_and_runs_of_a_build_that_failed_its_audit_are_listed_with_their_reason(
    make_run: MakeRun,
) -> None:
    runs = [
        make_run("even", 1, bits(1, 2)),
        make_run("wordy", 1, {}, status="failed", reason="loss is not finite at step 7"),
        make_run("codey", 1, bits(1, 2), build="c" * 64),
        make_run("forged", 1, bits(1, 2)),
    ]
    fault = "E9: expected 8,192, found 9,000 (file /store/train/x/run.json)"
    audits = {"b" * 64: True, "c" * 64: False, runs[3].key: False}
    found = compare(runs, None, audits=audits, faults={runs[3].key: fault})
    assert [(run.mixture, run.reason) for run in found.failed] == [
        ("wordy", "loss is not finite at step 7"),
        ("codey", f"the audit of its build {'c' * 12} failed"),
        ("forged", f"the audit of the run failed: {fault}"),
    ]
    assert found.reasons == ("nano: only one mixture was run, even",)
    assert not found.comparable


def test_mixtures_are_compared_on_the_seeds_that_they_share(make_run: MakeRun) -> None:
    runs = [
        *(make_run("even", seed, {"english": 1.0 + seed}) for seed in (1, 2, 3)),
        *(make_run("wordy", seed, {"english": 2.0 + seed}) for seed in (2, 3, 4)),
        make_run("codey", 9, {"english": 0.5}),
    ]
    found = compare(runs, None)
    result = found.groups[0].rankings["nano"]
    assert result.seeds == (2, 3)
    assert [(row.mixture, row.mean) for row in result.rows] == [("even", 3.5), ("wordy", 4.5)]
    assert found.reasons == ("nano: codey has no seed in common with the others, only 9",)


def test_a_run_given_twice_counts_once(make_run: MakeRun) -> None:
    even = make_run("even", 1, bits(1, 2))
    found = compare([even, even, make_run("wordy", 1, bits(1, 3))], None)
    assert found.groups[0].rankings["nano"].rows[0].seeds == (1,)
    assert found.failed == ()


def test_proxies_of_one_experiment_share_a_group_and_their_rankings_are_correlated(make_run: MakeRun) -> None:
    small = {"even": 1.0, "wordy": 2.0, "codey": 3.0}
    large = {"even": 0.5, "wordy": 0.9, "codey": 0.8}
    runs = [make_run(name, 1, {"english": value}) for name, value in small.items()]
    runs += [
        make_run(name, 1, {"english": value}, proxy="62m", consumed_tokens=99, recipe__lr="1/500")
        for name, value in large.items()
    ]
    found = compare(runs, None)
    (group,) = found.groups
    assert ranking(found) == [{"62m": ["even", "codey", "wordy"], "nano": ["even", "wordy", "codey"]}]
    assert group.facts["consumed_tokens"] == {"62m": 99, "nano": 10_240}
    assert group.facts["sequence_length"] == 128
    # ranks 1 2 3 against 1 3 2: rho = 1 - 6·2/(3·8), tau = (2 - 1)/3
    (pair,) = group.agreement
    assert (pair.proxies, pair.mixtures) == (("62m", "nano"), 3)
    assert [pair.spearman, pair.kendall] == pytest.approx([0.5, 1 / 3])


def test_two_budgets_of_a_proxy_give_two_groups(make_run: MakeRun) -> None:
    runs = [
        make_run(mixture, 1, {"english": value}, consumed_tokens=tokens)
        for tokens in (100, 200)
        for mixture, value in (("even", 1.0 * tokens), ("wordy", 250.0 - tokens))
    ]
    found = compare(runs, None)
    assert ranking(found) == [{"nano": ["wordy", "even"]}, {"nano": ["even", "wordy"]}]
    assert [group.facts["consumed_tokens"] for group in found.groups] == [{"nano": 200}, {"nano": 100}]


def test_the_json_form_holds_scores_and_what_was_delivered(make_run: MakeRun) -> None:
    runs = [make_run("even", 1, bits(1, 2)), make_run("wordy", 1, bits(1, 3))]
    data = json.loads(json.dumps(compare(runs, None).to_json(), allow_nan=False))
    assert {"comparable", "reasons", "groups"} <= set(data)
    (group,) = data["groups"]
    row = group["table"][1]
    assert (row["mixture"], row["proxy"], row["seeds"]) == ("wordy", "nano", [1])
    assert row["objective"]["mean"] == 2.0
    assert row["heldout"]["code"] == {"bits_per_byte": 3.0, "loss": 12.0}
    assert row["delivered"]["english"] == {"tokens": 7680, "epochs": 1.5, "declared": 0.75, "planned": 7680}


def with_scores(folder: Path, record: RunRecord, nats: list[float]) -> RunRecord:
    """The record with per-document scores of `english`, two documents of 8 bytes, in its folder."""
    folder.mkdir()
    columns: dict[str, Any] = {
        "source": ["english", "english"],
        "document": [0, 1],
        "file": ["a", "a"],
        "record": [4, 7],
        "text_bytes": [8, 8],
        "tokens": [3, 3],
        "nll_nats": nats,
    }
    pq.write_table(pa.table(columns), folder / "scores.parquet")
    return record.model_copy(update={"files": {"scores.parquet": sha256_of_file(folder / "scores.parquet")}})


def test_held_out_documents_enter_the_uncertainty_when_the_runs_are_at_hand(make_run: MakeRun, tmp_path: Path) -> None:
    bit = 8 * math.log(2)
    scores = {"even": [1.0, 3.0], "wordy": [2.5, 2.5]}
    runs = []
    for mixture, per_byte in scores.items():
        for seed, off in ((1, -0.001), (2, 0.001)):
            record = make_run(mixture, seed, {"english": sum(per_byte) / 2 + off})
            runs.append(with_scores(tmp_path / record.key, record, [bit * (value + off) for value in per_byte]))
    assert compare(runs, None).groups[0].rankings["nano"].winner == "even"
    folders = {record.key: tmp_path / record.key for record in runs}
    found = compare(runs, None, folders=folders).groups[0].rankings["nano"]
    # documents differ by 1.5 and -0.5: their choice alone could turn 0.5 round
    assert found.winner is None
    assert found.lead is not None
    assert found.lead.interval is not None
    assert found.lead.interval.documents is not None
    assert found.lead.interval.documents > 1
    assert found.lead.seeds_to_settle is None
    assert "more seeds alone would not settle it" in found.verdict
    (tmp_path / runs[0].key / "scores.parquet").write_bytes(b"other")
    with pytest.raises(DamagedFileError, match="its SHA-256 is not the one in run.json"):
        compare(runs, None, folders=folders)


def test_bytes_lost_to_sources_outside_a_mixture_are_told(make_run: MakeRun) -> None:
    split = {"documents": 0, "tokens": 0, "eod_tokens": 0, "bytes": 0, "datasets": []}
    source = {
        "inputs": {"path": "p", "sha256": "s", "files": 0, "records": 0, "bytes": 0},
        "train": split,
        "heldout": split,
        "ledger": [],
    }
    manifest = Manifest.model_validate(
        {
            "schema": 1,
            "mixproof": "0.1.0",
            "spec": {},
            "spec_sha256": "",
            "tokenizer": {"kind": "sentencepiece", "path": "t", "sha256": "s", "vocab_size": 9, "eod_id": 2},
            "sources": dict.fromkeys(("english", "code", "law"), source),
            "dedup_matrix": [
                {"source": "english", "lost_to": "law", "documents": 1, "bytes": 20},
                {"source": "english", "lost_to": "code", "documents": 1, "bytes": 300},
                {"source": "law", "lost_to": "code", "documents": 1, "bytes": 4000},
            ],
            "totals": {"documents": 0, "tokens": 0, "bytes": 0},
        }
    )
    runs = [make_run("even", 1, bits(1, 2)), make_run("wordy", 1, bits(1, 3), delivered__code__declared=0.0)]
    rows = compare(runs, None, manifests={"b" * 64: manifest}).groups[0].rankings["nano"].rows
    assert [(row.mixture, row.lost_bytes) for row in rows] == [("even", 20), ("wordy", 320)]
    assert compare(runs, None).groups[0].rankings["nano"].rows[0].lost_bytes is None
