"""Objectives with tasks: parts, signal-to-noise ratios, and what a winner trades away. Numbers computed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.mixture import Objective
from mixproof.train.compare.compare import compare
from mixproof.train.compare.comparison import Comparison
from mixproof.train.compare.task_scores import TaskScore

if TYPE_CHECKING:
    from .conftest import MakeRun

TASK = "tasks.quiz"


def wrong(*answers: int) -> TaskScore:
    """One run's wrong answers."""
    return TaskScore(np.array(answers, np.float64), np.ones(len(answers)), "wrong answers")


def compared(
    make_run: MakeRun,
    objective: Objective,
    quiz: Mapping[str, Sequence[TaskScore]],
    bits: Mapping[str, Sequence[float]],
) -> Comparison:
    """Compare mixtures by English bits per byte and a quiz, one value per seed."""
    runs = [
        make_run(name, seed, {"english": value})
        for name, own in bits.items()
        for seed, value in enumerate(own, start=1)
    ]
    tasks = {run.key: {TASK: quiz[run.mixture][run.seed - 1]} for run in runs if len(quiz[run.mixture]) >= run.seed}
    return compare(runs, objective, tasks=tasks, anchor="even")


BITS = {"even": (1.0, 1.002), "wordy": (0.8, 0.803)}
BOTH = Objective.model_validate({"heldout_bpb": {"english": 3}, "tasks": {"quiz": {"score": "accuracy"}}})


def test_an_objective_is_the_weighted_mean_of_sources_and_tasks(make_run: MakeRun) -> None:
    quiz = {"even": [wrong(0, 0, 0, 1)] * 2, "wordy": [wrong(1, 1, 0, 1)] * 2}
    found = compared(make_run, BOTH, quiz, BITS)
    ranking = found.groups[0].rankings["nano"]
    best, second = ranking.rows
    assert (best.mixture, second.mixture) == ("wordy", "even")
    assert best.mean == pytest.approx((3 * 0.8015 + 0.75) / 4) and second.mean == pytest.approx((3 * 1.001 + 0.25) / 4)
    assert best.parts == pytest.approx({"english": 0.8015, TASK: 0.75})
    assert ranking.unit == "bits per byte and wrong answers"
    assert found.objective == (
        "mean of held-out bits per byte weighted by english 3, and of tasks weighted by quiz 1 (1 - accuracy)"
    )
    # english: means .1995 apart, seeds sqrt((.002^2 + .003^2) / 2 / 2) = .0018028
    assert ranking.parts[0].found.ratio == pytest.approx(0.1995 / 0.0018028, rel=1e-4)


def test_the_winner_is_said_to_trade_away_a_part_on_which_it_is_worse_than_the_anchor(make_run: MakeRun) -> None:
    quiz = {"even": [wrong(*[0] * 97, 1, 1, 1), wrong(*[0] * 98, 1, 1)], "wordy": [wrong(*[0] * 80, *[1] * 20)] * 2}
    objective = BOTH.model_copy(update={"heldout_bpb": {"english": 20}})
    bits = {"even": (1.0, 1.002, 1.001), "wordy": (0.8, 0.803, 0.801)}
    found = compared(make_run, objective, {name: [*own, own[0]] for name, own in quiz.items()}, bits)
    ranking = found.groups[0].rankings["nano"]
    assert ranking.winner == "wordy"
    [trade] = ranking.traded
    # 20% of the answers are wrong against 3%, 2% and 3%
    assert trade.part == TASK and trade.difference == pytest.approx(0.2 - 0.08 / 3) and trade.half_width < 0.1
    assert "; it wins by trading away tasks.quiz (0.1733 ±" in found.verdict
    assert found.verdict.endswith("worse), compared with even")


def test_a_task_whose_noise_hides_its_signal_does_not_enter_unless_it_is_forced(make_run: MakeRun) -> None:
    quiz = {"even": [wrong(0, 0, 0, 1), wrong(1, 1, 0, 1)], "wordy": [wrong(1, 1, 0, 1), wrong(0, 0, 1, 0)]}
    ranking = compared(make_run, BOTH, quiz, BITS).groups[0].rankings["nano"]
    assert ranking.rows[0].mean == pytest.approx(0.8015) and [part.weight for part in ranking.parts] == [1, 0]
    assert ranking.parts[1].found.ratio == 0 and ranking.unit == "bits per byte"
    notes = compared(make_run, BOTH, quiz, BITS).notes
    assert any(
        "tasks.quiz does not enter the objective: its signal-to-noise ratio is 0.00, below 2" in n for n in notes
    )
    forced = compared(make_run, BOTH.model_copy(update={"force": ("quiz",)}), quiz, BITS).groups[0].rankings["nano"]
    assert [part.weight for part in forced.parts] == [0.75, 0.25]
    with pytest.raises(RequestError, match="no score may enter the objective: tasks.quiz"):
        compared(make_run, Objective.model_validate({"tasks": {"quiz": {"score": "accuracy"}}}), quiz, BITS)


def test_a_bound_that_is_given_holds_for_held_out_sets_as_well(make_run: MakeRun) -> None:
    objective = Objective.model_validate({"heldout_bpb": {"english": 1}, "least_signal_to_noise": 200})
    with pytest.raises(RequestError, match="english does not enter the objective: its signal-to-noise ratio is 110.66"):
        compared(make_run, objective, {"even": [], "wordy": []}, BITS)


def test_a_run_without_scores_on_a_task_is_excluded_with_the_remedy(make_run: MakeRun) -> None:
    quiz = {"even": [wrong(0, 0, 1)] * 2, "wordy": [wrong(1, 1, 1)]}
    found = compared(make_run, BOTH, quiz, BITS)
    assert [(run.mixture, run.seed) for run in found.failed] == [("wordy", 2)]
    assert found.failed[0].reason == "has no scores on quiz; `mixproof train` scores finished runs"
    assert found.groups[0].rankings["nano"].seeds == (1,)
