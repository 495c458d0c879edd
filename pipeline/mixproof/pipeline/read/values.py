"""The values of the columns by which sources are split, found before any other stage.

The values of a shard are a stage of their own, keyed by what is read and the column, so only an added file is searched
again. The files are read again for it, without steps, and each part then reads them again for its own records.
Documents go through the steps once, in the part that they belong to. Formats without columns cannot be split.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import MAX_PARTS, SplitSource, split_sources, with_parts
from mixproof.mixtures.values.spec_part import MAX_NAME_CHARS
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import Call, run_missing
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.readers.remote import is_of_this_process
from mixproof.pipeline.readers.value import value_of
from mixproof.pipeline.record import Raw

from .batches import SHARDS_PER_TASK, share_tasks
from .columns import check_columns
from .documents import check_sources
from .identify import identify
from .read_task import ReadTask, read_task
from .records import records_of, with_local_piece
from .shards import SHARD_BYTES, plan_shards
from .unpack import unpack_files

STAGE = "values"
VERSION = 2
"""2: integers beyond 64 bits and fields of maps are values."""
_log = logging.getLogger(__name__)

WITH_COLUMNS = frozenset({"jsonl", "parquet", "arrow"})

Files = Mapping[str, tuple[InputFile, ...]]


def split_by_columns(
    spec: Spec,
    files: Files,
    store: Store,
    cluster: Cluster,
    *,
    shard_bytes: int = SHARD_BYTES,
    in_pieces: bool = True,
) -> tuple[Spec, dict[str, tuple[InputFile, ...]]]:
    """Replace the split sources of a spec by their parts, each with all files of its source.

    `in_pieces` is that of `read_sources`.

    Raises:
        RequestError: when a format has no columns, or a step is invalid.
        SpecError: when the values of a column cannot name parts, or the spec names a part that does not exist.
    """
    columns = split_sources(spec)
    if not columns:
        return spec, dict(files)
    check_sources(spec)
    for name, column in columns.items():
        for file in files[name]:
            if file.format not in WITH_COLUMNS:
                where = spec.where("sources", name, "split_by")
                raise RequestError(f"{where}: {file.url}: {file.format} has no column {column!r} to split by")
        check_columns(spec, {name: files[name]})
    values_of = _find_values(spec, {name: files[name] for name in columns}, store, cluster, shard_bytes, in_pieces)
    parts = with_parts(spec, values_of)
    return parts, files_of_parts(parts, files)


def files_of_parts(spec: Spec, files: Files) -> dict[str, tuple[InputFile, ...]]:
    """Give each part in a spec the files of the source it belongs to."""
    found = {}
    for name, source in spec.sources.items():
        whole = source.of if isinstance(source, SplitSource) else name
        found[name] = files[name] if whole == name else tuple(replace(file, source=name) for file in files[whole])
    return found


@dataclass(frozen=True)
class _Search:
    """One shard to be scanned for values."""

    key: str
    task: ReadTask


def _find_values(
    spec: Spec, files: Files, store: Store, cluster: Cluster, shard_bytes: int, in_pieces: bool
) -> dict[str, tuple[str, ...]]:
    all_files = [file for inputs in files.values() for file in inputs]
    sha256 = identify(all_files, store, cluster)
    large = all_files if in_pieces else ()
    pieces = unpack_files(large, sha256, store, cluster, limits=spec.limits, shard_bytes=shard_bytes)
    searches: dict[str, list[_Search]] = {name: [] for name in files}
    for plan in plan_shards(files, shard_bytes, pieces):
        source = spec.sources[plan.source].model_copy(update={"steps": (), "keep_dropped": False})
        task = read_task(plan, source, sha256, spec.limits)
        key = stage_key(STAGE, VERSION, {"column": source.split_column}, [task.key])
        searches[plan.source].append(_Search(key, task))

    def calls(missing: dict[str, _Search]) -> list[tuple[object, ...]]:
        batches = share_tasks(
            missing.values(),
            lambda search: search.task.plan.input_bytes,
            most_bytes=shard_bytes,
            most_items=SHARDS_PER_TASK,
            tasks=cluster.parallel_tasks(),
        )
        return [(store, batch) for batch in batches]

    found = run_missing(
        store,
        STAGE,
        {search.key: search for each in searches.values() for search in each},
        calls,
        _save_values,
        cluster,
        "values",
        in_driver=lambda search: is_of_this_process(search.task.plan.files[0].url),
        call_bytes=_input_bytes,
    )
    values_of = {
        name: {value for search in each for value in found[search.key].facts["values"]}
        for name, each in searches.items()
    }
    return {name: tuple(sorted(values)) for name, values in values_of.items()}


def _input_bytes(call: Call) -> int:
    return sum(search.task.plan.input_bytes for search in cast(Sequence[_Search], call[1]))


def _save_values(store: Store, searches: Sequence[_Search]) -> None:
    for search in searches:
        values = sorted(values_of_shard(with_local_piece(search.task, store)))
        with store.attempt(STAGE, search.key) as attempt:
            attempt.commit(facts={"values": values})
        _log.debug("%s: %d values", search.task.plan.files[0].url, len(values))


def values_of_shard(task: ReadTask) -> set[str]:
    """The values in the column of a shard, truncated if too long for a name; at most one more than allowed."""
    assert task.column is not None, "only split sources are searched"
    values: set[str] = set()
    for file in task.plan.files:
        for item in records_of(file, task, lambda _: None):
            found = value_of(item, task.column) if isinstance(item, Raw) else None
            if isinstance(found, str):
                values.add(found[: MAX_NAME_CHARS + 1])
                if len(values) > MAX_PARTS:
                    return values
    return values
