"""The document side against datatrove's, on the same documents, in one run: ratios, agreement, memory.

    python benchmarks/documents.py FOLDER [PART ...] [--megabytes 1] [--warm 40] [--seed 1] [--lead 1]

FOLDER holds one folder a domain, with jsonl (plain, gz, zst) and Parquet files whose records have a `text`. Parts are
`filters`, `readers`, `workers`, `memory`, `task_memory` and `dedup`; without any, all of them. Times are CPU seconds,
so that other work on the machine affects both sides equally; the sides take turns.

filters: `benchmarks/filters.py`, the four filters that most corpora were made with.
readers: all records of all files; ours with documents, rejects and UTF-8 bytes counted, datatrove's as they come.
workers: reading with the four filters on one Ray worker and on two. Beside wall time, which says something on an idle
machine only: CPU seconds of the busiest worker and of the driver, which is what two idle cores would wait for.
memory: the largest resident set of a fresh process that reads one file with `ftfy`, `pii`, `language` and the filters.
task_memory: `benchmarks/task_memory.py`, the same for all other stages over ten times the corpus.
dedup: `benchmarks/dedup.py` on each domain, and on all of them together.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from datatrove.pipeline.readers import JsonlReader, ParquetReader
from loguru import logger

from filters import FILTERS, compare_filters, rates
from inline import Inline, peak_bytes
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import OnBadRecord, Source, Step
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import SourceDocuments, read_sources
from mixproof.pipeline.readers.jsonl import read_jsonl
from mixproof.pipeline.readers.parquet import read_parquet
from mixproof.pipeline.record import Raw, Records

SHARD_BYTES = 4_000_000
COMPRESSION = {".gz": "gz", ".zst": "zst"}
EDITORS = (Step(name="ftfy"), Step(name="pii"), Step(name="language", options={"label_only": True}))


def compare_readers(folder: Path) -> None:
    """Print both rates by format."""
    sides = (_our_reading, _their_reading)
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    sizes = Counter[str]()
    for path in _files(folder):
        kind = "parquet" if path.suffix == ".parquet" else "jsonl"
        found = []
        for side, read in enumerate(sides):
            started = time.process_time()
            found.append(read(path))
            spent[kind][side] += time.process_time() - started
        (documents, text_bytes), (same, _) = found
        assert documents == same, f"{path}: {documents} documents, datatrove has {same}"
        sizes[kind] += text_bytes
    print("readers:")
    for kind, seconds in spent.items():
        print(f"  {kind:<8} {rates(sizes[kind] / 1e6, seconds)}")


def _our_reading(path: Path) -> tuple[int, int]:
    documents = text_bytes = 0
    for item in _records(path):
        if isinstance(item, Raw):
            documents += 1
            text_bytes += len(item.data)
    return documents, text_bytes


def _records(path: Path) -> Records:
    size, names = path.stat().st_size, {"text": "text", "id_": "id", "with_fields": False}
    if path.suffix == ".parquet":
        return read_parquet(str(path), 0, size, **names)  # type: ignore[arg-type]
    return read_jsonl(str(path), COMPRESSION.get(path.suffix), 0, size, **names)  # type: ignore[arg-type]


def _their_reading(path: Path) -> tuple[int, int]:
    kind = ParquetReader if path.suffix == ".parquet" else JsonlReader
    return sum(1 for _ in kind(str(path.parent), glob_pattern=path.name).run()), 0


class Timed(Cluster):
    """Notes which process did each call and its CPU seconds."""

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[object, ...]], **options: Any) -> list[Any]:  # noqa: ANN401
        """Run the calls as ever."""
        found = super().run(_timed, [(function, call) for call in calls], **options)
        for process, seconds, _ in found:
            self.seconds[process] += seconds
        return [result for _, _, result in found]

    seconds: Counter[int]


def _timed(function: Callable[..., Any], call: tuple[object, ...]) -> tuple[int, float, Any]:
    started = time.process_time()
    result = function(*call)
    return os.getpid(), time.process_time() - started, result


def compare_workers(folder: Path) -> None:
    """Print what one worker and two take for all domains."""
    waits = []
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as store, Timed(workers=workers) as cluster:
            cluster.seconds = Counter()
            cluster.run(os.getpid, [()], label="start")
            began, driver = time.monotonic(), time.process_time()
            read_all(folder, Path(store), cluster, FILTERS)
            driver, wall = time.process_time() - driver, time.monotonic() - began
            busiest = max(cluster.seconds.values())
        waits.append(driver + busiest)
        print(f"workers: {workers}: busiest {busiest:.1f} s, driver {driver:.1f} s of CPU; {wall:.1f} s of wall time")
    print(f"  one waits {waits[0] / waits[1]:.2f} times as long as two")


def measure_memory(folder: Path) -> None:
    """Print the largest resident set by file, in a fresh process each."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as pool:
        peaks = {path: pool.submit(_peak_of, path).result() for path in _files(folder)}
    largest = max(peaks, key=peaks.__getitem__)
    print(f"memory: at most {peaks[largest] / 1e6:.0f} MB a task, at {largest.relative_to(folder)}")


def _peak_of(path: Path) -> int:
    with tempfile.TemporaryDirectory() as store:
        inline = Inline()
        inline.seconds = {}
        read_all(path, Path(store), inline, EDITORS + FILTERS)
    return peak_bytes()


def read_all(folder: Path, store: Path, cluster: Cluster, steps: tuple[Step, ...]) -> dict[str, SourceDocuments]:
    """Read all files below a folder, or one, as one source."""
    files = tuple(map(str, _files(folder) if folder.is_dir() else [folder]))
    parts: dict[str, Any] = {  # not validated: training and mixtures are not needed here
        "schema_": 1,
        "name": "documents",
        "sources": {"all": Source(files=files, steps=steps)},
        "on_bad_record": OnBadRecord(),
    }
    spec = Spec.model_construct(**parts)
    return read_sources(spec, find_files(spec, store), Store(store), cluster, shard_bytes=SHARD_BYTES)


def _domains(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and any(_files(path))]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        name = path.name.removesuffix(".gz").removesuffix(".zst")
        if path.is_file() and name.endswith((".parquet", ".jsonl", ".ndjson")) and "pages.jsonl" not in name:
            yield path


def compare_dedup(domains: Sequence[Path]) -> None:
    """Run `benchmarks/dedup.py` on each domain, and on all of them together."""
    for folders in [*([domain] for domain in domains), domains]:
        _run("dedup.py", *folders)


def _run(benchmark: str, *folders: Path) -> None:
    subprocess.run([sys.executable, str(Path(__file__).with_name(benchmark)), *map(str, folders)], check=True)


def main() -> None:
    """Measure the requested parts."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[], object]] = {
        "filters": lambda: compare_filters(_domains(given.folder), given),
        "readers": lambda: compare_readers(given.folder),
        "workers": lambda: compare_workers(given.folder),
        "memory": lambda: measure_memory(given.folder),
        "task_memory": lambda: _run("task_memory.py", given.folder),
        "dedup": lambda: compare_dedup(_domains(given.folder)),
    }
    asked.add_argument("folder", type=Path)
    asked.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    asked.add_argument("--megabytes", type=float, default=1)
    asked.add_argument("--warm", type=float, default=40)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--lead", type=float, default=1.0, metavar="SECONDS")
    given = asked.parse_args()
    unknown = set(given.parts) - set(parts)
    if unknown:
        asked.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    logger.disable("datatrove")
    for name, measure in parts.items():
        if name in given.parts or not given.parts:
            measure()


if __name__ == "__main__":
    main()
