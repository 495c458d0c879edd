"""Training loss by source: hand-computed sums, and what a run's metrics say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from mixproof.ledger.store import Store
from mixproof.tokenize.audit.report import Checks
from mixproof.train.audit.scores import check_metrics
from mixproof.train.distributed import Ranks
from mixproof.train.loop.metrics import read_metrics
from mixproof.train.loop.run import train_run
from mixproof.train.loop.source_losses import SourceLosses
from mixproof.train.record import run_folder
from mixproof.train.request import RunRequest

ALONE = Ranks(rank=0, size=1, device=torch.device("cpu"))


def test_means_are_over_the_targets_that_count() -> None:
    losses = SourceLosses(["code", "manual", "notes"], ALONE.device)
    counts = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    losses.add(torch.tensor([0, 1]), torch.tensor([[1.0, 2.0], [5.0, 0.0]]), counts)
    losses.add(torch.tensor([0]), torch.tensor([[3.0, 6.0]]), torch.ones(1, 2))
    assert losses.means(ALONE) == ({"code": 3.0, "manual": 5.0}, {"code": 4, "manual": 1})


def test_a_source_without_targets_in_the_step_is_left_out() -> None:
    losses = SourceLosses(["code"], ALONE.device)
    losses.add(torch.tensor([0]), torch.zeros(1, 2), torch.zeros(1, 2))
    assert losses.means(ALONE) == ({}, {})


def test_the_sources_of_a_run_add_up_to_its_loss_and_to_what_was_delivered(
    make_request: Callable[..., RunRequest],
) -> None:
    request = make_request(micro_batch_size=3)
    record = train_run(request)
    targets: Counter[str] = Counter()
    for row in read_metrics(run_folder(Store(request.store), request.key)):
        assert sum(row.targets_of.values()) == 4 * 32
        total = sum(loss * row.targets_of[source] for source, loss in row.loss_of.items())
        assert total / (4 * 32) == pytest.approx(row.loss, rel=1e-6)
        targets.update(row.targets_of)
    assert targets == {"guide": 256, "manual": 768}
    assert targets == {source: delivered.tokens for source, delivered in record.delivered.items()}


def test_a_weight_makes_targets_count_in_the_loss_and_nowhere_else(make_request: Callable[..., RunRequest]) -> None:
    plain = make_request(micro_batch_size=3)
    weighted = plain.model_copy(update={"loss_weights": {"guide": "3", "manual": "0.5"}})
    assert weighted.key != plain.key
    records = [train_run(request) for request in (plain, weighted)]
    folders = [run_folder(Store(request.store), request.key) for request in (plain, weighted)]
    unweighted, rows = (read_metrics(folder) for folder in folders)
    assert rows[0].loss_of == pytest.approx(unweighted[0].loss_of, rel=1e-6)
    for row, other in zip(rows, unweighted, strict=True):
        assert row.targets_of == other.targets_of
        counts = {"guide": 3 * row.targets_of.get("guide", 0), "manual": row.targets_of.get("manual", 0) / 2}
        mean = sum(counts[source] * loss for source, loss in row.loss_of.items()) / sum(counts.values())
        assert row.loss == pytest.approx(mean, rel=1e-6)
    assert rows[-1].loss_of != pytest.approx(unweighted[-1].loss_of, rel=1e-6)
    assert records[0].delivered == records[1].delivered
    assert "loss_weights" not in records[0].model_dump()
    assert records[0].loss_shares() == {}
    shares = records[1].loss_shares()
    assert shares["guide"] == pytest.approx((3, 0.75 / 1.125, 768 / 1152, 768 / 1152))
    assert sum(share.delivered for share in shares.values()) == pytest.approx(1)
    checks = Checks()
    check_metrics(folders[1] / "metrics.jsonl", records[1], checks)
    assert checks.report("bytes").ok
    forged = records[1].model_copy(update={"loss_weights": {"guide": "2", "manual": "0.5"}})
    check_metrics(folders[1] / "metrics.jsonl", forged, checks)
    (failure,) = checks.report("bytes").failures
    assert failure.expected.startswith("a loss of")
