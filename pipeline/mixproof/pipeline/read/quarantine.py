"""Shards whose reading crashed or hung the process: find the document, leave it out, count it as `poison`.

A worker that dies leaves the mark of the record that it was reading. The next worker that takes the shard finds the
mark and from then on works in child processes. It first reads that record alone. If the child dies as well, the record
is poison, and the shard is read without it; otherwise the crash had another cause (a kill, memory that ran out). So
such a shard is read two more times, and again for each poisonous document. Whether a document is poison depends on
the machine only if it takes about as long as `PATIENCE_SECONDS` allows.

A document on which a step raises an error is poison too, and needs no child: the shard is read again without it.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixproof.ledger.errors import ProcessDiedError, RequestError
from mixproof.ledger.store import Store
from mixproof.ledger.store.batch import Outputs, open_batch
from mixproof.pipeline.cluster.task_logs import log_context
from mixproof.pipeline.steps import StepFailedError

from .batches import SHARDS_PER_TASK, in_batches
from .read import MOST_POISON, PoisonError, mark_of, read_shard, try_record
from .read_task import STAGE, ReadTask
from .watch import marked_index

MOST_CRASHES = 3
"""Crashes that no document explains."""


def read_shards(store: Store, tasks: Sequence[ReadTask]) -> int:
    """Read shards one after the other, each with its own receipt; return how many."""
    missing = [task for task in tasks if store.receipt(STAGE, task.key, sealed=False) is None]
    for batch in in_batches(missing, SHARDS_PER_TASK):
        in_children = any(mark_of(store, task).exists() for task in batch)
        with open_batch(store, STAGE, [task.key for task in batch]) as outputs:
            for task in batch:
                with log_context(f"{task.plan.source}: {task.plan.label}"):
                    if in_children:
                        _read_in_children(store, task)
                    else:
                        _read_here(store, task, outputs)
    return len(tasks)


def _read_here(store: Store, task: ReadTask, outputs: Outputs) -> None:
    poison: dict[int, str] = {}
    while True:
        try:
            read_shard(store, task, poison, outputs)
        except PoisonError as error:
            poison.update(error.poison)
            _check_few(poison, task)
        else:
            return


def _read_in_children(store: Store, task: ReadTask) -> None:
    mark = mark_of(store, task)
    poison: dict[int, str] = {}
    crashes = 0
    while len(poison) <= MOST_POISON and crashes < MOST_CRASHES:
        index = marked_index(mark)
        mark.unlink(missing_ok=True)
        if index is not None and index not in poison:
            how = _in_child(store, task, poison, index)
            if how is None:
                crashes += 1
            else:
                poison[index] = how
        try:
            if _in_child(store, task, poison, None) is None:
                return
        except PoisonError as error:
            poison.update(error.poison)
            continue
        if marked_index(mark) in (None, *poison):
            crashes += 1
    _check_few(poison, task)
    shown = _shown(poison, task) or "at no particular document: perhaps out of memory"
    raise ProcessDiedError(
        f"source {task.plan.source}: {task.plan.location}: the worker crashed "
        f"repeatedly while reading it ({shown}); check the source's steps and the file: a damaged file can crash the "
        "library that reads it (Parquet, for example)"
    )


def _check_few(poison: Mapping[int, str], task: ReadTask) -> None:
    """Refuse steps that fail on many documents.

    Raises:
        RequestError: naming the first of them.
    """
    if len(poison) > MOST_POISON:
        raise RequestError(
            f"source {task.plan.source}: {task.plan.location}: its steps fail on more "
            f"than {MOST_POISON} documents ({_shown(poison, task)}); one of the steps does not work for these texts"
        )


def _shown(poison: Mapping[int, str], task: ReadTask) -> str:
    counted = "record {}, counted over these files" if len(task.plan.files) > 1 else "record {}"
    return "; ".join(f"{counted.format(index)}: {how}" for index, how in list(poison.items())[:3])


def _in_child(store: Store, task: ReadTask, poison: dict[int, str], only: int | None) -> str | None:
    """Read the shard, or only one record of it, in a child process; return how it died, or None."""
    with tempfile.TemporaryDirectory(prefix="mixproof-") as folder:
        result = Path(folder, "result")
        child = subprocess.run(
            [sys.executable, "-P", "-m", "mixproof.pipeline.read.quarantine", str(result)],
            input=pickle.dumps((store, task, poison, only)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if result.exists():
            error = pickle.loads(result.read_bytes())  # noqa: S301 - our own child wrote it
            if isinstance(error, StepFailedError):
                return str(error)
            if error is not None:
                raise error
            return None
    if child.returncode < 0:
        return f"killed the process with {signal.Signals(-child.returncode).name}"
    return f"did not finish within {task.patience_seconds:g} s plus the time for its size"


def main(result: Path) -> None:
    """Do the work given on standard input; pickle an error for the parent, which raises it."""
    store, task, poison, only = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - our own parent wrote it
    error: Exception | None = None
    try:
        if only is None:
            read_shard(store, task, poison)
        else:
            try_record(store, task, only)
    except Exception as caught:  # noqa: BLE001 - the parent raises it
        error = caught
    result.write_bytes(pickle.dumps(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
