"""The table of runs that train, and what a log says instead."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from mixproof.cli.tables.run_table import RunLines, run_table, shortened, summary
from mixproof.train.launch.progress import FamilyProgress, RunProgress


def run(mixture: str, seed: int, state: Any, **known: Any) -> RunProgress:  # noqa: ANN401  fields of a run
    nothing = dict.fromkeys(("loss", "tokens_per_second", "seconds_left", "reason"))
    return RunProgress(mixture, "62m", seed, state, **{"tokens": 0, "tokens_planned": 2_000_000, **nothing, **known})


FAMILY = FamilyProgress(
    (
        run("prose", 1, "done", tokens=2_000_000, loss=3.25),
        run("prose", 2, "training", tokens=500_000, loss=4.5, tokens_per_second=1000.4, seconds_left=1500.0),
        run("[code]", 1, "failed", tokens=8000, loss=9.0, reason="step 3: the loss is nan"),
        run("[code]", 2, "waiting"),
    ),
    3700.0,
)


def shown(family: FamilyProgress, rows: int) -> list[list[str]]:
    console = Console(width=120, record=True)
    with console.capture() as capture:
        console.print(run_table(family, rows))
    return [line.split() for line in capture.get().splitlines() if line.strip()]


def test_a_row_says_where_a_run_is() -> None:
    lines = shown(FAMILY, 10)
    assert lines[2] == ["prose", "62m", "1", "done", "2,000,000", "2,000,000", "3.2500"]
    assert lines[3] == ["prose", "62m", "2", "training", "500,000", "2,000,000", "4.5000", "1,000", "0:25:00"]
    assert lines[4] == ["[code]", "62m", "1", "failed", "8,000", "2,000,000", "9.0000"]
    assert lines[5] == ["[code]", "62m", "2", "waiting", "0", "2,000,000"]
    assert summary(FAMILY) == "4 runs: 1 done, 1 waiting, 1 failed, 1 training; about 1:01:40 left"


def test_on_80_columns_names_can_be_told_apart_and_nothing_is_cut() -> None:
    long = ("a_mixture_of_prose_with_much_code", "a_mixture_of_prose_with_much_news")
    runs = [run(name, 1, "training", tokens=500_000, loss=4.5, seconds_left=1500.0) for name in long]
    console = Console(width=80, record=True)
    with console.capture() as capture:
        console.print(run_table(FamilyProgress(tuple(runs), None), 10, 80))
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    assert lines[2] == ["a_mixture_o…th_much_code", "62m", "1", "training", "25%", "4.5000", "0:25:00"]
    assert lines[3][0] == "a_mixture_o…th_much_news"
    assert shortened("short", 5) == "short" and len(shortened("longer", 5)) == 5


def test_runs_at_work_come_first_where_there_is_no_room() -> None:
    runs = (*(run("even", seed, "done") for seed in range(20)), run("even", 20, "training"))
    lines = shown(FamilyProgress(runs, None), 4)
    assert [line[2] for line in lines[2:6]] == ["0", "1", "2", "20"]
    assert lines[6][-3:] == ["and", "17", "more"]


def test_a_log_tells_each_end_once_and_what_runs_do_now_and_then() -> None:
    log = RunLines()
    failed = "[code] × 62m × seed 1: failed: step 3: the loss is nan; 8,000 of 2,000,000 tokens, loss 9.0000"
    assert list(log.lines(FAMILY, 100.0)) == [failed]
    assert list(log.lines(FAMILY, 159.0)) == []
    assert list(log.lines(FAMILY, 160.0)) == [
        "prose × 62m × seed 2: training; 500,000 of 2,000,000 tokens, loss 4.5000, 1,000 tokens/s, 0:25:00 left",
        f"train: {summary(FAMILY)}",
    ]
