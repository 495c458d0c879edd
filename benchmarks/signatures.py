"""Fuzzy deduplication behind the signatures, on made-up ones: time and memory of edges, components and keepers.

    python benchmarks/signatures.py [--documents 10000000] [--shards 50] [--copies 0.2] [--work DIRECTORY]

Signatures are random minima. A share of the documents of each shard copies one of its first 1,000 documents with a
tenth of the minima replaced, so components are large (about 200 documents a root). Shards are written as the stage
`minhash` writes them, 672 bytes a document. Then every range of band hashes is searched for edges, all components are
connected, and keepers are chosen, task after task in this process. The memory is the largest resident set of any task
of a step above that of the process before it; file pages that are mapped count too.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from inline import peak_bytes
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import FuzzyDedup
from mixproof.pipeline.dedup.components import connect, trees_file
from mixproof.pipeline.dedup.edges import STAGE, find_edges, range_count
from mixproof.pipeline.dedup.fuzzy import equal_minima
from mixproof.pipeline.dedup.keepers import LOSERS, find_losers
from mixproof.pipeline.dedup.minhash import Sketch, band_hashes, short_signatures
from mixproof.pipeline.dedup.signatures import BAND_ROWS, BANDS, SIGNATURES
from mixproof.pipeline.group import GroupShard, save_group

ROOTS = 1000
BLOCK = 20_000
REPLACED = 0.1


def write_shard(store: Store, sketch: Sketch, number: int, documents: int, copies: float) -> str:
    """Write one shard's signatures and sorted bands; returns their folder."""
    chosen = np.random.default_rng(number)
    key = stage_key("minhash", 0, {}, [number])
    roots = chosen.integers(0, 2**32 - 1, (sketch.minima, ROOTS), dtype=np.uint32)
    signatures, bands = [], []
    for first in range(0, documents, BLOCK):
        size = min(BLOCK, documents - first)
        found = chosen.integers(0, 2**32 - 1, (sketch.minima, size), dtype=np.uint32)
        is_copy = chosen.random(size) < copies
        stays = chosen.random((sketch.minima, int(is_copy.sum()))) >= REPLACED
        of_roots = roots[:, chosen.integers(0, ROOTS, int(is_copy.sum()))]
        found[:, is_copy] = np.where(stays, of_roots, found[:, is_copy])
        signatures.append(short_signatures(found))
        bands.append(band_hashes(found, sketch))
    hashes = np.concatenate(bands).reshape(-1)
    order = np.argsort(hashes, kind="stable")
    with store.attempt("minhash", key) as attempt:
        np.save(attempt.path(SIGNATURES), np.concatenate(signatures))
        np.save(attempt.path(BANDS), hashes[order])
        np.save(attempt.path(BAND_ROWS), (order // sketch.bands).astype(np.uint32))
        attempt.commit()
    return f"minhash/{key}"


class Meter:
    """CPU seconds and memory of the tasks of one step."""

    def __init__(self, name: str, tasks: int) -> None:
        self._name, self._tasks, self._cpu, self._longest, self._peak = name, tasks, 0.0, 0.0, 0

    def run(self, task: Callable[[], None]) -> None:
        """Run a task with the kernel's mark of the largest resident set put back before it."""
        Path("/proc/self/clear_refs").write_text("5")
        before, start = peak_bytes(), time.process_time()
        task()
        taken = time.process_time() - start
        self._cpu, self._longest = self._cpu + taken, max(self._longest, taken)
        self._peak = max(self._peak, peak_bytes() - before)

    def show(self) -> None:
        """Print the step's row."""
        print(
            f"{self._name:<12} {self._tasks:>6} {self._cpu:>10.1f} {self._longest:>12.1f} {self._peak / 1e6:>10,.0f}",
            flush=True,
        )


def main() -> None:
    """Write, search, and print a row for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=50)
    parser.add_argument("--copies", type=float, default=0.2)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    rule = FuzzyDedup()
    sketch = Sketch(rule.ngram, rule.bands, rule.rows)
    agree = equal_minima(rule.threshold, sketch.minima)
    each = given.documents // given.shards
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        store = Store(work)
        print(f"{each * given.shards:,} documents in {given.shards} shards, load {os.getloadavg()[0]:.1f}")
        print(f"{'step':<12} {'tasks':>6} {'CPU s':>10} {'longest task':>12} {'MB at most':>10}", flush=True)
        written = Meter("(written)", given.shards)
        folders: list[str] = []
        for _ in range(given.shards):
            written.run(lambda: folders.append(write_shard(store, sketch, len(folders), each, given.copies)))
        written.show()
        group = stage_key(STAGE, 0, {}, folders)
        save_group(
            store, STAGE, group, [GroupShard(folder, number * each, None) for number, folder in enumerate(folders)]
        )
        ranges = range_count(each * given.shards * sketch.bands)
        forests = [stage_key(STAGE, 0, {"range": number}, [group]) for number in range(ranges)]
        edges = Meter("edges", ranges)
        for number, key in enumerate(forests):
            edges.run(lambda number=number, key=key: find_edges(store, key, group, number, ranges, agree))  # type: ignore[misc]
        edges.show()
        trees = stage_key(STAGE, 0, {"trees": True}, [group])
        components = Meter("components", 1)
        components.run(lambda: connect(store, STAGE, trees, forests))
        components.show()
        receipt = store.receipt(STAGE, trees)
        assert receipt is not None
        files = [int(name.removeprefix("trees-")[:6]) for name in receipt.files]
        assert sorted(map(trees_file, files)) == sorted(receipt.files)
        keepers, losers = Meter("keepers", len(files)), 0
        for part in files:
            key = stage_key(STAGE, 0, {"losers": part}, [group])
            keepers.run(lambda part=part, key=key: find_losers(store, key, trees, part, group, agree))  # type: ignore[misc]
            losers += len(np.load(store.path(f"{STAGE}/{key}/{LOSERS}"), mmap_mode="r"))
        keepers.show()
        size = sum(path.stat().st_size for path in Path(work).rglob("*") if path.is_file())
        print(f"{losers:,} documents dropped, {size / 1e9:.1f} GB on disk, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
