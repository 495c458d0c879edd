"""Memory of a task as the corpus grows: the same stages over a corpus and over ten times as much text.

    python benchmarks/task_memory.py FOLDER [--times 10] [--megabytes 200] [--workers 2]

FOLDER holds jsonl (plain, gz, zst) and Parquet files whose records have a `text`. Up to `--megabytes` MB of them are
rewritten as Parquet in a temporary folder, one file for each. The larger corpus has these files and `--times` less
one copies of each, made the same way every time: other ids, and the words of every document in another order between
the same white space, so that n-grams are new while words and lengths are the same. Both are read, deduplicated (exact,
fuzzy, paragraphs), held out and decontaminated, every task in a fresh process of its own whose largest resident set is
noted. A task that would do nothing shows what a process has before it works.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dedup import texts_in
from inline import peak_bytes
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import Dedup, FuzzyDedup, ParagraphDedup
from mixproof.mixtures.blocks.heldout import Decontaminate, HeldoutCreate, HeldoutSpec
from mixproof.mixtures.blocks.source import OnBadRecord, Source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.dedup.dedup import deduplicate
from mixproof.pipeline.heldout.create_heldout import create_heldout
from mixproof.pipeline.heldout.decontaminate import decontaminate
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.paragraphs.paragraphs import deduplicate_paragraphs
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.selection import Selection

NOTHING = "nothing"
Peaks = dict[str, int]
"""Largest resident set of any task, bytes, by the label of its calls."""


class Fresh(Cluster):
    """Runs each call in a process of its own."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self._pool = ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
        )
        self.peaks: Peaks = defaultdict(int)
        self.tasks: dict[str, int] = defaultdict(int)

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[object, ...]], **options: Any) -> list[Any]:  # noqa: ANN401
        """Run the calls and note the largest of them."""
        label = str(options["label"]).rpartition(": ")[2]
        done = list(self._pool.map(_measured, [function] * len(calls), calls))
        self.tasks[label] += len(calls)
        for _, peak in done:
            self.peaks[label] = max(self.peaks[label], peak)
        return [result for result, _ in done]


def _measured(function: Callable[..., Any], call: tuple[object, ...]) -> tuple[Any, int]:
    return function(*call), peak_bytes()


def _words_and_eod(texts: Sequence[str], marks: Sequence[str] | None = None) -> list[int]:
    return [len(text.split()) + 1 for text in texts]


def write_corpus(folder: Path, into: Path, megabytes: float, times: int) -> None:
    """Write the files of a corpus and their copies."""
    held = 0.0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        texts = list(texts_in(path))
        for copy in range(times) if texts else ():
            name = f"{path.parent.name}-{path.name}-{copy}"
            table = {"id": [f"{name}-{row}" for row in range(len(texts))], "text": list(_copied(texts, name, copy))}
            pq.write_table(pa.table(table), into / f"{name}.parquet", compression="zstd", row_group_size=1024)
        held += sum(len(text.encode()) for text in texts) / 1e6
        if held >= megabytes:
            return


def _copied(texts: Sequence[str], name: str, copy: int) -> Iterator[str]:
    chosen = random.Random(name)  # noqa: S311  a fixed order
    for text in texts:
        parts = re.split(r"(\s+)", text)
        words = parts[::2]
        if copy:
            chosen.shuffle(words)
            parts[::2] = words
        yield "".join(parts)


def peaks_of(folder: Path, workers: int) -> tuple[Peaks, dict[str, int], int]:
    """Run all stages over the Parquet files of a folder: peaks and tasks by label, and the driver's peak."""
    parts: dict[str, Any] = {  # not validated: training and mixtures are not needed here
        "schema_": 1,
        "name": "task_memory",
        "sources": {"all": Source(files=("*.parquet",))},
        "on_bad_record": OnBadRecord(),
        "dedup": Dedup(fuzzy=FuzzyDedup(), paragraphs=ParagraphDedup()),
        "heldout": HeldoutSpec(create=HeldoutCreate()),
        "decontaminate": Decontaminate(),
    }
    spec = Spec.model_construct(**parts)
    with tempfile.TemporaryDirectory() as where:
        store, cluster = Store(where), Fresh(workers)
        cluster.run(int, [()], label=NOTHING)
        sources = read_sources(spec, find_files(spec, folder), store, cluster)
        whole = deduplicate(spec, sources, store, cluster)
        chosen = Selection(spec, sources, whole.keep, whole.rows, store, cluster)
        cut = deduplicate_paragraphs(chosen)
        chosen = replace(chosen, sources=cut.sources, keep=cut.keep, last_rows=cut.rows)
        sets = create_heldout(chosen, _words_and_eod, tokenizer_sha256="0" * 64)
        decontaminate(chosen, sets, ())
    return cluster.peaks, cluster.tasks, peak_bytes()


def main() -> None:
    """Measure both corpora and print the peaks side by side."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--times", type=int, default=10)
    asked.add_argument("--megabytes", type=float, default=200)
    asked.add_argument("--workers", type=int, default=2)
    given = asked.parse_args()
    found = []
    for times in (1, given.times):
        with tempfile.TemporaryDirectory() as folder:
            write_corpus(given.folder, Path(folder), given.megabytes, times)
            size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
            found.append(peaks_of(Path(folder), given.workers))
        print(f"{times} times the corpus: {size:.0f} MB of Parquet, driver {found[-1][2] / 1e6:.0f} MB at most")
    (small, few, _), (large, many, _) = found
    print(f"  {'tasks':<24} {'number':>14} {'MB at most':>17}")
    for label in large:
        print(f"  {label:<24} {few.get(label, 0):6} {many[label]:6}   {_mb(small.get(label, 0))} {_mb(large[label])}")


def _mb(size: int) -> str:
    return f"{size / 1e6:8.0f}"


if __name__ == "__main__":
    main()
