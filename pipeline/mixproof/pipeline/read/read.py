"""Read one shard: raw records > documents > steps in one pass, with one write of text.

Memory is bounded by one row group of output, one block of raw bytes and a multiple of the longest document.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from mixproof.ledger.account import check_chain
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.ledger.store.batch import Outputs
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.record import POISON, Raw, Records, Reject, detail_of
from mixproof.pipeline.steps import apply_steps, make_steps, steps_digest

from .opened import opened
from .read_task import STAGE, ReadTask
from .records import records_of, with_local_piece
from .shard_output import ShardOutput
from .shards import DOCUMENTS, DROPPED, HASHES, PROMPT_TEXTS, PROMPTS, REJECTS
from .watch import PoisonWatch

MARKS = ".marks"
MOST_POISON = 20
"""Documents of a shard that may be poison; with more, the steps are considered broken."""
_log = logging.getLogger(__name__)


class PoisonError(Exception):
    """Steps raised errors on some documents of a shard: the reason by record index, to be skipped on the next try."""

    def __init__(self, poison: Mapping[int, str]) -> None:
        super().__init__(poison)
        self.poison = poison


def mark_of(store: Store, task: ReadTask) -> Path:
    """The file that holds the index of the current record while a shard is read; always on this machine."""
    return store.root / MARKS / task.key


def read_shard(
    store: Store, task: ReadTask, poison: Mapping[int, str] | None = None, outputs: Outputs | None = None
) -> None:
    """Write a shard's documents, rejects and sorted hashes.

    Args:
        store: where they go.
        task: the shard.
        poison: indices of records to reject as poison, each with the reason.
        outputs: the batch that the shard belongs to; None: it has a receipt of its own.

    Raises:
        DamagedFileError: when an input cannot be read to its end.
        RequestError: when an input has changed since it was identified.
        AccountError: when E1, E2 or E3 does not close.
        PoisonError: when a step raised an error on a document; nothing is written then.
    """
    started = time.monotonic()
    _log.info("reading %d raw bytes", task.plan.input_bytes)
    _check_steps(task)
    steps = make_steps(task.steps)
    task = with_local_piece(task, store)
    with (outputs or store).attempt(STAGE, task.key) as attempt:
        grouped = task.plan.is_group
        dropped = attempt.path(DROPPED) if task.steps or task.keep_dropped else None
        paths = (attempt.path(DOCUMENTS), attempt.path(REJECTS), dropped)
        with (
            ShardOutput(
                *paths,
                grouped=grouped,
                dropped_texts=task.keep_dropped,
                conversations=task.rule is not None,
                prompts=attempt.path(PROMPT_TEXTS) if task.rule is not None and task.rule.keep_prompts else None,
            ) as output,
            PoisonWatch(mark_of(store, task), task.patience_seconds) as watch,
        ):
            records: list[int] = []
            contents = zip(task.plan.files, task.sha256, task.attributes_sha256, strict=True)
            for file, sha256, of_attributes in contents:
                first = output.records
                with ExitStack() as checked:
                    for each, content in zip((file, *file.attributes), (sha256, *of_attributes), strict=True):
                        checked.enter_context(opened(each, content))
                    for item in _watched(file, task, watch, output.records, (poison or {}).get):
                        output.take(item, steps, file.name)
                        if len(output.poison) > MOST_POISON:
                            raise PoisonError(output.poison)
                records.append(output.records - first)
        if output.poison:
            raise PoisonError(output.poison)
        output.save_hashes(attempt.path(HASHES), attempt.path(PROMPTS))
        account = (output.read_row(), *(step.row() for step in steps))
        check_chain(account, source=task.plan.source, unit=task.plan.label)
        facts: dict[str, object] = {"records": output.records}
        if grouped:
            facts["records_of_files"] = records
        if output.attributes:
            facts["attributes"] = sorted(output.attributes)
        _check_steps(task)
        attempt.commit(account=account, facts=facts)
    documents, text_bytes = account[-1].documents_out, account[-1].bytes_out
    _log.info("%d documents, %d text bytes in %.1f s", documents, text_bytes, time.monotonic() - started)


def try_record(store: Store, task: ReadTask, index: int) -> None:
    """Process one record of a shard as `read_shard` does and write nothing, to see whether the process survives."""
    steps = make_steps(task.steps)
    task = with_local_piece(task, store)
    count = 0
    with PoisonWatch(mark_of(store, task), task.patience_seconds) as watch:
        for file in task.plan.files:
            for item in _watched(file, task, watch, count, lambda at: None if at == index else "not tried"):
                count += 1
                if isinstance(item, Raw):
                    apply_steps(item, item.data, steps)
                if count > index:
                    return


def _watched(
    file: InputFile, task: ReadTask, watch: PoisonWatch, first: int, skip_reason: Callable[[int], str | None]
) -> Records:
    """The records of a file, watched one by one; a record with a `skip_reason` is rejected as poison."""
    items = records_of(file, task, lambda record: skip_reason(first + record))
    for index in itertools.count(first):
        watch.start(index)
        item = next(items, None)
        if item is None:
            return
        reason = skip_reason(index)
        if isinstance(item, Raw):
            if reason is not None:
                item = Reject(item.record, None, POISON, detail_of(f"{reason}: {item.text}"))
            else:
                watch.extend(len(item.data))
        yield item


def _check_steps(task: ReadTask) -> None:
    """Refuse steps that would decide here by other packages or models than those that the key names.

    Raises:
        RequestError: naming the source.
    """
    if steps_digest(task.steps) != task.steps_digest:
        raise RequestError(
            f"source {task.plan.source}: its steps use a model that has changed since the command started, or other "
            "package versions on this worker; install the same packages on every machine, then run again"
        )
