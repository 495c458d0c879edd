"""The circumstances of a build: what did not change its result and is worth knowing.

They stand in `builds/<id>/circumstances.json` beside the manifest and are no part of its id: when and where it
was built, from which places, by which engine and versions, how long each stage took, and which files of the store list
what was rejected, dropped (with `keep_dropped`) and decontaminated, with the reasons. A build that reused
everything leaves the circumstances of the one that did the work.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from mixproof.ledger.manifest import BUILDS, CIRCUMSTANCES
from mixproof.ledger.store import Store
from mixproof.pipeline.read.documents import ShardList
from mixproof.pipeline.read.files import InputFile

from .shard_tokens import EncodedShard

VERSIONS_OF = ("gigatoken", "numpy", "pyarrow", "ray", "sentencepiece", "xxhash")


class Clock:
    """Wall time of each stage, in seconds."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the time inside to `stage`."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0) + time.perf_counter() - start, 3)


def write_circumstances(
    store: Store,
    build: str,
    files: Mapping[str, Sequence[InputFile]],
    shards: Sequence[EncodedShard],
    lists: Mapping[str, Sequence[ShardList]],
    clock: Clock,
    stages: tuple[int, int],
) -> None:
    """Write the circumstances, unless nothing was done and they are there.

    Args:
        store: where the build is.
        build: its id.
        files: the sources' files.
        shards: everything that was encoded, training and held out.
        lists: what names each source's rejected records and dropped documents.
        clock: how long each stage took.
        stages: stages run and reused.
    """
    place = f"{BUILDS}/{build}/{CIRCUMSTANCES}"
    if stages[0] == 0 and store.path(place).is_file():
        return
    circumstances = {
        "started": clock.started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": clock.seconds,
        "stages_run": stages[0],
        "stages_reused": stages[1],
        "places": {name: places_of(found) for name, found in files.items()},
        "lists": {name: _by_kind(found) for name, found in lists.items() if found},
        "engines": dict(Counter(shard.engine for shard in shards)),
        "rechecked_documents": sum(shard.rechecked for shard in shards),
        "machine": {"node": platform.node(), "system": platform.platform(), "processors": os.cpu_count()},
        "code": str(Path(__file__).resolve().parent),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in VERSIONS_OF},
    }
    store.write(place, json.dumps(circumstances, indent=1, sort_keys=True).encode() + b"\n")


def _by_kind(lists: Sequence[ShardList]) -> dict[str, list[dict[str, object]]]:
    by_kind: dict[str, list[dict[str, object]]] = {}
    for one in lists:
        entry: dict[str, object] = {"path": one.path, "file": one.file, "first_record": one.first_record}
        by_kind.setdefault(one.kind, []).append(entry)
    return by_kind


def places_of(files: Sequence[InputFile]) -> list[str]:
    """Where files come from: place and name give each file's URL."""
    return sorted(set(chain(file.url.removesuffix(file.name) for file in files)))
