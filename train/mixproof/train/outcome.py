"""How the runs of a spec ended: what their folders say, without training any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mixproof.ledger.location import CHECKPOINTS
from mixproof.ledger.manifest import CIRCUMSTANCES
from mixproof.ledger.store import Store

from .finished import failed_record, finished_record
from .record import TRAIN, RunRecord
from .request import RunRequest


@dataclass(frozen=True)
class RunOutcome:
    """How one run of the family ended."""

    mixture: str
    proxy: str
    seed: int
    key: str
    folder: str
    """Absolute path of the run's folder on this machine: the run itself, or its copy without checkpoints."""
    location: str
    """Where the run is: its folder, or a URL."""
    record: RunRecord | None
    """None where there is none; then `reason` says why. Of status `failed` where the training itself failed."""
    reason: str | None
    """Why it failed; None when it is done."""
    resumed_from_samples: int
    """Where the attempt that finished it started; 0 for the beginning."""
    reused: bool
    """Whether it was finished before this command."""

    @property
    def done(self) -> bool:
        """Whether the run went to its end."""
        return self.record is not None and self.record.status == "done"


def find_outcomes(requests: Sequence[RunRequest]) -> list[RunOutcome]:
    """Look at the runs without training any."""
    return [outcome_of(request, reused=True) for request in requests]


def outcome_of(request: RunRequest, *, reason: str | None = None, reused: bool = False) -> RunOutcome:
    """Read how a run ended from its folder; `reason` is why it broke off, where it did."""
    store = Store(request.store)
    place = f"{TRAIN}/{request.key}"
    folder = store.fetch(place, without=CHECKPOINTS)
    record = finished_record(store, request) or failed_record(store, request)
    if reason is None:
        reason = "not trained yet" if record is None else record.reason
    resumed = 0
    if record is not None and (folder / CIRCUMSTANCES).is_file():
        resumed = int(json.loads((folder / CIRCUMSTANCES).read_bytes())["resumed_from_samples"])
    return RunOutcome(
        mixture=request.mixture,
        proxy=request.proxy,
        seed=request.seed,
        key=request.key,
        folder=str(folder),
        location=store.location(place),
        record=record,
        reason=reason,
        resumed_from_samples=resumed,
        reused=reused and record is not None and record.status == "done",
    )
