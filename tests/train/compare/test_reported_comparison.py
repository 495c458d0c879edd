"""Tables of runs are ranked apart from audited runs, size by size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.train.compare.reported_comparison import ReportedComparison, compare_reported
from mixproof.train.reported.runs_table import read_runs_table

HEADER = "mixture,parameters,tokens,seed,loss,acc"
SMALL = [
    "web,100,1000,1,3.00,0.30",
    "web,100,1000,2,3.02,0.31",
    "code,100,1000,1,2.50,0.40",
    "code,100,1000,2,2.52,0.41",
]


def compared(folder: Path, rows: list[str], *names: str, higher: bool = False) -> ReportedComparison:
    path = folder / "runs.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return compare_reported(read_runs_table(path), names, higher)


def test_mixtures_of_one_size_are_ranked_over_their_seeds_and_marked_as_not_audited(tmp_path: Path) -> None:
    found = compared(tmp_path, SMALL, "loss")
    ranking: dict[str, Any] = found.rankings[0].to_json()
    assert ranking["ranking"] == ["code", "web"] and ranking["winner"] == "code" and ranking["seeds"] == ["1", "2"]
    # its own variance .0002 with 1 degree of freedom; t(.975; 1) sqrt(.0002 / 2) = .12706
    assert ranking["table"][0]["half_width"] == pytest.approx(0.12706, abs=1e-5)
    table = found.to_json()["table"]
    assert isinstance(table, dict) and table["audited"] is False and table["unchecked"]


def test_a_score_that_is_better_when_higher_turns_the_ranking(tmp_path: Path) -> None:
    assert [row.mixture for row in compared(tmp_path, SMALL, "acc").rankings[0].rows] == ["web", "code"]
    assert [row.mixture for row in compared(tmp_path, SMALL, "acc", higher=True).rankings[0].rows] == ["code", "web"]


def test_fractions_and_percentages_are_not_ranked_together(tmp_path: Path) -> None:
    mixed = [*SMALL[:2], "code,100,1000,1,2.5,40.1", "code,100,1000,2,2.52,41"]
    with pytest.raises(RequestError, match=r"acc: web \(seed 1\) has 0.3 and code \(seed 1\) 40.1 at the same size"):
        compared(tmp_path, mixed, "acc", higher=True)
    assert compared(tmp_path, mixed, "loss").comparable


def test_one_seed_wins_nothing_and_different_sizes_are_not_ranked_together(tmp_path: Path) -> None:
    found = compared(
        tmp_path, ["web,100,1000,1,3.0,0.3", "code,100,1000,1,2.5,0.3", "books,200,1000,1,2.0,0.3"], "loss"
    )
    assert [ranking.size for ranking in found.rankings] == [(100, 1000), (200, 1000)]
    assert "with one seed per mixture" in found.verdict and found.comparable
    assert not compared(tmp_path, ["web,100,1000,1,3.0,0.3", "code,200,1000,1,2.5,0.3"], "loss").comparable


def test_runs_without_the_score_or_the_common_seed_are_left_out_with_the_reason(tmp_path: Path) -> None:
    found = compared(tmp_path, [*SMALL, "books,100,1000,3,2.0,0.3", "math,100,1000,1,,0.3"], "loss")
    assert found.reasons == ("math, seed 1: has no loss", "books has no run with seed 1")


def test_the_agreement_of_two_sizes_has_an_interval_from_four_mixtures_on(tmp_path: Path) -> None:
    names = "abcdef"
    rows = [
        f"{name},{size},1000,1,{3 + number + 0.001 * size},0.3"
        for size in (100, 200)
        for number, name in enumerate(names)
    ]
    (pair,) = compared(tmp_path, rows, "loss").agreement
    assert pair.mixtures == 6
    assert [pair.spearman, pair.kendall, *(pair.interval or ())] == pytest.approx([1, 1, 1, 1])
    (few,) = compared(tmp_path, [row for row in rows if row[0] in "abc"], "loss").agreement
    assert few.interval is None


def test_a_table_of_several_scores_needs_an_objective(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has several scores; name them with --objective: loss, acc"):
        compared(tmp_path, SMALL)
    with pytest.raises(RequestError, match="--objective los: no such score; did you mean 'loss'"):
        compared(tmp_path, SMALL, "los")
