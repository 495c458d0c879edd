"""`mixproof search` as a user runs it: on tables, on a spec, and with wrong requests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import static_table
from conftest import SPEC, Finished, write_experiment
from mixproof.cli.found_spec import write_spec
from mixproof.mixtures.blocks.mixture import Mixture
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.inputs.files import find_files

Mixproof = Callable[..., Finished]
SOURCES = ("web", "code", "books")


def write_table(path: Path, names: Sequence[str], rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Path:
    lines = [",".join(("index", *names))]
    lines += [",".join((str(number), *(f"{value:.6f}" for value in row))) for number, row in enumerate(rows.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Mixtures, their scores, and mixtures to predict; the mean loss is lowest at 50% web, 30% code, 20% books."""
    shares = np.random.default_rng(0).dirichlet([2.0, 1.0, 1.0], 60)
    logs = np.log(shares + 0.001)
    losses = np.stack([4 - logs[:, 0], 3 - 0.6 * logs[:, 1] - 0.4 * logs[:, 2]], axis=1)
    ask = np.array([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    return (
        write_table(tmp_path / "w.csv", SOURCES, shares),
        write_table(tmp_path / "s.csv", ("web loss", "rest"), losses),
        write_table(tmp_path / "p.csv", SOURCES, ask),
    )


def test_tables_give_one_prediction_a_row_by_score_and_a_mixture(
    mixproof: Mixproof, tables: tuple[Path, Path, Path]
) -> None:
    weights, scores, ask = tables
    done = mixproof("search", "--weights", weights, "--scores", scores, "--predict", ask, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert set(found["predictions"]) == {"web loss", "rest"}
    assert found["predictions"]["web loss"] == pytest.approx(
        [4 - np.log(share + 0.001) for share in (0.5, 0.9, 0.1)], abs=0.05
    )
    assert np.argsort(found["predictions"]["rest"]).tolist() == [2, 0, 1]
    assert all(choice["rank_correlation"] > 0.98 for choice in found["predictors"].values())
    assert set(found["predictors"]["rest"]["kfold"]) == {
        "linear",
        "ridge",
        "gaussian_process",
        "lightgbm",
        "mixing_law",
        "bimix",
    }
    assert found["refused"] is None
    finalists = found["finalists"]
    assert sorted(one["kind"] for one in finalists) == ["anchor", "measured", "measured", "measured", "optimum"]
    optimum = next(one for one in finalists if one["kind"] == "optimum")
    assert [optimum["mixture"][name] for name in SOURCES] == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert optimum["index"] is None and optimum["measured"] is None
    recommended = found["recommendation"]
    assert {key: recommended[key] for key in ("kind", "mixture", "interval")} == {
        key: finalists[0][key] for key in ("kind", "mixture", "interval")
    }
    assert recommended["interval"][0] < recommended["estimate"] < recommended["interval"][1]
    assert recommended["better_than_anchor"] is (recommended["gain_over_anchor"]["low"] > 0)
    assert all(low <= recommended["mixture"].get(name, 0) <= high for name, (low, high) in found["region"].items())


def test_the_anchor_of_tables_can_be_named(mixproof: Mixproof, tables: tuple[Path, Path, Path]) -> None:
    done = mixproof(
        "search", "--weights", tables[0], "--scores", tables[1], "--objective", "rest", "--anchor", "3", "--json"
    )
    assert next(one["index"] for one in done.json["finalists"] if one["kind"] == "anchor") == "3"
    wrong = mixproof("search", "--weights", tables[0], "--scores", tables[1], "--anchor", "sixty")
    assert wrong.code == 2 and "--anchor sixty: no mixture has this index" in wrong.err


def test_runs_of_two_sizes_are_carried_to_a_third(mixproof: Mixproof, tables: tuple[Path, Path, Path]) -> None:
    weights, scores, ask = tables
    lines = weights.read_text().splitlines()
    sized = [f"{line},{'parameters' if row == 0 else '1M' if row % 2 else '60M'}" for row, line in enumerate(lines)]
    weights.write_text("\n".join(sized) + "\n")
    without = mixproof("search", "--weights", weights, "--scores", scores)
    assert without.code == 2 and "name the size to predict: --target parameters=..." in without.err
    arguments = ("--weights", weights, "--scores", scores, "--predict", ask, "--target", "parameters=1B")
    done = mixproof("search", *arguments, "--json")
    assert done.code == 0, done.err
    assert done.json["target"] == {"parameters": 10**9}
    assert done.json["sizes"] == [{"parameters": 10**6, "runs": 30}, {"parameters": 60 * 10**6, "runs": 30}]
    assert np.argsort(done.json["predictions"]["rest"]).tolist() == [2, 0, 1]  # size changes nothing here


def test_a_table_with_phases_gives_a_mixture_for_each_within_caps_over_the_whole_run(
    mixproof: Mixproof, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    stable, decay = random.dirichlet([2.0, 1.0, 1.0], 32), random.dirichlet([1.0, 1.0, 1.0], 32)
    losses = -np.log(0.8 * stable[:, :1] + 0.01) - np.log(decay[:, 1:2] + 0.05)  # web, and code in the decay
    columns = [f"{phase}:{source}" for phase in ("stable", "decay") for source in SOURCES]
    weights = write_table(tmp_path / "w.csv", columns, np.hstack([stable, decay]))
    scores = write_table(tmp_path / "s.csv", ("loss",), losses)
    phases = ("--phases", "stable=80%,decay=100%", "--cap", "web=60%")
    done = mixproof("search", "--weights", weights, "--scores", scores, *phases, "--json")
    assert done.code == 0, done.err
    assert done.json["phases"] == [{"name": "stable", "until": 0.8}, {"name": "decay", "until": 1.0}]
    for one in (done.json["recommendation"], *done.json["finalists"]):
        assert sum(one["mixture"]["stable"].values()) == pytest.approx(1) == sum(one["mixture"]["decay"].values())
        web = 0.8 * one["mixture"]["stable"].get("web", 0) + 0.2 * one["mixture"]["decay"].get("web", 0)
        assert one["whole_run"]["web"] == pytest.approx(web) and web <= 0.6 + 1e-9
    optimum = next(one for one in done.json["finalists"] if one["kind"] == "optimum")
    assert optimum["mixture"]["stable"]["web"] == pytest.approx(0.75, abs=0.02)  # 60% of the run
    assert max(optimum["mixture"]["decay"].items(), key=lambda item: item[1])[0] == "code"
    assert set(done.json["region"]) == {"stable", "decay"} and set(done.json["region"]["decay"]) == set(SOURCES)
    without = mixproof("search", "--weights", weights, "--scores", scores)
    assert without.code == 2 and "--phases stable=...,decay=100%" in without.err


def test_a_named_objective_is_what_is_minimized_and_the_answer_is_written_for_a_person(
    mixproof: Mixproof, tables: tuple[Path, Path, Path]
) -> None:
    done = mixproof("search", "--weights", tables[0], "--scores", tables[1], "--objective", "rest")
    assert done.code == 0, done.err
    assert "K-fold rank correlation" in done.out and "Best mixture: " in done.out
    assert "Finalists, the recommended one first" in done.out and "as good within the noise" in done.out
    assert "supply and caps are not known from tables" in done.out


def test_scores_of_noise_are_exit_code_1_with_a_reason(mixproof: Mixproof, tables: tuple[Path, Path, Path]) -> None:
    write_table(tables[1], ("loss",), np.random.default_rng(1).normal(size=(60, 1)))
    done = mixproof("search", "--weights", tables[0], "--scores", tables[1], "--json")
    assert done.code == 1
    assert done.json["recommendation"] is None and done.json["refused"]
    assert done.json["finalists"] == [] and done.json["region"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either a SPEC, or --weights and --scores"),
        (["spec.yaml", "--weights", "w.csv"], "either a SPEC, or --weights and --scores"),
        (["--weights", "w.csv"], "--weights needs --scores"),
        (["spec.yaml", "--predict", "p.csv"], "--predict needs --weights"),
        (["spec.yaml", "--anchor", "1"], "--anchor needs --weights"),
        (["spec.yaml", "--target", "parameters=1B"], "--target needs --weights"),
        (["spec.yaml", "--phases", "stable=80%,decay=100%"], "--phases needs --weights"),
        (["spec.yaml", "--cap", "web=20%"], "--cap needs --weights"),
        (["spec.yaml", "--rounds", "64,none"], "--rounds 64,none: give the number of candidates"),
        (["--weights", "none.csv", "--scores", "none.csv"], "none.csv: cannot be read as CSV"),
    ],
)
def test_a_wrong_request_is_exit_code_2(mixproof: Mixproof, arguments: list[str], message: str) -> None:
    done = mixproof("search", *arguments)
    assert done.code == 2
    assert message in done.err and not done.out


ONE_SOURCE = """\
schema: 1
name: one
sources:
  code: {files: "corpus/code/**/*.py", format: code}
heldout: {create: {tokens: 4K, min_documents: 3}}
tokenizer: {train: {vocab_size: 1200, bytes: 2MB}}
mixtures:
  only: {code: 100%}
train:
  sequence_length: 64
  proxies:
    nano: {tokens: 5120, global_batch_size: 8, lr: 2.0e-3}
"""


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        (SPEC, ["--rounds", "3"], "--rounds: 3 candidates and the anchor are too few mixtures"),
        (ONE_SOURCE, [], "sources.code: a search needs at least two sources, and code is the only one"),
    ],
)
def test_a_search_that_cannot_succeed_is_refused_before_any_work(
    mixproof: Mixproof, tmp_path: Path, spec: str, arguments: list[str], message: str
) -> None:
    done = mixproof("search", write_experiment(tmp_path, spec), "--store", tmp_path / "store", *arguments)
    assert done.code == 2 and message in done.err
    assert not (tmp_path / "store").exists()


def test_the_spec_written_extends_the_one_searched_and_adds_the_mixtures_found(
    tmp_path: Path,
) -> None:
    searched = load_spec(write_experiment(tmp_path))
    ranked = [
        Mixture(shares={"code": Fraction(1234, 10_000), "manual": Fraction(766, 10_000), "notes": Fraction(8, 10)}),
        Mixture(shares={"manual": Fraction(1, 2), "notes": Fraction(1, 2)}),
    ]
    (tmp_path / "found").mkdir()
    path = write_spec(searched, ranked, tmp_path / "found" / "small.yaml")
    found = load_spec(path).spec
    assert found.name == "small-found"
    assert {name: mixture.shares for name, mixture in found.mixtures.items()} == {
        "found": {"code": Fraction(1234, 10_000), "manual": Fraction(766, 10_000), "notes": Fraction(8, 10)},
        "runner-up-1": {"manual": Fraction(1, 2), "notes": Fraction(1, 2)},
    }
    assert found.train == searched.spec.train and found.objective == searched.spec.objective
    assert find_files(found, path.parent) == find_files(searched.spec, tmp_path)
    again = write_spec(load_spec(path), [Mixture(shares={"code": Fraction(1)})], tmp_path / "next.yaml")
    mixtures = load_spec(again).spec.mixtures
    assert {name: mixture.shares for name, mixture in mixtures.items()} == {"found-2": {"code": Fraction(1)}}


ONE_CORPUS = """\
schema: 1
name: one-corpus
sources:
  all:
    files: ["corpus/manual-*.jsonl.gz", "corpus/notes.parquet"]
    split_by: {clusters: {number: 3, embedding: table}}
heldout: {create: {tokens: 2K, min_documents: 3}}
tokenizer: {train: {vocab_size: 1200, bytes: 1MB}}
mixtures: {natural: {rule: proportional}, flat: {rule: unimax}}
train:
  sequence_length: 64
  proxies:
    nano:
      tokens: 2560
      global_batch_size: 4
      lr: 2.0e-3
      architecture: {layers: 1, hidden: 32, ffn: 64, heads: 2, kv_heads: 2, head_dim: 16}
search: {rounds: [5, 3], repeats: 2, finalists: 1, race: {rungs: [50%], confidence: 50%}}
objective: {heldout_bpb: {all: 1}}
"""


@pytest.mark.slow
def test_run_goes_from_one_corpus_over_clusters_and_a_search_to_a_mixture(mixproof: Mixproof, tmp_path: Path) -> None:
    spec, store = write_experiment(tmp_path, ONE_CORPUS), tmp_path / "store"
    static_table.write_table(tmp_path / "table")
    first = mixproof("run", spec, "--store", store, "--json")
    assert first.code in (0, 1) and first.out, first.err
    assert first.json["audit"]["ok"] and first.json["compare"]["comparable"]
    clusters = sorted(first.json["build"]["sources"])
    assert [name.split("-")[0] for name in clusters] == ["all/c01", "all/c02", "all/c03"]
    found = first.json["search"]
    race, fresh = found["race"], sum(len(one["scores"]) for one in found["finalists"])
    stopped = len(race["stopped"])
    # the anchor and all candidates at the rung and, unless they were stopped, to the end
    assert found["runs"] == 2 * (2 + 5 + 3) - stopped + fresh and found["failed"] == []
    assert [done["number"] for done in found["rounds"]] == [1, 2]
    assert [(rung["round"], rung["part"], rung["candidates"]) for rung in race["rungs"]] == [(1, 0.5, 5), (2, 0.5, 3)]
    assert sum(rung["stopped"] for rung in race["rungs"]) == stopped <= 2 + 1
    # 10 steps of 256 tokens; the rung has its trunk to step 4 and one step of decay, which a whole run has to repeat
    assert race["full_tokens"] == (2 + 5 + 3 + fresh) * 10 * 256
    assert race["tokens_saved"] == (stopped * 5 - (2 + 5 + 3 - stopped)) * 256
    assert any(note.startswith("the races of the search ") for note in first.json["compare"]["notes"])
    assert all(abs(sum(one["mixture"].values()) - 1) < 1e-9 for one in found["measured"])
    assert {name for one in found["measured"] for name in one["mixture"]} == set(clusters)
    assert sorted(found["predictors"]) == clusters
    assert found["recommended"] is (first.code == 0) is (found["refused"] is None)
    assert (tmp_path / "small-found.yaml").exists() is found["recommended"]
    again = mixproof("search", spec, "--store", store, "--json")
    assert again.json["runs_reused"] == again.json["runs"] == found["runs"]
    assert {**again.json, "runs_reused": 0} == {**found, "runs_reused": 0}


SMALL_SEARCH = "search: {rounds: [7], repeats: 2, repeat_candidates: 0, finalists: 1}\n"


@pytest.mark.slow
def test_a_search_chooses_no_candidates_without_runs_that_stopped_for_another_reason_than_their_training(
    mixproof: Mixproof, tmp_path: Path
) -> None:
    spec, store = write_experiment(tmp_path, SPEC.replace("5120", "1024") + SMALL_SEARCH), tmp_path / "store"
    search = ("search", spec, "--store", store, "--output", tmp_path / "found.yaml", "--json")
    undisturbed = mixproof(*search)
    assert undisturbed.out, undisturbed.err
    made, runs = sorted((store / "search").iterdir()), sorted((store / "train").iterdir())
    first = min(runs, key=lambda run: (run / "receipt.json").stat().st_mtime)  # of the anchor
    shutil.rmtree(first)
    (first / "attempt.json").mkdir(parents=True)  # where the run's file should be
    stopped = mixproof(*search)
    assert stopped.code == 1 and stopped.out == ""
    assert "1 of 2 runs of this round stopped before their end" in stopped.err
    assert sorted((store / "search").iterdir()) == made
    (first / "attempt.json").rmdir()
    resumed = mixproof(*search)
    assert sorted((store / "train").iterdir()) == runs
    assert (resumed.code, resumed.json["finalists"]) == (undisturbed.code, undisturbed.json["finalists"])


def test_the_spec_written_does_not_search_again_and_names_clusters(tmp_path: Path) -> None:
    searched = load_spec(write_experiment(tmp_path, ONE_CORPUS))
    ranked = [Mixture(shares={"all/c01-law": Fraction(1, 4), "all/c02": Fraction(3, 4)})]
    found = load_spec(write_spec(searched, ranked, tmp_path / "found.yaml")).spec
    assert searched.spec.search is not None and found.search is None
    assert found.mixtures["found"] == ranked[0]


def test_a_search_names_a_proxy_of_the_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="search.proxy: there is no proxy 'nan'; did you mean 'nano'?"):
        load_spec(write_experiment(tmp_path, ONE_CORPUS.replace("search: {", "search: {proxy: nan, ")))


@pytest.mark.slow
def test_an_output_that_no_search_wrote_is_never_replaced(mixproof: Mixproof, tmp_path: Path) -> None:
    spec = write_experiment(tmp_path)
    done = mixproof("search", spec, "--store", tmp_path / "store", "--output", spec)
    assert done.code == 2 and "was not written by a search" in done.err
    assert not (tmp_path / "store").exists()
    assert spec.read_text() == SPEC
