"""Train one run from where it stands to its end: a plain function that a Ray task, a test or a shell can call.

A run starts at the newest whole checkpoint that it finds, trains to its budget's samples (never by the clock),
scores every held-out set, replays what was delivered, and writes `run.json` last; a finished run is returned as it
is. Its folder is `<store>/train/<key>/`. Checkpoints are written where the spec asks for them and at the end, and in
between every few minutes one that the next replaces, so that a killed run loses minutes even where the spec asks
for none; when they are written has no influence on the result.
"""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import torch

from mixproof.ledger.errors import TrainingError
from mixproof.ledger.fingerprint import canonical_json
from mixproof.ledger.store import Store, publish_bytes

from .blend import Blend
from .checkpoint import (
    FILES,
    checkpoint_files,
    checkpoint_path,
    load_checkpoint,
    remove_checkpoints,
    remove_scratch,
    save_checkpoint,
    whole_checkpoints,
)
from .distributed import Ranks, process_group
from .evaluate import Scores
from .metrics import MetricsLog, StepMetrics
from .ownership import ATTEMPT, Ownership
from .record import IDENTITY, RUN, TRAIN, RunRecord, read_run, run_folder, write_run
from .request import RunRequest
from .state import TrainingState, build_state
from .statement import make_record, save_index, save_scores, score_heldout
from .streams import Stream
from .trainer import Trainer, plan_steps

CIRCUMSTANCES = "circumstances.json"
ROLLING_SECONDS = 300.0
"""Longest time between checkpoints."""


def train_run(request: RunRequest, on_step: Callable[[StepMetrics], None] | None = None) -> RunRecord:
    """Train a run to its end, or return its record where it is finished.

    A run whose loss is no number any more ends with a record of status `failed`; it is tried again when it is asked
    for again.

    Args:
        request: the run.
        on_step: called after every step, on the first rank.

    Raises:
        SupersededError: when another attempt has taken the run over.
        AccountError: when an equation does not close.
        DamagedFileError: when a draw, a held-out set or the metrics are not whole.
    """
    store = Store(request.store)
    record = finished_record(store, request)
    if record is not None:
        return record
    with _threads(request.device), process_group(request.device) as ranks:
        run = _Run(request, store, ranks)
        try:
            run.train(on_step)
        except TrainingError as error:
            return run.conclude(str(error))
        return run.conclude()


def finished_record(store: Store, request: RunRequest) -> RunRecord | None:
    """Return the record of a run that is done and whose files are there, else None."""
    place = f"{TRAIN}/{request.key}"
    sizes = store.sizes(place)
    if RUN not in sizes:
        return None
    record = read_run(store.path(f"{place}/{RUN}"))
    whole = _is_whole(store, record)
    present = all(name in sizes for name in (IDENTITY, *record.files, *record.index))
    return record if record.status == "done" and whole and present else None


def _is_whole(store: Store, record: RunRecord) -> bool:
    """Whether the last checkpoint has its every file in full size; an object is there whole or not at all."""
    if store.is_remote:
        return True
    return checkpoint_files(checkpoint_path(run_folder(store, record.key), record.consumed_samples)) is not None


def failed_record(store: Store, request: RunRequest) -> RunRecord | None:
    """Return the record of a run whose training failed, else None."""
    path = store.path(f"{TRAIN}/{request.key}/{RUN}")
    record = read_run(path) if path.is_file() else None
    return record if record is not None and record.status == "failed" else None


class _Run:
    """One attempt at a run, in its folder."""

    def __init__(self, request: RunRequest, store: Store, ranks: Ranks) -> None:
        self._request, self._store, self._ranks = request, store, ranks
        self._place = f"{TRAIN}/{request.key}"
        self._folder = store.fetch(self._place)
        self._ownership = Ownership(self._folder, ranks.agree(uuid.uuid4().hex))
        self._started = time.time()
        self._seconds_training = 0.0
        if ranks.first:
            self._ownership.take()
            store.upload(f"{self._place}/{ATTEMPT}")
            remove_scratch(self._folder)
            publish_bytes(canonical_json(request.identity), self._folder / IDENTITY)
        ranks.barrier()
        self._blend = Blend(_streams(request, store), request.budget)
        self._index = save_index(self._blend, self._folder) if ranks.first else {}
        self._state = self._resumed_state()
        self._resumed_from = self._state.consumed_samples

    def train(self, on_step: Callable[[StepMetrics], None] | None) -> None:
        """Take every step that is left, and leave the last checkpoint."""
        trainer = self._trainer()
        log = self._open_metrics()
        last_saved, started = time.monotonic(), time.monotonic()
        try:
            while self._state.consumed_samples < self._request.budget.samples:
                metrics = trainer.step()
                if log is not None:
                    log.append(metrics)
                if on_step is not None and self._ranks.first:
                    on_step(metrics)
                if self._is_due(time.monotonic() - last_saved):
                    self._save(log)
                    last_saved = time.monotonic()
        finally:
            self._seconds_training = time.monotonic() - started
            if log is not None:
                log.close()

    def conclude(self, reason: str | None = None) -> RunRecord:
        """Score, replay and write the record; a run that failed (`reason`) is not scored."""
        scores, lossless = ([], False) if reason else score_heldout(self._request, self._state, self._ranks)
        if self._ranks.first:
            self._write_record(scores, lossless, reason)
        self._ranks.barrier()
        return read_run(self._folder / RUN)

    def _write_record(self, scores: list[Scores], lossless: bool, reason: str | None) -> None:
        save_scores(self._folder, scores, self._ownership)
        record = make_record(
            self._request,
            self._state,
            folder=self._folder,
            index=self._index,
            scores=scores,
            lossless=lossless,
            reason=reason,
        )
        self._check_ownership()
        publish_bytes(canonical_json(self._circumstances()), self._folder / CIRCUMSTANCES)
        self._store.mirror(self._place, last=(FILES,))
        write_run(self._store, record)

    def _check_ownership(self) -> None:
        """Look who is the latest attempt, on an object store by its own copy."""
        self._store.fetch(f"{self._place}/{ATTEMPT}")
        self._ownership.check()

    def _resumed_state(self) -> TrainingState:
        state = build_state(self._request, self._ranks)
        newest = whole_checkpoints(self._folder)[-1:]
        if path := self._ranks.agree(str(newest[0]) if newest else ""):
            load_checkpoint(Path(path), state, self._ranks)
        return state

    def _trainer(self) -> Trainer:
        request, budget = self._request, self._request.budget
        plan = plan_steps(
            global_batch_size=budget.global_batch_size,
            micro_batch_size=request.micro_batch_size,
            sequence_length=budget.sequence_length,
            clip=float(Fraction(request.recipe.clip)),
            ranks=self._ranks,
        )
        return Trainer(self._state, self._blend, plan, self._ranks)

    def _open_metrics(self) -> MetricsLog | None:
        if not self._ranks.first:
            return None
        steps_done = self._state.consumed_samples // self._request.budget.global_batch_size
        return MetricsLog(self._folder, self._ownership, steps_done)

    def _is_due(self, seconds_since_last: float) -> bool:
        if self._is_declared(self._state.consumed_samples):
            return True
        return self._ranks.agree("save" if seconds_since_last > ROLLING_SECONDS else "") == "save"

    def _is_declared(self, samples: int) -> bool:
        """Whether the spec asks for a checkpoint at `samples`."""
        budget = self._request.budget
        every = budget.checkpoint_steps
        return samples == budget.samples or (every is not None and samples % (every * budget.global_batch_size) == 0)

    def _save(self, log: MetricsLog | None) -> None:
        if log is not None:
            log.sync()
            self._check_ownership()
        newest = save_checkpoint(self._folder, self._state, self._ranks, self._ownership)
        if self._ranks.first:
            older = [path for path in whole_checkpoints(self._folder) if path.name < newest.name]
            remove_checkpoints([path for path in older if not self._is_declared(int(path.name.split("_")[1]))])
            self._store.mirror(self._place, last=(FILES,))

    def _circumstances(self) -> dict[str, object]:
        """What is true of this attempt and not of the run."""
        trained = (self._state.consumed_samples - self._resumed_from) * self._request.budget.sequence_length
        on_cuda = self._ranks.device.type == "cuda"
        return {
            "attempt": self._ownership.name,
            "started": datetime.fromtimestamp(self._started, UTC).isoformat(),
            "ended": datetime.now(UTC).isoformat(),
            "wall_milliseconds": int((time.time() - self._started) * 1000),
            "training_milliseconds": int(self._seconds_training * 1000),
            "tokens_per_second": int(trained / self._seconds_training) if self._seconds_training else 0,
            "resumed_from_samples": self._resumed_from,
            "ranks": self._ranks.size,
            "device": torch.cuda.get_device_name(self._ranks.device) if on_cuda else "cpu",
            "machine": platform.platform(),
            "versions": {name: version(name) for name in ("torch", "megatron-core", "numpy")},
        }


def _streams(request: RunRequest, store: Store) -> dict[str, Stream]:
    return {
        source: Stream(
            store.path(draw.prefix),
            draw,
            seed=request.seed,
            sequence_length=request.budget.sequence_length,
            masks=request.masks,
            eod_id=request.tokenizer.eod_id,
            vocab_size=request.tokenizer.vocab_size,
        )
        for source, draw in request.draws.items()
    }


@contextmanager
def _threads(device: str) -> Iterator[None]:
    """One thread on a CPU: runs share the machine side by side, and sums keep one order."""
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
