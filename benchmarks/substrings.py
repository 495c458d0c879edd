"""Substring deduplication beside a suffix array of the same texts: the same bytes, MB a second of one core, memory.

    python benchmarks/substrings.py FOLDER ... [--megabytes 1000] [--bytes 400]

FOLDERs hold JSON lines or Parquet. Ours is the whole stage, from documents in the store to rewritten documents and
lists. The other side is `pydivsufsort`, if it is installed: suffix array and longest common prefixes (Kasai) of all
texts in memory, then the windows that are not the first of their kind (the search of Lee et al., 2022), without
rewriting anything. Times are CPU seconds; each side runs in a process of its own, whose peak is its memory. The bytes
that both find are compared one by one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dedup import texts_of
from inline import Inline, peak_bytes
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import Dedup, SubstringDedup
from mixproof.mixtures.blocks.source import OnBadRecord, Source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.substrings.substrings import deduplicate_substrings

SEPARATOR = b"\xff"
"""A byte that UTF-8 does not have."""


@dataclass(frozen=True)
class Found:
    """What one side found."""

    name: str
    seconds: float
    memory: int
    """Peak bytes above those before the search."""
    repeated: NDArray[np.bool_]
    """bool [bytes of all texts]."""


def ours(path: Path, window: int) -> Found:
    """Run the stage on one file of JSON lines."""
    with tempfile.TemporaryDirectory() as scratch:
        block: dict[str, Any] = {
            "sources": {"all": Source(files=(str(path),))},
            "dedup": Dedup(exact=False, substrings=SubstringDedup(bytes=window, min_doc_words=1)),
            "on_bad_record": OnBadRecord(),
        }
        spec = Spec.model_construct(**block)
        store, cluster = Store(Path(scratch) / "store"), Inline()
        cluster.seconds = {}
        with cluster:
            sources = read_sources(spec, find_files(spec, path.parent), store, cluster)
            rows = {name: source.ledger[-1] for name, source in sources.items()}
            keep = {name: (None,) * len(source.shards) for name, source in sources.items()}
            before, begin = peak_bytes(), time.process_time()
            cut = deduplicate_substrings(Selection(spec, sources, keep, rows, store, cluster))
            seconds, memory = time.process_time() - begin, peak_bytes() - before
        print({name: round(each, 2) for name, each in cluster.seconds.items()})
        bounds = bounds_of(path)
        repeated = np.zeros(bounds[-1], np.bool_)
        for part in cut.lists["all"]:
            for row in pq.read_table(store.path(part.path)).to_pylist():
                for start, length in zip(row["starts"], row["lengths"], strict=True):
                    repeated[bounds[row["record"]] + start :][:length] = True
    return Found("mixproof", seconds, memory, repeated)


def suffix_array(path: Path, window: int) -> Found | None:
    """Find the same with pydivsufsort; None where it is not installed."""
    try:
        from pydivsufsort import divsufsort, kasai  # type: ignore[import-not-found]
    except ImportError:
        return None
    bounds = bounds_of(path)
    text = np.frombuffer(SEPARATOR.join(texts_of_file(path)), np.uint8).copy()  # not read-only
    before, begin = peak_bytes(), time.process_time()
    suffixes = divsufsort(text)
    common = kasai(text, suffixes)  # with the next suffix
    group = np.concatenate(([0], np.cumsum(common[:-1] < window)))
    is_shared = np.zeros(len(text), np.bool_)
    is_shared[:-1] = common[:-1] >= window
    is_shared[1:] |= common[:-1] >= window
    starts, group = suffixes[is_shared].astype(np.int64), group[is_shared]
    inside = np.searchsorted(bounds_with_separators(bounds), starts, side="right") - 1
    first_byte, ends = bounds_with_separators(bounds)[inside], bounds_with_separators(bounds)[inside + 1] - 1
    whole = starts + window <= ends
    starts, group, document, first_byte = starts[whole], group[whole], inside[whole], first_byte[whole]
    order = np.lexsort((starts, group))
    starts, group, document = starts[order], group[order], document[order]
    is_first = np.append(True, group[1:] != group[:-1])
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(starts)), 0))
    chosen = (document != document[first]) | (starts[first] + window <= starts)
    starts = starts[chosen] - document[chosen]  # without separators
    edges = np.zeros(bounds[-1] + 1, np.int32)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + window, -1)
    repeated = np.cumsum(edges[:-1]) > 0
    return Found("pydivsufsort", time.process_time() - begin, peak_bytes() - before, repeated)


def texts_of_file(path: Path) -> list[bytes]:
    """The texts of the JSON lines that both sides read."""
    return [orjson.loads(line)["text"].encode() for line in path.read_bytes().splitlines()]


def bounds_of(path: Path) -> NDArray[np.int64]:
    """First byte of each text among all, and the end of the last."""
    return np.cumsum([0, *map(len, texts_of_file(path))])


def bounds_with_separators(bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same where a separator follows each text."""
    return bounds + np.arange(len(bounds))


def write(folders: Sequence[Path], megabytes: float, path: Path) -> int:
    """Write each distinct text up to a size; returns the bytes of all texts."""
    size = 0
    with path.open("wb") as file:
        for text in dict.fromkeys(chain.from_iterable(map(texts_of, folders))):
            if text and size < megabytes * 1e6:
                size += len(text.encode())
                file.write(orjson.dumps({"text": text}) + b"\n")
    return size


def main() -> None:
    """Print a line for each side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--bytes", type=int, default=400)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "all.jsonl"
        size = write(options.folders, options.megabytes, path)
        found = []
        for side in (ours, suffix_array):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                result = pool.submit(side, path, options.bytes).result()
            if result is not None:
                rate, share = size / result.seconds / 1e6, result.repeated.mean()
                about = f"{result.seconds:.1f} s, {rate:.2f} MB/s, {result.memory / 1e6:.0f} MB, {share:.4%} repeated"
                print(f"{result.name}: {size / 1e6:.1f} MB in {about}")
                found.append(result.repeated)
    if len(found) > 1:
        print(f"bytes that only one side finds: {int((found[0] != found[1]).sum())}")


if __name__ == "__main__":
    main()
