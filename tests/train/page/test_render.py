"""The page says what the records and the manifest say, and each number leads to the place that says it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import html
from collections.abc import Callable
from typing import TYPE_CHECKING

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from mixproof.tokenize.page.build_evidence import Statement
from mixproof.train.page.evidence import Evidence, SpecEvidence, SweepEvidence
from mixproof.train.page.render import render_page

if TYPE_CHECKING:
    from page_reader import Page

    from .conftest import MakeRun

ReadPage = Callable[[str], "Page"]
Compare = Callable[..., Evidence]


def themed(value: object) -> object:
    """A figure as the page's script hands it on: neutrals replaced by colours."""
    if isinstance(value, dict):
        return {name: themed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [themed(part) for part in value]
    return "#123456" if isinstance(value, str) and value.startswith("@") else value


def test_the_ranking_stands_with_means_intervals_and_scores(evidence: Evidence, read_page: ReadPage) -> None:
    page = read_page(render_page(evidence))
    # wordy: (1.3 + 1.5 + 1.9)/3 and 0.004 more with seed 2; the spread of two seeds 0.004 apart is 0.002·√2,
    # t(0.975; 1) = 12.7062 on the mixture's own seeds, so the half-width is 12.7062·0.002·√2/√2
    assert page.rows("ranking-table-0") == [
        ["1", "wordy", "1.5687", "0.0254", "0.0254", "–", "1.3020", "1.5020", "1.9020"],
        ["2", "even", "1.8020", "0.0254", "0.0254", "–", "1.1020", "1.6020", "2.7020"],
        ["3", "code_first", "2.0020", "0.0254", "0.0254", "–", "1.0020", "2.0020", "3.0020"],
    ]
    assert page.texts["h1"].startswith("wordy is the best of 3 mixtures, 0.2333 ± 0.01")
    assert evidence.comparison.verdict in page.texts["p"]


def test_the_sweep_that_chose_the_learning_rate_is_shown_once_with_its_warning(
    evidence: Evidence, read_page: ReadPage
) -> None:
    scores = {"even": {"0.001": 1.61, "0.002": 1.5, "0.004": None}}
    sweep = SweepEvidence("nano", "proxy nano: learning rate 0.002", ("the best rate is an end",), "0.002", 2, scores)
    spec = dataclasses.replace(evidence.specs[0], sweeps=(sweep,))
    page = read_page(render_page(dataclasses.replace(evidence, specs=(spec, spec))))
    assert page.rows("sweep-0") == [["even", "1.6100", "1.5000", "failed"]]
    assert page.texts["p"].count("proxy nano: learning rate 0.002.") == 1
    assert "Warning the best rate is an end." in page.texts["p"]
    assert "0.002 (used)" in page.texts["th"]


def test_declared_planned_and_delivered_stand_per_source(evidence: Evidence, read_page: ReadPage) -> None:
    page = read_page(render_page(evidence))
    # 40 steps of 8 samples of 128 tokens; half of it English
    assert page.rows("delivered-table-0")[:3] == [
        ["wordy", "code", "25.00%", "10,240", "10,240", "0", "25.00%", "1.000"],
        ["wordy", "english", "50.00%", "20,480", "20,480", "0", "50.00%", "2.000"],
        ["wordy", "letters", "25.00%", "10,240", "10,240", "0", "25.00%", "1.000"],
    ]
    assert "Delivered tokens equal planned tokens for every mixture and source" in page.texts["p"]


def test_a_delivery_off_the_plan_is_said(make_run: MakeRun, compare_runs: Compare, read_page: ReadPage) -> None:
    runs = [make_run("even", 1, delivered__code__tokens=20_352), make_run("wordy", 1)]
    page = read_page(render_page(compare_runs(runs)))
    (row,) = [row for row in page.rows("delivered-table-0") if row[:2] == ["even", "code"]]
    assert row[2:6] == ["50.00%", "20,480", "20,352", "-128"]
    assert "1 of 6 token counts differ from the plan" in page.texts["p"]


def test_every_linked_number_is_the_one_that_the_statement_holds(evidence: Evidence, read_page: ReadPage) -> None:
    page = read_page(render_page(evidence))
    checked = 0
    for rows in page.tables.values():
        for cell in (cell for row in rows for cell in row if cell.href and ":/" in cell.href):
            stated = page.value(str(cell.href))
            forms = [str(stated)]
            if isinstance(stated, (int, float)):
                forms += [f"{stated:,}", f"{stated:.4f}", f"{stated:.3f}", f"{stated:.2%}"]
            assert cell.text in forms, (cell, stated)
            checked += 1
    assert checked > 100


def test_every_link_leads_to_a_place_on_the_page(evidence: Evidence, read_page: ReadPage) -> None:
    page = read_page(render_page(evidence))
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith("#")
        assert link[1:].partition(":/")[0] in page.ids


def test_statements_are_whole_files_under_their_checksums(evidence: Evidence, read_page: ReadPage) -> None:
    text = render_page(evidence)
    page = read_page(text)
    for statement in (*(run.statement for run in evidence.runs), evidence.builds[0].statement):
        assert statement.text in page.statements.values()
        assert statement.path in text
        assert hashlib.sha256(statement.text.encode()).hexdigest() in text
    assert evidence.builds[0].id == evidence.builds[0].manifest.build


def test_runs_that_failed_or_are_missing_stand_with_their_reason(evidence: Evidence, read_page: ReadPage) -> None:
    failed, missing = read_page(render_page(evidence)).rows("failed-table")
    assert failed[:4] == ["even", "nano", "3", "the loss is no number at step 7"]
    assert missing == ["wordy", "nano", "3", "not trained yet", "no record"]


def test_what_was_allowed_to_differ_is_said_at_the_top_and_on_every_table_of_runs(
    make_run: MakeRun, compare_runs: Compare, read_page: ReadPage
) -> None:
    runs = [make_run("even", 1), make_run("wordy", 1, recipe={"lr": "0.02", "warmup_steps": "2", "decay_steps": "8"})]
    page = read_page(render_page(compare_runs(runs, "recipe")))
    assert "Compared across recipe" in page.texts["strong"]
    assert "Values that differ: recipe.lr (0.02, 0.01)." in page.texts["p"]
    assert page.texts["caption"].count("across recipe") == 4
    assert [row[-1] for row in page.rows("ranking-table-0")] == ["0.02", "0.01"]
    assert "across" not in read_page(render_page(compare_runs(runs[:1]))).texts["caption"]


def test_where_nothing_is_comparable_the_page_says_why(
    make_run: MakeRun, compare_runs: Compare, read_page: ReadPage
) -> None:
    runs = [make_run("even", 1), make_run("wordy", 1, sequence_length=64)]
    page = read_page(render_page(compare_runs(runs)))
    assert page.texts["h1"] == "Nothing can be compared."
    assert "sequence_length: 128 and 64" in page.texts["li"]


def test_a_mixture_that_nothing_can_be_ranked_against_stands_in_a_table_of_its_own(
    make_run: MakeRun, compare_runs: Compare, read_page: ReadPage
) -> None:
    runs = [make_run("even", 1), make_run("wordy", 1), make_run("even", 1, proxy="62m", consumed_tokens=2_000_000)]
    page = read_page(render_page(compare_runs(runs)))
    assert page.rows("alone-table") == [["even", "62m", "2,000,000", "1", "1.8000"]]
    assert [row[1] for row in page.rows("ranking-table-0")] == ["wordy", "even"]
    assert "ranking-table-1" not in page.tables
    alone = read_page(render_page(compare_runs(runs[:1])))
    assert [row[1] for row in alone.rows("ranking-table-0")] == ["even"]
    assert "alone-table" not in alone.tables


def test_where_every_run_failed_the_page_still_stands(
    make_run: MakeRun, compare_runs: Compare, read_page: ReadPage
) -> None:
    page = read_page(render_page(compare_runs([make_run("even", 1, status="failed", reason="no room")])))
    assert page.rows("failed-table")[0][3] == "no room"
    assert "ranking-table-0" not in page.tables


def test_the_account_and_every_loss_stand_with_their_reason(evidence: Evidence, read_page: ReadPage) -> None:
    page = read_page(render_page(evidence))
    # 990 documents of 1,000 bytes; 3,000 go at the step, 500 out of what stays, then 25,000 and 3,000
    assert page.rows("loss-table-0") == [
        ["code", "read", "invalid json", "10", "1.00%", "0"],
        ["code", "length", "too short", "30", "3.03%", "3,000"],
        ["code", "length", "removed from kept documents", "0", "0.00%", "500"],
        ["code", "dedup", "exact duplicate", "25", "2.60%", "25,000"],
        ["code", "decontaminate", "heldout overlap", "3", "0.32%", "3,000"],
    ]
    assert page.rows("account-table-0")[0] == ["code", "3", "1,000", "882", "908,500", "227,125", "50", "12,500"]
    assert page.rows("dedup-table-0")[1] == ["code", "english", "5", "5,000", "0.51%"]


def test_repetition_is_an_estimate_by_the_published_constants(evidence: Evidence, read_page: ReadPage) -> None:
    page = read_page(render_page(evidence))
    rows = {(row[0], row[1]): row[2:] for row in page.rows("repetition-table-0")}
    # 10,240 unique tokens read twice are worth 1.9681 readings; 75% of the target's 1,000,000 over 227,125 tokens
    assert rows["even", "code"] == ["2.000", "20,480", "10,240", "20,154", "98.41%", "2.20"]
    assert rows["code_first", "code"][-1] == "3.30"
    assert "letters" not in {source for mixture, source in rows if mixture == "even"}
    assert "An estimate, not a measurement" in page.texts["figcaption"]


def test_figures_are_such_as_plotly_accepts(evidence: Evidence, read_page: ReadPage) -> None:
    figures = read_page(render_page(evidence)).json
    assert set(figures) == {"ranking-0", "delivered-0", "heldout-0", "curves-0", "repetition-0", "dedup-0"}
    for views in figures.values():
        for figure in views.values():
            go.Figure(themed({"data": figure["data"], "layout": figure["layout"]}))


def test_the_page_needs_nothing_beside_it_and_stays_small(evidence: Evidence, read_page: ReadPage) -> None:
    text = render_page(evidence)
    page = read_page(text)
    assert page.sources == []
    assert "default-src 'none'" in html.unescape(text)
    assert "connect-src" not in text
    assert len(text) < 2_500_000
    assert len(gzip.compress(get_plotlyjs().encode(), 9)) < 1_600_000


def test_the_same_evidence_gives_the_same_page(evidence: Evidence) -> None:
    assert render_page(evidence) == render_page(evidence)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "</script><b>", "a & b", "{{ 7 * 7 }}"])
def test_names_are_text_and_never_markup(
    name: str, make_run: MakeRun, compare_runs: Compare, read_page: ReadPage
) -> None:
    evidence = compare_runs([make_run("even", 1), make_run("wordy", 1, mixture=name)])
    spec = SpecEvidence(name, Statement(f"{name}.yaml", f"name: {name}\n"), None, ".mixproof")
    text = render_page(dataclasses.replace(evidence, specs=(spec,)))
    page = read_page(text)
    assert name in [row[1] for row in page.rows("ranking-table-0")]
    assert text.count("<script") == 4
    assert "<b>" not in text.partition('<script type="application/octet-stream"')[0]
