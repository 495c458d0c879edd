"""Ancestors: the runs that trained the checkpoint from which a run starts, the first one first."""

from __future__ import annotations

from pathlib import Path

from mixproof.train.record import RUN, RunRecord, read_run
from mixproof.train.request import InitialCheckpoint
from mixproof.train.stage_record import Ancestor


def ancestors_of(initial: InitialCheckpoint | None) -> tuple[Ancestor, ...]:
    """List the runs of mixproof behind a checkpoint; none if it is a file of another tool."""
    if initial is None:
        return ()
    path = Path(initial.path).parents[1] / RUN
    if not path.is_file():
        return ()
    record = read_run(path)
    earlier = record.post_training.ancestors if record.post_training is not None else ()
    return (*earlier, _ancestor(record))


def _ancestor(record: RunRecord) -> Ancestor:
    trained = record.post_training
    supervised = [source.supervised_tokens or 0 for source in record.delivered.values()]
    return Ancestor(
        run=record.key,
        stage="pretrain" if trained is None else trained.stage,
        build=record.build,
        consumed_tokens=record.consumed_tokens,
        supervised_tokens=None if trained is None else sum(supervised),
    )
