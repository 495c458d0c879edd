"""Held-out scores while a run trains."""

from __future__ import annotations

from collections.abc import Callable

from mixproof.ledger.store import Store
from mixproof.train.loop.evaluations import read_evaluations
from mixproof.train.loop.run import train_run
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]


def test_the_held_out_sets_are_scored_where_the_spec_asks_for_it(make_request: MakeRequest) -> None:
    plain = make_request(place="plain")
    request = make_request(evaluate_steps=3)
    record = train_run(request)
    folder = run_folder(Store(request.store), request.key)
    found = read_evaluations(folder)
    assert [(line.samples, line.tokens) for line in found] == [(12, 384), (24, 768), (32, 1024)]
    assert found[-1].loss == {name: score.loss for name, score in record.heldout.items()}
    assert found[-1].bits_per_byte == {name: score.bits_per_byte for name, score in record.heldout.items()}
    assert found[0].loss["manual"] > found[1].loss["manual"] > found[2].loss["manual"]
    # scoring changes nothing that is trained, but a run that leaves its scores is another than one that does not
    undisturbed = train_run(plain)
    assert undisturbed.heldout == record.heldout
    assert undisturbed.files["metrics.jsonl"] == record.files["metrics.jsonl"]
    assert plain.key != request.key
    assert "evaluations.jsonl" in record.files
    assert "evaluations.jsonl" not in undisturbed.files


def test_scores_of_steps_that_are_done_again_replace_the_first(make_request: MakeRequest) -> None:
    request = make_request(evaluate_steps=1, checkpoint_steps=2)
    record = train_run(request)
    folder = run_folder(Store(request.store), request.key)
    (folder / "run.json").unlink()
    for samples in (24, 32):  # the checkpoint at 16 samples is left, and scores of later steps are there
        (folder / f"checkpoints/iter_{samples:012d}/files.json").unlink()
    assert train_run(request).to_bytes() == record.to_bytes()
    assert [line.samples for line in read_evaluations(folder)] == list(range(4, 33, 4))
