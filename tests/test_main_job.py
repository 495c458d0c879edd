"""The main job end to end, as a user runs it, against numbers that these tests count themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import sentencepiece

from conftest import SPEC, Experiment, Finished, raw_texts, write_experiment

Mixproof = Callable[..., Finished]


def manifest_of(experiment: Experiment) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(Path(experiment.result["build"]["manifest"]).read_bytes())
    return manifest


def test_run_says_build_audit_train_and_compare(experiment: Experiment) -> None:
    assert set(experiment.result) == {"build", "audit", "train", "compare"}
    assert experiment.result["audit"]["ok"] is True
    assert experiment.result["audit"]["failures"] == []
    assert experiment.result["audit"]["checks"] > 100


def test_the_build_counts_what_an_independent_reader_counts(experiment: Experiment) -> None:
    manifest, corpus = manifest_of(experiment), experiment.spec.parent / "corpus"
    for name, source in manifest["sources"].items():
        texts = raw_texts(corpus, name)
        read = source["ledger"][0]
        assert read["documents_out"] == len(texts), name
        assert read["bytes_in"] == sum(len(text.encode()) for text in texts), name
    assert manifest["sources"]["guide"]["ledger"][0]["dropped"]["invalid_json"] == {"documents": 1, "bytes": 0}
    assert manifest["sources"]["guide"]["ledger"][0]["dropped"]["blank_line"] == {"documents": 1, "bytes": 0}


def test_shared_documents_stay_with_the_source_that_is_to_keep_them(experiment: Experiment) -> None:
    manifest, corpus = manifest_of(experiment), experiment.spec.parent / "corpus"
    matrix = {(row["source"], row["lost_to"]): row["documents"] for row in manifest["dedup_matrix"]}
    manual = raw_texts(corpus, "manual")
    shared = sum(text in manual for text in raw_texts(corpus, "guide"))
    assert shared >= 20
    assert matrix["guide", "manual"] == shared
    assert matrix["manual", "manual"] == len(manual) - len(set(manual))
    assert ("manual", "guide") not in matrix


def test_the_ids_on_disk_are_sentencepieces_own_and_end_each_document_with_eod(experiment: Experiment) -> None:
    manifest, corpus = manifest_of(experiment), experiment.spec.parent / "corpus"
    model = sentencepiece.SentencePieceProcessor(model_file=str(experiment.store / manifest["tokenizer"]["path"]))
    checked = 0
    for name, source in manifest["sources"].items():
        texts = {len(text.encode()): [] for text in raw_texts(corpus, name)}  # type: dict[int, list[str]]
        for text in raw_texts(corpus, name):
            texts[len(text.encode())].append(text)
        for side in ("train", "heldout"):
            for part in source[side]["datasets"]:
                ids = np.fromfile(experiment.store / f"{part['prefix']}.bin", np.uint16)
                assert len(ids) == part["tokens"]
                rows = pq.read_table(experiment.store / part["provenance"]).to_pylist()
                assert [row["document"] for row in rows] == list(range(part["documents"]))
                start = 0
                for row in rows:
                    tokens = ids[start : start + row["tokens"]].tolist()
                    start += row["tokens"]
                    assert tokens[-1] == manifest["tokenizer"]["eod_id"]
                    assert tokens[:-1] in [model.encode(text) for text in texts[row["text_bytes"]]]
                    checked += 1
                assert start == len(ids)
    assert checked == manifest["totals"]["documents"]


def test_every_run_delivers_what_was_declared_to_the_sample(experiment: Experiment) -> None:
    runs = experiment.result["train"]["runs"]
    assert {(run["mixture"], run["proxy"], run["seed"]) for run in runs} == {
        (mixture, "nano", seed) for mixture in ("prose", "mostly_code") for seed in (1, 2)
    }
    for run in runs:
        # 5120 tokens / (64 x 8) = 10 steps of 8 samples
        assert (run["consumed_samples"], run["consumed_tokens"]) == (80, 5120)
        assert sum(source["tokens"] for source in run["delivered"].values()) == 5120
    prose = next(run for run in runs if run["mixture"] == "prose")
    assert {name: source["tokens"] for name, source in prose["delivered"].items() if source["tokens"]} == {
        "manual": 32 * 64,
        "guide": 24 * 64,
        "notes": 24 * 64,
    }
    assert all(source["tokens"] == source["planned"] for source in prose["delivered"].values())
    assert set(prose["heldout"]) == {"code", "manual", "guide", "notes"}


def test_a_longer_look_at_the_same_text_lowers_the_loss(experiment: Experiment) -> None:
    for run in experiment.result["train"]["runs"]:
        lines = (Path(run["run"]) / "metrics.jsonl").read_text().splitlines()
        losses = [json.loads(line)["loss"] for line in lines]
        assert len(losses) == 10
        assert losses[-1] < losses[0] - 0.3


def test_compare_ranks_both_mixtures_within_one_group(experiment: Experiment, mixproof: Mixproof) -> None:
    compared = experiment.result["compare"]
    assert compared["comparable"] is True
    assert sorted(compared["groups"][0]["ranking"]["nano"]) == ["mostly_code", "prose"]
    again = mixproof("compare", experiment.spec, "--store", experiment.store, "--json")
    assert again.json == compared
    table = mixproof("compare", experiment.spec, "--store", experiment.store)
    assert table.code == 0
    assert "mostly_code" in table.out


def test_a_second_run_redoes_nothing(experiment: Experiment, mixproof: Mixproof) -> None:
    again = mixproof("run", experiment.spec, "--store", experiment.store, "--json")
    assert again.code == 0, again.err
    assert again.json["build"]["stages_run"] == 0
    assert again.json["build"]["build"] == experiment.result["build"]["build"]
    assert again.json["train"] == experiment.result["train"]


def test_new_shares_and_seeds_redo_no_stage_of_the_build(experiment: Experiment, mixproof: Mixproof) -> None:
    other = experiment.spec.with_name("other.yaml")
    other.write_text(
        SPEC.replace("seeds: [1, 2]", "seeds: [3]").replace("code: 80%, manual: 10%", "code: 70%, manual: 20%")
    )
    built = mixproof("build", other, "--store", experiment.store, "--json")
    assert built.code == 0, built.err
    assert (built.json["build"], built.json["stages_run"]) == (experiment.result["build"]["build"], 0)


@pytest.mark.parametrize(("workers", "shard_bytes"), [("1", "20000"), ("2", "3000000")])
def test_workers_and_shard_splits_change_no_byte(
    experiment: Experiment, mixproof: Mixproof, tmp_path: Path, workers: str, shard_bytes: str
) -> None:
    store = tmp_path / "store"
    built = mixproof(
        "build", experiment.spec, "--store", store, "--workers", workers, "--shard-bytes", shard_bytes, "--json"
    )
    assert built.code == 0, built.err
    assert built.json["build"] == experiment.result["build"]["build"]
    for name in (part for source in manifest_of(experiment)["sources"].values() for part in parts_of(source)):
        assert (store / name).read_bytes() == (experiment.store / name).read_bytes()


def parts_of(source: dict[str, Any]) -> list[str]:
    parts = [part for side in ("train", "heldout") for part in source[side]["datasets"]]
    return [f"{part['prefix']}.{suffix}" for part in parts for suffix in ("bin", "idx")] + [
        p["provenance"] for p in parts
    ]


def test_the_same_corpus_at_another_place_gives_the_same_build(
    experiment: Experiment, mixproof: Mixproof, tmp_path: Path
) -> None:
    moved = write_experiment(tmp_path / "elsewhere")
    built = mixproof("build", moved, "--store", tmp_path / "store", "--json")
    assert built.code == 0, built.err
    assert built.json["build"] == experiment.result["build"]["build"]


def test_runs_of_different_length_are_not_comparable_and_the_fact_is_named(
    experiment: Experiment, mixproof: Mixproof
) -> None:
    one = SPEC.replace("  mostly_code: {code: 80%, manual: 10%, guide: 5%, notes: 5%}\n", "").replace("[1, 2]", "[1]")
    other = one.replace("prose: {manual: 40%, guide: 30%", "other: {manual: 30%, guide: 40%").replace("5120", "4096")
    specs = []
    for name, text in (("one", one), ("two", other)):
        specs.append(experiment.spec.with_name(f"{name}.yaml"))
        specs[-1].write_text(text)
        trained = mixproof("train", specs[-1], "--store", experiment.store, "--json")
        assert trained.code == 0, trained.err
    compared = mixproof("compare", *specs, "--store", experiment.store, "--json")
    assert compared.code == 1
    assert compared.json["comparable"] is False
    assert any("tokens" in reason for reason in compared.json["reasons"])
