"""Parts of the page on their own: the verdict's words, the flow's arithmetic, curves thinned, laws drawn or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mixproof.tokenize.page.environment import duration
from mixproof.tokenize.page.palette import OF_MIXTURES, OF_SOURCES, looks
from mixproof.tokenize.page.table import amount, percent, proof, words
from mixproof.train.page.curves import Step, curve_plot, points_each, thin
from mixproof.train.page.evidence import Evidence, RunEvidence, SearchEvidence
from mixproof.train.page.figure import label
from mixproof.train.page.render import render_page
from mixproof.train.page.repetition_view import effective_of
from mixproof.train.page.reproduce import commands, environment_table
from mixproof.train.page.run_times import finished_on, times_table
from mixproof.train.page.scaling_view import observation, scaling_views
from mixproof.train.page.verdict import headline

if TYPE_CHECKING:
    from .conftest import MakeRun

Compare = Callable[..., Evidence]


def test_the_headline_names_a_winner_only_where_there_is_one(make_run: MakeRun, compare_runs: Compare) -> None:
    sure = [make_run(name, seed) for name in ("even", "wordy") for seed in (1, 2)]
    assert headline(compare_runs(sure).comparison) == "wordy beats even by 0.2333 ± 0.0122 bits per byte"
    close = [
        make_run("even", 1),
        make_run("even", 2, heldout__code__bits_per_byte=1.5),
        make_run("wordy", 1, heldout__letters__bits_per_byte=2.5),
        make_run("wordy", 2, heldout__letters__bits_per_byte=2.7),
    ]
    assert headline(compare_runs(close).comparison).startswith("No winner: ")
    alone = headline(compare_runs(sure[::2]).comparison)
    assert alone == "No winner: wordy leads even by 0.2333 bits per byte, with one seed per mixture"


def test_the_headline_is_that_of_the_search_where_nothing_else_is_compared(
    make_run: MakeRun, compare_runs: Compare
) -> None:
    found = SearchEvidence("The search recommends a mixture", "recommended on tiny: web 60.00%, code 40.00%")
    anchor = [make_run("even", seed) for seed in (1, 2)]
    assert headline(compare_runs(anchor).comparison) == "Nothing can be compared"
    assert headline(compare_runs(anchor).comparison, found) == "The search recommends a mixture"
    both = [make_run(name, seed) for name in ("even", "wordy") for seed in (1, 2)]
    assert headline(compare_runs(both).comparison, found).startswith("wordy beats even by ")
    page = render_page(replace(compare_runs(anchor), search=found))
    assert '<p class="lead">recommended on tiny: web 60.00%, code 40.00%.</p>' in page


def test_the_headline_tells_proxies_that_agree_from_proxies_that_do_not(
    make_run: MakeRun, compare_runs: Compare
) -> None:
    nano = [make_run(name, seed) for name in ("even", "wordy") for seed in (1, 2)]
    same = [make_run(name, seed, proxy="62m") for name in ("even", "wordy") for seed in (1, 2)]
    assert headline(compare_runs(nano + same).comparison) == "wordy wins on 62m and nano"
    better = {"heldout__letters__bits_per_byte": 0.5}
    other = [
        make_run(name, seed, proxy="62m", **(better if name == "even" else {}))
        for name in ("even", "wordy")
        for seed in (1, 2)
    ]
    assert headline(compare_runs(nano + other).comparison) == "even wins on 62m and wordy wins on nano"


def test_curves_are_means_over_equal_stretches() -> None:
    losses = [(10, 5.0), (20, 3.0), (30, 2.0), (40, 1.0), (50, 0.5)]
    points = [Step(tokens, loss, 1) for tokens, loss in losses]
    assert thin(points, 5) == ([10, 20, 30, 40, 50], [5.0, 3.0, 2.0, 1.0, 0.5], 1)
    assert thin(points, 3) == ([20, 40, 50], [4.0, 1.5, 0.5], 2)
    # of one source, a step counts by its targets: (3·5 + 1·3) / 4
    assert thin([Step(10, 5.0, 300), Step(20, 3.0, 100)], 1) == ([20], [4.5], 2)
    assert points_each(1) == 400
    assert points_each(1_000) * 1_000 <= 60_000


def test_training_loss_is_drawn_of_the_whole_batch_and_of_each_source(evidence: Evidence) -> None:
    ranking = evidence.rankings[0]
    plot = curve_plot(evidence, ranking, looks(row.mixture for row in ranking.rows), 0)
    assert plot is not None
    assert [figure.view for figure in plot.figures] == ["all sources", "code", "english", "letters"]
    assert [len(figure.traces) for figure in plot.figures] == [6, 6, 6, 2]  # two seeds; letters are in one mixture
    assert "Loss on letters only" in plot.figures[3].caption


def test_runs_of_older_versions_have_one_curve_each(evidence: Evidence) -> None:
    runs = tuple(
        replace(run, metrics=tuple(replace(step, loss_of={}, targets_of={}) for step in run.metrics))
        for run in evidence.runs
    )
    ranking = evidence.rankings[0]
    plot = curve_plot(replace(evidence, runs=runs), ranking, looks(row.mixture for row in ranking.rows), 0)
    assert plot is not None
    assert [figure.view for figure in plot.figures] == [""]


def test_a_law_is_drawn_from_sizes_and_tokens_that_make_one(make_run: MakeRun, compare_runs: Compare) -> None:
    runs = []
    for size in (1_000_000, 4_000_000, 16_000_000, 64_000_000):
        for tokens in (40_000_000, 160_000_000, 640_000_000, 2_560_000_000):
            loss = 1.7 + 400 / size**0.34 + 410 / tokens**0.28
            runs.append(
                make_run(
                    "even",
                    1,
                    proxy=f"p{size}",
                    parameters={"total": size, "non_embedding": size},
                    consumed_tokens=tokens,
                    heldout__code__loss=loss,
                    heldout__english__loss=loss,
                    heldout__letters__loss=loss,
                    delivered__code__tokens=tokens,
                    delivered__code__unique_tokens=tokens,
                )
            )
    runs.append(
        make_run(
            "even",
            1,
            proxy="often",
            parameters={"total": 1_000_000, "non_embedding": 1_000_000},
            consumed_tokens=40_000_000,
            delivered__code__tokens=40_000_000,
            delivered__code__unique_tokens=4_000_000,
        )
    )
    reasons, (view,) = scaling_views(compare_runs(runs))
    assert reasons == []
    assert "Fitted to 16 runs" in view.sentence
    assert "1 more run has over 4.5 epochs and is left out" in view.sentence
    constants = {row[0].text: row[1].sort for row in view.tables[0].rows}
    assert constants["a"] == pytest.approx(0.34, rel=0.02)
    assert constants["b"] == pytest.approx(0.28, rel=0.02)
    drawn = view.plots[0].figures[0].traces
    assert max(x for trace in drawn for x in trace["x"]) == pytest.approx(10 * 2_560_000_000 * 1.0, rel=0.02)
    assert any(trace.get("line", {}).get("dash") == "dash" for trace in drawn)


def test_one_proxy_makes_no_law_and_the_reason_stands_once(evidence: Evidence) -> None:
    (reason,), views = scaling_views(evidence)
    assert views == []
    assert reason.startswith("code_first, even, wordy: a scaling law needs runs at 3 or more different model sizes")


def test_an_observation_weighs_held_out_losses_by_tokens(make_run: MakeRun) -> None:
    record = make_run("even", 1, heldout__code__loss=6.0, heldout__code__tokens=25_000).record
    # 6.0 on 25,000 tokens, 3.2 and 5.4 on 12,500 each
    seen = observation(record)
    assert seen.loss == pytest.approx((2 * 6.0 + 3.2 + 5.4) / 4)
    assert seen.unique_tokens == 20_480
    assert seen.parameters == 1_577_024


def test_repeated_tokens_are_worth_less_than_new_ones() -> None:
    assert effective_of(1_000, 1_000) == 1_000
    assert effective_of(2_000, 1_000) == pytest.approx(1_968, abs=0.5)
    assert effective_of(4_000, 1_000) == pytest.approx(3_726, abs=0.5)
    assert effective_of(0, 0) == 0


def test_looks_repeat_a_colour_only_with_another_dash_and_symbol() -> None:
    of = looks(f"m{number}" for number in range(3 * len(OF_MIXTURES)))
    assert len({(look.color, look.dash) for look in of.values()}) == len(of)
    assert len({(look.color, look.symbol) for look in of.values()}) == len(of)
    assert set(OF_MIXTURES) == set(OF_SOURCES)
    assert not set(OF_MIXTURES[:2]) & set(OF_SOURCES[:2])


def test_commands_name_the_spec_the_store_and_the_axis(make_run: MakeRun, compare_runs: Compare) -> None:
    lines = commands(compare_runs([make_run("even", 1), make_run("wordy", 1)], "tokens"))
    assert lines[0] == "pip install mixproof[train]==0.1.0"
    assert lines[1] == "mixproof build 'trial specs/trial.yaml' --store .mixproof"
    assert lines[-1] == (
        "mixproof compare 'trial specs/trial.yaml' --store .mixproof --across tokens --html report.html"
    )


def test_commands_name_every_store_and_no_spec_twice(evidence: Evidence) -> None:
    (spec,) = evidence.specs
    lines = commands(replace(evidence, specs=(spec, replace(spec, store="s3://b/store"))))
    assert lines[4] == "mixproof build 'trial specs/trial.yaml' --store s3://b/store"
    assert lines[-1] == (
        "mixproof compare 'trial specs/trial.yaml' --store .mixproof --store s3://b/store --html report.html"
    )


def test_versions_of_builds_and_runs_stand_together(evidence: Evidence) -> None:
    rows = {row[0].text: row[1].text for row in environment_table(evidence).rows}
    assert rows == {
        "mixproof": "0.1.0",
        "numpy": "2.4.6",
        "torch": "2.13.0",
        "device": "cpu",
        "tokenizer engine": "sentencepiece",
    }


def test_dates_wall_time_and_cost_stand_per_build_and_per_kind_of_run(evidence: Evidence) -> None:
    def timed(run: RunEvidence, number: int) -> RunEvidence:
        times = {
            "started": f"2026-11-22T10:{number:02}:00+00:00",
            "ended": f"2026-11-22T11:{number:02}:00.5+00:00",
            "wall_milliseconds": 1_500_000,
            "ranks": 2,
        }
        return replace(run, circumstances={**run.circumstances, **times})

    builds = tuple(
        replace(build, circumstances={"started": "2026-11-22T09:00:00+00:00", "ended": "2026-11-22T09:02:05+00:00"})
        for build in evidence.builds
    )
    runs = tuple(timed(run, number) for number, run in enumerate(evidence.runs))
    whole = replace(evidence, builds=builds, runs=runs)
    rows = [[cell.text for cell in row] for row in times_table(whole).rows]
    assert rows[0][1:] == ["2026-11-22 09:00", "2026-11-22 09:02", "2 min 5 s", "unknown"]
    # seven runs of 25 minutes on two ranks: 350 minutes; 10^12 FLOPs each
    assert rows[1] == [
        "7 runs of nano",
        "2026-11-22 10:00",
        "2026-11-22 11:06",
        "1 h 6 min",
        "5 h 50 min of cpu, 7T FLOPs",
    ]
    assert finished_on(whole) == "2026-11-22"
    assert finished_on(replace(whole, runs=(), builds=())) == "unknown"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25 s"),
        (59.9, "59.9 s"),
        (125, "2 min 5 s"),
        (3_599.4, "59 min 59 s"),
        (3_600, "1 h 0 min"),
        (90_061, "25 h 1 min"),
    ],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_small_words() -> None:
    assert words(["a", "b", "c"]) == "a, b and c"
    assert words(["a"]) == "a"
    assert amount(1_798_097) == "1.8M"
    assert amount(12) == "12"
    assert percent(0.0) == "0.00%"
    assert percent(1e-7) == "1.0e-7"
    assert proof("run-1", "a/b", "c~d", 0) == "run-1:/a~1b/c~0d/0"
    assert label("<b>" + "x" * 60) == "&lt;b&gt;" + "x" * 30 + "…"
