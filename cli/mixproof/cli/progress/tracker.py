"""Follows the stages of a command: which one runs, since when, and which have ended. The caller gives the times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixproof.pipeline.cluster.task_progress import START, TaskProgress

from .stage_line import StageState
from .stages import CHECKSUMS, HELDOUT, LABELS, READ, READING, TOKENIZER, number_of, stage_of


@dataclass
class _Running:
    stage: str
    since: float
    part: TaskProgress
    part_since: float
    largest: TaskProgress
    """Of the parts so far."""


class Tracker:
    """The state of a command's stages; `stages` are those that it may have, in order."""

    def __init__(self, stages: Sequence[str] = ()) -> None:
        self._stages = tuple(stages)
        self._running: _Running | None = None
        self._seen: set[str] = set()

    def take(self, progress: TaskProgress, now: float) -> StageState | None:
        """Note what a cluster reports; returns the stage that ended with it."""
        stage = self._stage_of(progress.label)
        running, ended = self._running, None
        if running is None or running.stage != stage:
            ended = self.end(now)
            self._running = _Running(stage, now, progress, now, progress)
            self._seen.add(stage)
            return ended
        if running.part.label != progress.label or progress.done < running.part.done:
            running.part_since = now
        running.part = progress
        if progress.bytes_total >= running.largest.bytes_total:
            running.largest = progress
        return None

    def end(self, now: float) -> StageState | None:
        """End the running stage and return it; None if there is none, it was the start of Ray, or it is not done."""
        running, self._running = self._running, None
        if running is None or running.part.label == START or running.part.done < running.part.total:
            return None
        return self._state(running, running.largest, now - running.since)

    def state(self, now: float) -> StageState | None:
        """The running stage; None before the first."""
        running = self._running
        return None if running is None else self._state(running, running.part, now - running.part_since)

    def _stage_of(self, label: str) -> str:
        stage = stage_of(label)
        if LABELS in self._stages and self._is_over(stage):
            return LABELS  # classifiers read the files of their examples
        # documents are reserved for the held-out sets before a tokenizer is trained on the others
        reserves = stage == HELDOUT and TOKENIZER in self._stages and HELDOUT not in self._seen
        return TOKENIZER if reserves and not self._tokenizer_is_trained() else stage

    def _is_over(self, stage: str) -> bool:
        """Whether a stage of reading comes after one that follows it."""
        return (stage == CHECKSUMS and READ in self._seen) or (stage == READ and bool(self._seen - {*READING, START}))

    def _tokenizer_is_trained(self) -> bool:
        return TOKENIZER in self._seen and self._running is not None and self._running.part.label == "train tokenizer"

    def _state(self, running: _Running, part: TaskProgress, seconds: float) -> StageState:
        return StageState(running.stage, number_of(self._stages, running.stage), len(self._stages), part, seconds)
