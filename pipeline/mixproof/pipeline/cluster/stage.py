"""Run a stage: the one place where finished outputs are found, missing ones made, and receipts sealed.

A stage is idempotent: every output has a key made of what it is computed from, so an output that is finished is never
made again, and a command that was killed resumes with the outputs that are missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from mixproof.ledger.errors import MixproofError
from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.receipts import Receipts, find_receipts
from mixproof.ledger.store.sealed import seal_receipts

from .cluster import Cluster

Work = TypeVar("Work")
Call = tuple[object, ...]
"""The arguments of one task. A task may make several outputs."""

log = logging.getLogger(__name__)


def run_missing(
    store: Store,
    stage: str,
    work: Mapping[str, Work],
    calls: Callable[[dict[str, Work]], Sequence[Call]],
    task: Callable[..., object],
    cluster: Cluster,
    label: str,
    *,
    in_driver: Callable[[Work], bool] | None = None,
    call_bytes: Callable[[Call], int] | None = None,
) -> Receipts:
    """Make the outputs of a stage that the store does not have yet.

    Args:
        store: where outputs are found and written.
        stage: name of the stage, the folder of its outputs.
        work: what each output is made of, by the output's key.
        calls: turns the missing part of `work`, in the same order, into calls of `task`.
        task: writes the outputs that its arguments name, each with a receipt; what it returns is ignored.
        cluster: runs the tasks.
        label: names the stage in progress, logs and errors.
        in_driver: work for which this is true is done in this process, because no worker can reach its input.
        call_bytes: input bytes of a call, for progress; None: not known.

    Returns:
        The receipts of all outputs in `work`.

    Raises:
        MixproofError: when a task ended without an error and an output is still missing.
    """
    found = find_receipts(store, stage, work)
    missing = {key: each for key, each in work.items() if key not in found}
    cluster.count(run=len(missing), reused=len(work) - len(missing))
    log.info("%s: %d of %d outputs are missing in %s/%s", label, len(missing), len(work), store, stage)
    if missing:
        here = {key: each for key, each in missing.items() if in_driver is not None and in_driver(each)}
        for call in calls(here) if here else ():
            task(*call)
        elsewhere = {key: each for key, each in missing.items() if key not in here}
        submitted = calls(elsewhere) if elsewhere else []
        sizes = [] if call_bytes is None else [call_bytes(call) for call in submitted]
        cluster.run(task, submitted, label=label, call_bytes=sizes)
        found |= find_receipts(store, stage, missing)
        _check_complete(store, stage, missing, found, label)
    seal_receipts(store, stage, found.beside)
    return found


def make_missing(
    store: Store,
    stage: str,
    key: str,
    make: Callable[[], Receipt],
    cluster: Cluster,
    *,
    is_complete: Callable[[Receipt], bool] = lambda _: True,
) -> Receipt:
    """Make one output in this process unless the store has it; for stages whose driver makes the output itself.

    Args:
        store: where the output is found or written.
        stage: name of the stage.
        key: of the output.
        make: writes the output and returns its receipt; it may run tasks.
        cluster: counts the stage as run or reused.
        is_complete: whether a receipt that was found still counts; where not, the output is made again.
    """
    receipt = store.receipt(stage, key)
    is_reused = receipt is not None and is_complete(receipt)
    cluster.count(run=int(not is_reused), reused=int(is_reused))
    if receipt is None or not is_reused:
        log.info("%s: making %s", stage, key)
        receipt = make()
    return receipt


def _check_complete(store: Store, stage: str, expected: Collection[str], found: Receipts, label: str) -> None:
    absent = [key for key in expected if key not in found]
    if absent:
        raise MixproofError(
            f"{label}: the tasks finished, but {len(absent)} of {len(expected)} outputs are not in {store}, the first "
            f"being {stage}/{absent[0]}; check that all workers write to this store and that nothing deletes from it, "
            "then run the same command again: it resumes"
        )
