"""The values of the columns that sources are split by, found before anything else is done with the files.

A shard's values are a stage of their own, keyed by what is read and the column: an appended file is looked through
alone. It is one more reading of the files without their steps, and each part then reads them again for its own
records; texts go through the steps once, in the part that they belong to. Formats without columns cannot be split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.receipts import find_receipts
from mixproof.ledger.sealed import seal_receipts
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import MOST_CHARS, MOST_PARTS, SplitSource, split_sources, with_parts
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.readers.remote import is_of_this_process
from mixproof.pipeline.readers.value import value_of
from mixproof.pipeline.record import Raw
from mixproof.pipeline.steps import make_steps

from .batches import share_tasks
from .files import InputFile
from .identify import identify
from .read_task import ReadTask, read_task
from .records import records_of
from .shards import SHARD_BYTES, plan_shards

STAGE = "values"
VERSION = 1
WITH_COLUMNS = frozenset({"jsonl", "parquet", "arrow"})
SHARDS_PER_TASK = 64

Files = Mapping[str, tuple[InputFile, ...]]


def split_by_columns(
    spec: Spec, files: Files, store: Store, cluster: Cluster, *, shard_bytes: int = SHARD_BYTES
) -> tuple[Spec, dict[str, tuple[InputFile, ...]]]:
    """Put the parts of split sources into a spec's place of them, each with all files of its source.

    Raises:
        RequestError: when a file has no columns, or a step cannot be made.
        SpecError: when the values of a column cannot name parts, or the spec names a part that is not there.
    """
    columns = split_sources(spec)
    if not columns:
        return spec, dict(files)
    for name, source in spec.sources.items():
        make_steps(source.steps, spec.where("sources", name, "steps"))
    for name, column in columns.items():
        for file in files[name]:
            if file.format not in WITH_COLUMNS:
                where = spec.where("sources", name, "split_by")
                raise RequestError(f"{where}: {file.url}: {file.format} has no column {column!r} to split by")
    values_of = _find_values(spec, {name: files[name] for name in columns}, store, cluster, shard_bytes)
    parts = with_parts(spec, values_of)
    return parts, files_of_parts(parts, files)


def files_of_parts(spec: Spec, files: Files) -> dict[str, tuple[InputFile, ...]]:
    """Give each part of a spec the files of the source that it is of."""
    found = {}
    for name, source in spec.sources.items():
        whole = source.of if isinstance(source, SplitSource) else name
        found[name] = tuple(replace(file, source=name) for file in files[whole])
    return found


@dataclass(frozen=True)
class _Look:
    """One shard to look through."""

    key: str
    task: ReadTask


def _find_values(
    spec: Spec, files: Files, store: Store, cluster: Cluster, shard_bytes: int
) -> dict[str, tuple[str, ...]]:
    sha256 = identify((file for inputs in files.values() for file in inputs), store, cluster)
    looks: dict[str, list[_Look]] = {name: [] for name in files}
    for plan in plan_shards(files, shard_bytes):
        source = spec.sources[plan.source].model_copy(update={"steps": (), "keep_dropped": False})
        task = read_task(plan, source, sha256, spec.limits)
        looks[plan.source].append(_Look(stage_key(STAGE, VERSION, {"column": source.split_by}, [task.key]), task))
    every = {look.key: look for found in looks.values() for look in found}
    known = find_receipts(store, STAGE, every)
    missing = [look for key, look in every.items() if key not in known]
    cluster.count(run=len(missing), reused=len(every) - len(missing))
    here = [look for look in missing if is_of_this_process(look.task.plan.files[0].url)]
    _look_through(str(store), here)
    elsewhere = [look for look in missing if not is_of_this_process(look.task.plan.files[0].url)]
    batches = share_tasks(
        elsewhere, lambda look: look.task.plan.input_bytes, most_bytes=shard_bytes, most_items=SHARDS_PER_TASK
    )
    cluster.run(_look_through, [(str(store), batch) for batch in batches], label="values")
    found = known | find_receipts(store, STAGE, [look.key for look in missing])
    seal_receipts(store, STAGE, found.beside)
    values = {
        name: {value for look in mine for value in found[look.key].facts["values"]} for name, mine in looks.items()
    }
    return {name: tuple(sorted(those)) for name, those in values.items()}


def _look_through(store_url: str, looks: Sequence[_Look]) -> None:
    store = Store(store_url)
    for look in looks:
        values = sorted(values_of_shard(look.task))
        with store.attempt(STAGE, look.key) as attempt:
            attempt.commit(facts={"values": values})


def values_of_shard(task: ReadTask) -> set[str]:
    """The values in the column of a shard, cut where they are too long for a name; at most one more than allowed."""
    assert task.column is not None, "only a split source is looked through"
    values: set[str] = set()
    for file in task.plan.files:
        for item in records_of(file, task, lambda _: None):
            found = value_of(item, task.column) if isinstance(item, Raw) else None
            if isinstance(found, str):
                values.add(found[: MOST_CHARS + 1])
                if len(values) > MOST_PARTS:
                    return values
    return values
