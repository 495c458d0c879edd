"""Shards whose reading killed or hung the process: find the document, leave it out, count it as `poison`.

A worker that dies leaves the mark of the record it was at. Whoever takes the shard up again finds the mark and works
in child processes from then on: first that record alone. Does the child die of it, the record is poison, and the
shard is read without it; else the death had another cause (a kill, a full memory). So a shard costs two more
readings, and one more a poisonous document. Which documents are poison depends on the machine only where one takes
about as long as `PATIENCE_SECONDS` allow.

A document on which a step raises an error is poison too, and needs no child: the shard is read once more without it.
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
from mixproof.pipeline.cluster.task_logs import log_context
from mixproof.pipeline.steps import StepFailedError

from .read import MOST_POISON, STAGE, PoisonError, ReadTask, mark_of, read_shard, try_record
from .watch import marked_place

MOST_DEATHS = 3
"""Deaths that no document explains."""


def read_shards(store_url: str, tasks: Sequence[ReadTask]) -> int:
    """Read shards one after the other, each with its own receipt; returns how many."""
    store = Store(store_url)
    missing = [task for task in tasks if store.receipt(STAGE, task.key) is None]
    apart = any(mark_of(store, task).exists() for task in missing)
    for task in missing:
        with log_context(f"{task.plan.source}: {task.plan.files[0].name} from {task.plan.start}"):
            if apart:
                _read_apart(store, task)
            else:
                _read_here(store, task)
    return len(tasks)


def _read_here(store: Store, task: ReadTask) -> None:
    poison: dict[int, str] = {}
    while True:
        try:
            read_shard(store, task, poison)
        except PoisonError as error:
            poison.update(error.poison)
            _check_few(poison, task)
        else:
            return


def _read_apart(store: Store, task: ReadTask) -> None:
    mark = mark_of(store, task)
    poison: dict[int, str] = {}
    deaths = 0
    while len(poison) <= MOST_POISON and deaths < MOST_DEATHS:
        place = marked_place(mark)
        mark.unlink(missing_ok=True)
        if place is not None and place not in poison:
            how = _in_child(store, task, poison, place)
            if how is None:
                deaths += 1
            else:
                poison[place] = how
        try:
            if _in_child(store, task, poison, None) is None:
                return
        except PoisonError as error:
            poison.update(error.poison)
            continue
        if marked_place(mark) in (None, *poison):
            deaths += 1
    _check_few(poison, task)
    shown = _shown(poison) or "at no document in particular: perhaps for want of memory"
    raise ProcessDiedError(
        f"source {task.plan.source}: {task.plan.files[0].url} from byte {task.plan.start}: reading it kills its "
        f"process again and again ({shown}); look at its steps, and at the file: a damaged one can do that to the "
        "library that reads it, Parquet's among them"
    )


def _check_few(poison: Mapping[int, str], task: ReadTask) -> None:
    """Hold the steps to be broken where they fail at many documents.

    Raises:
        RequestError: naming the first of them.
    """
    if len(poison) > MOST_POISON:
        raise RequestError(
            f"source {task.plan.source}: {task.plan.files[0].url} from byte {task.plan.start}: its steps fail at more "
            f"than {MOST_POISON} documents ({_shown(poison)}); look at the steps, one of them is wrong for these texts"
        )


def _shown(poison: Mapping[int, str]) -> str:
    return "; ".join(f"record {place}: {how}" for place, how in list(poison.items())[:3])


def _in_child(store: Store, task: ReadTask, poison: dict[int, str], only: int | None) -> str | None:
    """Read the shard, or only one record of it, in a child; how it died, or None."""
    with tempfile.TemporaryDirectory(prefix="mixproof-") as folder:
        result = Path(folder, "result")
        child = subprocess.run(
            [sys.executable, "-m", "mixproof.pipeline.read.quarantine", str(result)],
            input=pickle.dumps((str(store), task, poison, only)),
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
    return f"did not end in {task.patience_seconds:g} s and what its size allows"


def main(result: Path) -> None:
    """Do what stands on standard input; an error goes to the parent as it is."""
    store_url, task, poison, only = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - our own parent wrote it
    error: Exception | None = None
    try:
        if only is None:
            read_shard(Store(store_url), task, poison)
        else:
            try_record(Store(store_url), task, only)
    except Exception as caught:  # noqa: BLE001 - the parent raises it
        error = caught
    result.write_bytes(pickle.dumps(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
