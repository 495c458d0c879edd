"""What a line about a stage says, by numbers computed by hand."""

from __future__ import annotations

from mixproof.cli.progress.stage_line import StageState, duration, finished_line, running_line, seconds_left, size
from mixproof.cli.progress.stages import FUZZY, TRAIN
from mixproof.pipeline.cluster.task_progress import TaskProgress

GB = 10**9


def test_a_line_says_stage_bytes_speed_and_time_left() -> None:
    part = TaskProgress("minhash", 25, 100, 31 * GB // 10, 124 * GB // 10)
    state = StageState(FUZZY, 5, 11, part, seconds=80.0)
    # 3.1 GB in 80 s are 38.75 MB/s; the other 9.3 GB take 240 s
    assert running_line(state) == "stage 5 of 11, fuzzy deduplication: 3.1 of 12.4 GB, 38.8 MB/s, about 4 min left"


def test_neither_speed_nor_time_is_guessed_from_nothing() -> None:
    nothing = TaskProgress("minhash", 0, 4, 0, 8 * GB)
    assert running_line(StageState(FUZZY, 5, 11, nothing, 60.0)) == "stage 5 of 11, fuzzy deduplication: 0 of 8 GB"
    assert seconds_left(TaskProgress("train", 1, 3), 1.0) is None, "after a second"
    assert seconds_left(TaskProgress("train", 3, 3), 60.0) is None, "nothing is left"
    assert seconds_left(TaskProgress("train", 1, 3), 60.0) == 120.0


def test_what_has_no_bytes_is_counted_by_its_own_name() -> None:
    runs = StageState(TRAIN, 12, 13, TaskProgress("train", 2, 6), 120.0)
    assert running_line(runs) == "stage 12 of 13, training: 2 of 6 runs"
    other = StageState("warm", None, 0, TaskProgress("warm", 2, 6), 1.0)
    assert running_line(other) == "warm: 2 of 6 tasks"


def test_the_start_of_ray_is_said_from_the_first_second() -> None:
    state = StageState("start", None, 11, TaskProgress("start", 0, 1), 0.0)
    assert running_line(state) == "starting Ray: 0 s"


def test_a_finished_stage_says_how_much_it_did_and_how_long_it_took() -> None:
    done = StageState(FUZZY, 5, 11, TaskProgress("minhash", 4, 4, 124 * GB // 10, 124 * GB // 10), 310.0)
    assert finished_line(done) == "stage 5 of 11, fuzzy deduplication: 12.4 GB in 5 min (40 MB/s)"
    short = StageState(FUZZY, 5, 11, TaskProgress("minhash", 4, 4, 2_000, 2_000), 0.4)
    assert finished_line(short) == "stage 5 of 11, fuzzy deduplication: 2 KB in 0 s"
    runs = StageState(TRAIN, 12, 13, TaskProgress("train", 6, 6), 7300.0)
    assert finished_line(runs) == "stage 12 of 13, training: finished in 2.0 h"


def test_sizes_and_times_have_the_precision_of_estimates() -> None:
    assert [size(value) for value in (0, 999, 1_500, 48e6, 3.14e9, 2e12)] == [
        "0 bytes",
        "999 bytes",
        "1.5 KB",
        "48 MB",
        "3.1 GB",
        "2 TB",
    ]
    assert [duration(value) for value in (0.4, 59, 60, 3_599, 9_000, 200 * 3600)] == [
        "0 s",
        "59 s",
        "1 min",
        "60 min",
        "2.5 h",
        "8 days",
    ]
