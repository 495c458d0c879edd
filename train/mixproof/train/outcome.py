"""How the runs of a spec ended, read from their folders without training any."""

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

INTERRUPTED = "interrupted: "
"""Start of the reason of a run that Ray lost: nothing is known to be wrong with the run, and it resumes."""


@dataclass(frozen=True)
class RunOutcome:
    """How one run of a spec ended."""

    mixture: str
    proxy: str
    seed: int
    key: str
    folder: str
    """Absolute path on this machine of the run's folder, or of its copy without checkpoints."""
    location: str
    """Location of the run: its folder, or a URL."""
    record: RunRecord | None
    """None: there is none, and `reason` says why. Its status is `failed` if the training itself failed."""
    reason: str | None
    """Why the run failed; None: it is done."""
    resumed_from_samples: int
    """Samples consumed when the last attempt started; 0: it started at the beginning."""
    reused: bool
    """Whether the run was finished before this command."""

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.record is not None and self.record.status == "done"

    @property
    def interrupted(self) -> bool:
        """Whether the run stopped because Ray or its machine died, and not because the training failed."""
        return self.record is None and self.reason is not None and self.reason.startswith(INTERRUPTED)


def find_outcomes(requests: Sequence[RunRequest]) -> list[RunOutcome]:
    """Read how the runs ended, without training any."""
    return [outcome_of(request, reused=True) for request in requests]


def outcome_of(request: RunRequest, *, reason: str | None = None, reused: bool = False) -> RunOutcome:
    """Read how a run ended from its folder; `reason` says why it stopped early, if it did."""
    store = Store(request.store)
    run = f"{TRAIN}/{request.key}"
    folder = store.fetch(run, without=CHECKPOINTS)
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
        location=store.location(run),
        record=record,
        reason=reason,
        resumed_from_samples=resumed,
        reused=reused and record is not None and record.status == "done",
    )
