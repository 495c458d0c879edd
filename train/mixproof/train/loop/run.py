"""Train one run from where it stands to its end: a plain function that a Ray task, a test or a shell can call.

A run starts at the newest whole checkpoint that it finds, trains to its budget's samples (never by the clock),
scores every held-out set, replays what was delivered, and writes `run.json` last; a finished run is returned as it
is. Its folder is `<store>/train/<key>/`. Checkpoints are written where the spec asks for them and at the end, and in
between every few minutes one that the next replaces, so that a killed run loses minutes even where the spec asks
for none; when they are written has no influence on the result.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mixproof.ledger.errors import RequestError, TrainingError
from mixproof.ledger.fingerprint import canonical_json
from mixproof.ledger.manifest import CIRCUMSTANCES
from mixproof.ledger.store import Store, publish_bytes
from mixproof.train.checkpoint.checkpoint import load_checkpoint, remove_checkpoints, remove_scratch, save_checkpoint
from mixproof.train.checkpoint.initial import start_from
from mixproof.train.checkpoint_files import FILES, whole_checkpoints
from mixproof.train.data.blend import Blend
from mixproof.train.data.streams import streams_of
from mixproof.train.distributed import Ranks, process_group
from mixproof.train.evaluate.evaluate import Scores
from mixproof.train.finished import finished_record
from mixproof.train.model.micro_batch import steps_of
from mixproof.train.model.state import TrainingState, build_state
from mixproof.train.ownership import ATTEMPT, Ownership
from mixproof.train.record import IDENTITY, RUN, TRAIN, RunRecord, read_run, write_run
from mixproof.train.request import RunRequest

from .circumstances import machine, rate, times
from .conclude import make_record, save_index, save_scores, score_heldout
from .evaluations import add_evaluation, evaluation_of, take_over_evaluations
from .incidents import INCIDENTS, documents_of, name_documents, phase_starts_of, write_incidents
from .journal import Journal
from .metrics import METRICS, StepMetrics, first_lines, read_metrics
from .spikes import SpikeWatch
from .trainer import Trainer
from .trunk import FoundTrunk, find_trunk, leave_trunk, trunks_of

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
    with _threads(request), process_group(request.device) as ranks:
        run = _Run(request, store, ranks)
        try:
            run.train(on_step)
        except TrainingError as error:
            return run.conclude(str(error))
        return run.conclude()


class _Run:
    """One attempt at a run, in its folder."""

    def __init__(self, request: RunRequest, store: Store, ranks: Ranks) -> None:
        self._request, self._store, self._ranks = request, store, ranks
        self._place = f"{TRAIN}/{request.key}"
        _check_machines(store, ranks)
        self._folder = store.restore(self._place) if ranks.first else store.fetch(self._place)
        self._ownership = Ownership(self._folder, ranks.agree(uuid.uuid4().hex))
        self._started = time.time()
        self._seconds_training = 0.0
        self._seconds_evaluating = 0.0
        if ranks.first:
            self._ownership.take()
            store.upload(f"{self._place}/{ATTEMPT}")
            remove_scratch(self._folder)
            publish_bytes(canonical_json(request.identity), self._folder / IDENTITY)
        ranks.barrier()
        self._blend = Blend(streams_of(request), request.budget)
        self._index = save_index(self._blend, self._folder) if ranks.first else {}
        self._branched_from: FoundTrunk | None = None
        self._state = self._resumed_state()
        self._resumed_from = self._state.consumed_samples
        self._step = self._resumed_from // request.budget.global_batch_size
        """The step that was begun last, from 1."""

    def train(self, on_step: Callable[[StepMetrics], None] | None) -> None:
        """Take every step that is left, and leave the last checkpoint."""
        trainer = self._trainer()
        log = self._open_journal()
        watch = self._spike_watch()
        last_saved, started = time.monotonic(), time.monotonic()
        try:
            while self._state.consumed_samples < self._request.budget.samples:
                self._step += 1
                metrics = trainer.step()
                if log is not None:
                    log.append(metrics)
                if on_step is not None and self._ranks.first:
                    on_step(metrics)
                watch.see(metrics)
                if watch.diverged:
                    raise TrainingError(
                        f"step {metrics.step}: the loss, {metrics.loss:.4g} now, has not come back in {watch.in_a_row} "
                        "steps; a lower learning rate, a longer warm-up or a smaller clip may help"
                    )
                self._evaluate_where_asked()
                if self._is_due(time.monotonic() - last_saved):
                    self._save(log)
                    last_saved = time.monotonic()
        finally:
            self._seconds_training = time.monotonic() - started - self._seconds_evaluating
            if log is not None:
                log.close()

    def _evaluate_where_asked(self) -> None:
        """Score the held-out sets where the spec asks for it; the end is scored when the run is concluded."""
        request, samples = self._request, self._state.consumed_samples
        every = request.evaluate_steps
        if every is None or samples == request.budget.samples or samples % (every * request.budget.global_batch_size):
            return
        started = time.monotonic()
        self._write_evaluation(score_heldout(request, self._state, self._ranks)[0])
        self._seconds_evaluating += time.monotonic() - started

    def _write_evaluation(self, scores: list[Scores]) -> None:
        if self._ranks.first and self._request.evaluate_steps is not None and scores:
            length = self._request.budget.sequence_length
            add_evaluation(self._ownership, evaluation_of(self._state.consumed_samples, length, scores))

    def conclude(self, reason: str | None = None) -> RunRecord:
        """Score, replay and write the record; a run that failed (`reason`) is not scored."""
        if reason is not None:
            documents = documents_of(self._request, self._folder, self._step)
            reason = f"{reason}. Its batch read {name_documents(documents)}; {INCIDENTS} names them"
        started = time.monotonic()
        scores, lossless = ([], False) if reason else score_heldout(self._request, self._state, self._ranks)
        self._seconds_evaluating += time.monotonic() - started
        self._write_evaluation(scores)
        if self._ranks.first:
            self._write_record(scores, lossless, reason)
        self._ranks.barrier()
        return read_run(self._folder / RUN)

    def _write_record(self, scores: list[Scores], lossless: bool, reason: str | None) -> None:
        save_scores(self._folder, scores, self._ownership)
        write_incidents(self._request, self._folder, self._step if reason is not None else None)
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
        trained = self._state.consumed_samples - self._resumed_from
        circumstances = {
            "attempt": self._ownership.name,
            **times(self._started, self._seconds_training, self._seconds_evaluating),
            "tokens_per_second": rate(trained * self._request.budget.sequence_length, self._seconds_training),
            "resumed_from_samples": self._resumed_from,
            "branched_from": self._branched_from.folder.name if self._branched_from is not None else None,
            "layers": self._state.layers,
            **machine(self._ranks),
        }
        publish_bytes(canonical_json(circumstances), self._folder / CIRCUMSTANCES)
        self._store.mirror(self._place, last=(FILES,))
        write_run(self._store, record)

    def _check_ownership(self) -> None:
        """Look who is the latest attempt, on an object store by its own copy."""
        self._store.fetch(f"{self._place}/{ATTEMPT}")
        self._ownership.check()

    def _resumed_state(self) -> TrainingState:
        state = build_state(self._request, self._ranks)
        newest = whole_checkpoints(self._folder)[-1:]
        if path := self._ranks.agree(str(newest[0]) if newest else self._trunk(state)):
            load_checkpoint(Path(path), state, self._ranks)
        elif (initial := self._request.init_from) is not None:
            start_from(state.model, state.optimizer, initial, self._request.shape, self._request.tokenizer.vocab_size)
        return state

    def _trunk(self, state: TrainingState) -> str:
        """Checkpoint of the trunk that this run goes on from; the metrics up to there become its own."""
        self._branched_from = find_trunk(self._request, state.dtype) if self._ranks.first else None
        if self._branched_from is None:
            return ""
        self._ownership.check()
        steps = self._branched_from.samples // self._request.budget.global_batch_size
        publish_bytes(first_lines(self._branched_from.folder / METRICS, steps), self._folder / METRICS)
        take_over_evaluations(self._branched_from.folder, self._branched_from.samples, self._folder)
        return str(self._branched_from.checkpoint)

    def _trainer(self) -> Trainer:
        return Trainer(self._state, self._blend, steps_of(self._request, self._ranks), self._ranks)

    def _spike_watch(self) -> SpikeWatch:
        """A watch that has seen every step up to here."""
        watch = SpikeWatch(phase_starts_of(self._request))
        for metrics in read_metrics(self._folder)[: self._step]:
            watch.see(metrics)
        return watch

    def _open_journal(self) -> Journal | None:
        if not self._ranks.first:
            return None
        return Journal(self._request, self._ranks, self._ownership, self._state.consumed_samples)

    def _is_due(self, seconds_since_last: float) -> bool:
        if self._is_declared(self._state.consumed_samples):
            return True
        return self._ranks.agree("save" if seconds_since_last > ROLLING_SECONDS else "") == "save"

    def _is_declared(self, samples: int) -> bool:
        """Whether the spec asks for a checkpoint at `samples`."""
        budget = self._request.budget
        every = budget.checkpoint_steps
        if samples == budget.samples or samples in {trunk.samples for trunk in trunks_of(self._request)}:
            return True
        return every is not None and samples % (every * budget.global_batch_size) == 0

    def _save(self, log: Journal | None) -> None:
        if log is not None:
            log.sync()
            self._check_ownership()
        newest = save_checkpoint(self._folder, self._state, self._ranks, self._ownership)
        if self._ranks.first:
            older = [path for path in whole_checkpoints(self._folder) if path.name < newest.name]
            remove_checkpoints(self._superfluous(older))
            self._store.mirror(self._place, last=(FILES,))
            leave_trunk(self._request, self._state.consumed_samples)

    def _superfluous(self, older: list[Path]) -> list[Path]:
        """Which of the `older` checkpoints go: those that nobody asked for, and all but the newest few that stay."""
        keep = self._request.checkpoint_keep
        asked = {path: int(path.name.split("_")[1]) for path in older}
        declared = [path for path in older if self._is_declared(asked[path])]
        kept = declared if keep is None else declared[max(0, len(declared) - keep + 1) :]  # the new one counts
        trunks = {trunk.samples for trunk in trunks_of(self._request)}
        return [path for path in older if path not in kept and asked[path] not in trunks]


def _check_machines(store: Store, ranks: Ranks) -> None:
    """Refuse ranks on several machines where each would write its part of a checkpoint into copies of its own."""
    first, here = ranks.agree(socket.gethostname()), socket.gethostname()
    if store.is_remote and first != here:
        raise RequestError(
            f"{store}: ranks on {first} and {here} have no folder in common to write a checkpoint into; give a --store "
            "that both see as a folder, or a proxy as many `ranks` as one machine has room for"
        )


@contextmanager
def _threads(request: RunRequest) -> Iterator[None]:
    """On a CPU one thread a processor set aside: runs share the machine side by side, and sums keep one order."""
    before = torch.get_num_threads()
    if request.device == "cpu":
        torch.set_num_threads(request.resources.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
