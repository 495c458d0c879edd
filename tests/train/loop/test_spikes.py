"""Spikes are told from noise, a run that is lost from a bad batch, and the batch is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from mixproof.ledger.store import Store
from mixproof.train.data.trace import trace_step
from mixproof.train.loop.incidents import INCIDENTS, documents_of
from mixproof.train.loop.metrics import StepMetrics
from mixproof.train.loop.run import train_run
from mixproof.train.loop.spikes import DIVERGED, MIN_STEPS, SpikeWatch, find_spikes
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest


def steps_of(losses: Sequence[float]) -> list[StepMetrics]:
    return [
        StepMetrics(step=i, samples=i, tokens=i, loss=loss, lr=0.1, grad_norm=1.0, loss_of={}, targets_of={})
        for i, loss in enumerate(losses, start=1)
    ]


def falling(count: int) -> list[float]:
    noise = np.random.default_rng(1).normal(0, 0.05, count)
    return [float(3 + 7 * np.exp(-i / 40) + noise[i]) for i in range(count)]


def test_a_noisy_falling_loss_has_no_spikes() -> None:
    assert find_spikes(steps_of(falling(500))) == []


def test_a_single_spike_is_found_and_forgotten() -> None:
    losses = falling(200)
    losses[150] += 2
    (spike,) = find_spikes(steps_of(losses))
    assert (spike.step, spike.loss) == (151, losses[150])
    assert spike.limit < losses[150]


def test_a_loss_that_does_not_come_back_has_diverged() -> None:
    watch = SpikeWatch()
    rows = steps_of([*falling(100), *([9.0] * DIVERGED)])
    for metrics in rows[:-1]:
        watch.add(metrics)
        assert not watch.diverged
    watch.add(rows[-1])
    assert watch.diverged


def test_a_phase_of_harder_text_is_no_spike() -> None:
    rows = steps_of([*([3.0] * 40), *([6.0] * 40)])
    assert find_spikes(rows, phase_starts=[1, 41]) == []
    assert [spike.step for spike in find_spikes(rows)] == list(range(41, 81))


def test_the_first_steps_are_not_judged() -> None:
    assert find_spikes(steps_of([3.0] * (MIN_STEPS - 1) + [30.0])) == []
    assert len(find_spikes(steps_of([3.0] * MIN_STEPS + [30.0]))) == 1


def test_a_run_that_fails_names_the_documents_of_its_batch(make_request: Callable[..., RunRequest]) -> None:
    failing = make_request(steps=6, lr="1e30")
    record = train_run(failing)
    assert record.status == "failed" and record.reason is not None
    step = record.steps + 1
    folder = run_folder(Store(failing.store), failing.key)
    incident = json.loads((folder / INCIDENTS).read_bytes())["incidents"][-1]
    assert (incident["kind"], incident["step"]) == ("failed", step)
    first = incident["documents"][0]
    assert f"{first['source']}: {first['file']}#{first['record']}" in record.reason
    assert INCIDENTS in record.files
    # the same documents as the trace of the same batch in a run that went well
    good = make_request(steps=6)
    train_run(good)
    traced = trace_step(run_folder(Store(good.store), good.key), step)
    expected = {(piece.document.source, piece.document.id) for sample in traced.samples for piece in sample.pieces}
    assert {(found["source"], found["id"]) for found in documents_of(Store(good.store), good, folder, step)} == expected
