"""Train one run to its end: a plain function that a Ray task, a test or a shell can call.

A run starts from its newest complete checkpoint, trains to its budget's samples (never by the clock), scores every
held-out set, replays what was delivered, and writes `run.json` last. A finished run is returned as it is. Its folder
is `<store>/train/<key>/`. Checkpoints are saved at the steps that the spec declares and at the end. In between, one is
saved every few minutes and replaced by the next, so a killed run loses only minutes. When checkpoints are saved does
not affect the result.
"""

from __future__ import annotations

import logging
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
from mixproof.train.evaluate.example_values import example_values
from mixproof.train.evaluate.references import References
from mixproof.train.finished import finished_record
from mixproof.train.model.micro_batch import StepPlan, step_plan
from mixproof.train.model.state import TrainingState, build_state
from mixproof.train.ownership import ATTEMPT, Ownership
from mixproof.train.post_training.objective import objective_of
from mixproof.train.record import IDENTITY, RUN, TRAIN, RunRecord, read_run, write_run
from mixproof.train.request import RunRequest

from .circumstances import machine, tokens_per_second, wall_times
from .conclude import RunEnd, make_record, save_index
from .evaluations import add_evaluation, copy_evaluations, evaluation_of
from .heldout_scores import save_scores, score_heldout
from .incidents import INCIDENTS, documents_of, name_documents, phase_starts_of, write_incidents
from .journal import Journal
from .metrics import METRICS, StepMetrics, first_lines, read_metrics
from .retention import is_declared, superfluous
from .spikes import SpikeWatch
from .trainer import Trainer
from .trunk import FoundTrunk, find_trunk, publish_trunk

logger = logging.getLogger(__name__)

ROLLING_SECONDS = 300.0
"""Longest time between checkpoints."""


def train_run(request: RunRequest, on_step: Callable[[StepMetrics], None] | None = None) -> RunRecord:
    """Train a run to its end, or return its record if it is finished.

    A run whose loss is NaN, infinite or diverges ends with a record of status `failed`; the next call tries it again.

    Args:
        request: the run.
        on_step: called after every step, on rank 0.

    Raises:
        SupersededError: when another attempt has taken over the run.
        AccountError: when an equation does not close.
        DamagedFileError: when a draw, a held-out set or the metrics are damaged.
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
            logger.warning("%s: failed: %s", request.name, error)
            return run.conclude(str(error))
        return run.conclude()


class _Run:
    """One attempt at a run, in its folder."""

    def __init__(self, request: RunRequest, store: Store, ranks: Ranks) -> None:
        self._request, self._store, self._ranks = request, store, ranks
        self._location = f"{TRAIN}/{request.key}"
        """Of the run in the store."""
        _check_shared_folder(store, ranks)
        self._folder = store.restore(self._location) if ranks.first else store.fetch(self._location)
        self._ownership = Ownership(self._folder, ranks.agree(uuid.uuid4().hex))
        self._started = time.time()
        self._seconds_training = 0.0
        self._seconds_evaluating = 0.0
        if ranks.first:
            self._ownership.take()
            store.upload(f"{self._location}/{ATTEMPT}")
            remove_scratch(self._folder)
            publish_bytes(canonical_json(request.identity), self._folder / IDENTITY)
        ranks.barrier()
        self._references = References(store, request, ranks)
        values = example_values(store, request, self._references)
        self._blend = Blend(streams_of(store, request, values), request.budget)
        self._index = save_index(self._blend, self._folder) if ranks.first else {}
        self._branched_from: FoundTrunk | None = None
        self._state = self._resumed_state()
        self._resumed_from = self._state.consumed_samples
        self._step = self._resumed_from // request.budget.global_batch_size
        """The last step that was started, from 1."""

    def train(self, on_step: Callable[[StepMetrics], None] | None) -> None:
        """Train the remaining steps and save the last checkpoint."""
        request, state = self._request, self._state
        objective, phase = objective_of(request, state.model), self._enter_phase()
        trainer = Trainer(state, self._blend, self._step_plan(), self._ranks, objective)
        journal = self._open_journal()
        watch = self._spike_watch()
        last_saved, started = time.monotonic(), time.monotonic()
        try:
            while state.consumed_samples < request.budget.samples:
                if request.budget.phase_at(state.consumed_samples) != phase:
                    phase = self._enter_phase()
                    trainer.enter_phase(self._step_plan())
                self._step += 1
                metrics = trainer.step()
                if journal is not None:
                    journal.append(metrics)
                if on_step is not None and self._ranks.first:
                    on_step(metrics)
                self._watch_loss(watch, metrics)
                self._evaluate_if_due()
                if self._is_checkpoint_due(time.monotonic() - last_saved):
                    self._save(journal)
                    last_saved = time.monotonic()
        finally:
            self._seconds_training = time.monotonic() - started - self._seconds_evaluating
            if journal is not None:
                journal.close()

    def _enter_phase(self) -> int:
        """Set the rotary base of the phase of the next step, or of the last phase; return the phase."""
        budget = self._request.budget
        number = budget.phase_at(self._state.consumed_samples)
        self._state.model.rotary_pos_emb.use_base(budget.phases[number].rope_base or self._request.rope_base)
        return number

    def _step_plan(self) -> StepPlan:
        return step_plan(self._request, self._ranks, self._state.consumed_samples)

    def _watch_loss(self, watch: SpikeWatch, metrics: StepMetrics) -> None:
        """Log a spike; raise TrainingError when the run has diverged."""
        spike = watch.add(metrics)
        if spike is not None and self._ranks.first:
            logger.warning("%s: loss spike in step %d: %.4g", self._request.name, spike.step, spike.loss)
        if watch.diverged:
            raise TrainingError(
                f"step {metrics.step}: the loss has not recovered in {watch.in_a_row} steps and is {metrics.loss:.4g} "
                "now; try a lower learning rate, a longer warm-up or a smaller clip"
            )

    def _evaluate_if_due(self) -> None:
        """Score the held-out sets at the declared steps; `conclude` scores them at the end."""
        request, samples = self._request, self._state.consumed_samples
        every = request.evaluate_steps
        if every is None or samples == request.budget.samples or samples % (every * request.budget.global_batch_size):
            return
        started = time.monotonic()
        self._write_evaluation(self._score()[0])
        self._seconds_evaluating += time.monotonic() - started

    def _score(self) -> tuple[list[Scores], bool]:
        return score_heldout(self._store, self._request, self._state, self._ranks, self._references)

    def _write_evaluation(self, scores: list[Scores]) -> None:
        if self._ranks.first and self._request.evaluate_steps is not None and scores:
            length = self._request.budget.sequence_length
            evaluation = evaluation_of(self._state.consumed_samples, length, scores)
            add_evaluation(self._ownership, evaluation)
            logger.info("%s: evaluated after %d samples", self._request.name, evaluation.samples)

    def conclude(self, reason: str | None = None) -> RunRecord:
        """Score, replay and write the record; a failed run (`reason`) is not scored."""
        request = self._request
        if reason is not None:
            documents = documents_of(self._store, request, self._folder, self._step)
            reason = f"{reason}. The batch read {name_documents(documents)}; see {INCIDENTS} for all of them"
        started = time.monotonic()
        scores, lossless = ([], False) if reason else self._score()
        self._seconds_evaluating += time.monotonic() - started
        self._write_evaluation(scores)
        if self._ranks.first:
            self._write_record(scores, lossless, reason)
            logger.info("%s: %s, record in %s", request.name, "failed" if reason else "done", self._folder)
        self._ranks.barrier()
        return read_run(self._folder / RUN)

    def _write_record(self, scores: list[Scores], lossless: bool, reason: str | None) -> None:
        save_scores(self._folder, scores, self._ownership)
        write_incidents(self._store, self._request, self._folder, self._step if reason is not None else None)
        end = RunEnd(self._folder, self._index, scores, lossless, self._references.files, reason)
        record = make_record(self._request, self._state, end)
        self._check_ownership()
        publish_bytes(canonical_json(self._circumstances()), self._folder / CIRCUMSTANCES)
        self._store.mirror(self._location, last=(FILES,))
        write_run(self._store, record)

    def _circumstances(self) -> dict[str, object]:
        tokens = (self._state.consumed_samples - self._resumed_from) * self._request.budget.sequence_length
        return {
            "attempt": self._ownership.name,
            **wall_times(self._started, self._seconds_training, self._seconds_evaluating),
            "tokens_per_second": tokens_per_second(tokens, self._seconds_training),
            "resumed_from_samples": self._resumed_from,
            "branched_from": self._branched_from.folder.name if self._branched_from is not None else None,
            **({"references": origins} if (origins := self._references.origins) else {}),
            "layers": self._state.layers.to_json(),
            **machine(self._ranks),
        }

    def _check_ownership(self) -> None:
        """Check the latest attempt, in an object store by the remote file."""
        self._store.fetch(f"{self._location}/{ATTEMPT}")
        self._ownership.check()

    def _resumed_state(self) -> TrainingState:
        request, state = self._request, build_state(self._request, self._ranks)
        newest = whole_checkpoints(self._folder)[-1:]
        if path := self._ranks.agree(str(newest[0]) if newest else self._branch(state)):
            load_checkpoint(Path(path), state, self._ranks)
        elif (initial := request.init_from) is not None:
            start_from(state.model, state.optimizer, initial, request.shape, request.tokenizer.vocab_size)
        if self._ranks.first:
            logger.info(
                "%s: starts at sample %d of %d with %s layers on %d ranks of %s",
                *(request.name, state.consumed_samples, request.budget.samples),
                *(state.layers.backend, self._ranks.size, self._ranks.device),
            )
        return state

    def _branch(self, state: TrainingState) -> str:
        """Find the trunk that this run branches from and copy its metrics; return its checkpoint's path, or ''."""
        trunk = find_trunk(self._store, self._request, state.dtype) if self._ranks.first else None
        self._branched_from = trunk
        if trunk is None:
            return ""
        self._ownership.check()
        steps = trunk.samples // self._request.budget.global_batch_size
        publish_bytes(first_lines(trunk.folder / METRICS, steps), self._folder / METRICS)
        copy_evaluations(trunk.folder, trunk.samples, self._folder)
        return str(trunk.checkpoint)

    def _spike_watch(self) -> SpikeWatch:
        """Return a watch that has seen every step so far."""
        watch = SpikeWatch(phase_starts_of(self._request))
        for metrics in read_metrics(self._folder)[: self._step]:
            watch.add(metrics)
        return watch

    def _open_journal(self) -> Journal | None:
        if not self._ranks.first:
            return None
        return Journal(self._request, self._ranks, self._ownership, self._state.consumed_samples)

    def _is_checkpoint_due(self, seconds_since_last: float) -> bool:
        if is_declared(self._request, self._state.consumed_samples):
            return True
        return self._ranks.agree("save" if seconds_since_last > ROLLING_SECONDS else "") == "save"

    def _save(self, journal: Journal | None) -> None:
        if journal is not None:
            journal.sync()
            self._check_ownership()
        newest = save_checkpoint(self._folder, self._state, self._ranks, self._ownership)
        if self._ranks.first:
            older = [path for path in whole_checkpoints(self._folder) if path.name < newest.name]
            remove_checkpoints(superfluous(self._request, older))
            self._store.mirror(self._location, last=(FILES,))
            publish_trunk(self._store, self._request, self._state.consumed_samples)


def _check_shared_folder(store: Store, ranks: Ranks) -> None:
    """Refuse ranks on several machines if each would write its part of a checkpoint into its own local copy."""
    first, here = ranks.agree(socket.gethostname()), socket.gethostname()
    if store.is_remote and first != here:
        raise RequestError(
            f"{store}: the ranks on {first} and {here} share no folder to write a checkpoint into; use a --store that "
            "is a folder on both machines, or set the proxy's `ranks` to what one machine can run"
        )


@contextmanager
def _threads(request: RunRequest) -> Iterator[None]:
    """On a CPU use one thread per reserved processor: runs share the machine, and sums keep a fixed order."""
    before = torch.get_num_threads()
    if request.device == "cpu":
        torch.set_num_threads(request.resources.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
