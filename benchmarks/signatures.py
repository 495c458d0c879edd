"""Deduplication behind hashes and signatures, on made-up ones: files opened, requests, time and memory of every step.

    python benchmarks/signatures.py [--documents 10000000] [--shards 100] [--ranges N] [--direct | --regroup] [--s3]

Signatures are random minima. A share of the documents of each shard copies one of 1,000 documents of the corpus with a
tenth of the minima replaced, so components are large. Hashes of texts are random too; a quarter of that share has one
of 1,000 hashes. Shards are written as `read` and `minhash` write them, 32 and 672 bytes a document. Then exact and
fuzzy deduplication run as in a build, task after task in this process.

`--direct` reads a slice of every shard for each range, `--regroup` regroups however few shards there are. `--ranges`
divides the hashes into more ranges than so few documents need: with a thousandth of the documents per shard and per
range, as many files are opened as with full ones. `--s3` puts the store on moto's S3 server, and copies of it into one
folder, as on one node. Printed for each kind of task: how many, CPU seconds, the longest task, the largest resident set
above that of the process before it (mapped pages count), files opened in the store, and for S3 requests and megabytes
received. The digest of all bitmaps at the end is the same whichever way they were computed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from inline import peak_bytes
from mixproof.ledger.fingerprint import sha256_of, stage_key
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import FuzzyDedup
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.dedup import buckets, exact
from mixproof.pipeline.dedup.exact import deduplicate_exactly
from mixproof.pipeline.dedup.fuzzy import deduplicate_fuzzily
from mixproof.pipeline.dedup.lost_documents import GroupResult
from mixproof.pipeline.dedup.minhash import Sketch, band_hashes, short_signatures
from mixproof.pipeline.dedup.signatures import BAND_ROWS, BANDS, SIGNATURES, signature_key
from mixproof.pipeline.dedup.signatures import STAGE as MINHASH
from mixproof.pipeline.read.shard_output import HASH_DTYPE
from mixproof.pipeline.read.shards import HASHES, Shard
from mixproof.pipeline.shuffle import plan
from object_store import serve_objects

ROOTS = 1000
BLOCK = 20_000
REPLACED = 0.1
COLUMNS = "step                          tasks    CPU s  longest MB at most    opened  requests   MB got"


def write_shard(store: Store, sketch: Sketch, number: int, documents: int, copies: float) -> Shard:
    """Write one shard's hashes, signatures and sorted bands."""
    chosen = np.random.default_rng(number)
    key = stage_key("read", 0, {}, [number])
    shard = Shard("made-up", "", 0, documents, f"read/{key}", documents, 1000 * documents, sha256_of(number))
    roots = np.random.default_rng(2**32).integers(0, 2**32 - 1, (sketch.minima, ROOTS), dtype=np.uint32)
    hashes = np.zeros(documents, dtype=HASH_DTYPE)
    hashes["high"] = chosen.integers(0, 2**64 - 1, documents, dtype=np.uint64)
    repeated = chosen.random(documents) < copies / 4
    hashes["high"][repeated] = mixed_numbers(chosen.integers(0, ROOTS, int(repeated.sum())))
    hashes["row"], hashes["bytes"] = np.arange(documents), 1000
    with store.attempt("read", key) as attempt:
        np.save(attempt.path(HASHES), hashes[np.argsort(hashes["high"], kind="stable")])
        attempt.commit()
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
    band_values = np.concatenate(bands).reshape(-1)
    order = np.argsort(band_values, kind="stable")
    with store.attempt(MINHASH, signature_key(shard, sketch)) as attempt:
        np.save(attempt.path(SIGNATURES), np.concatenate(signatures))
        np.save(attempt.path(BANDS), band_values[order])
        np.save(attempt.path(BAND_ROWS), (order // sketch.bands).astype(np.uint32))
        attempt.commit()
    return shard


def mixed_numbers(numbers: Any) -> Any:  # noqa: ANN401  integers [n]
    """Spread small numbers over 64 bits."""
    return numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Used:
    """What the tasks of one kind used."""

    tasks: int = 0
    cpu: float = 0.0
    longest: float = 0.0
    peak: int = 0
    opened: int = 0
    requests: int = 0
    received: int = 0

    def show(self, name: str) -> None:
        """Print the row of one kind."""
        print(
            f"{name:<28} {self.tasks:>6} {self.cpu:>8.1f} {self.longest:>8.2f} {self.peak / 1e6:>10,.0f} "
            f"{self.opened:>9,} {self.requests:>9,} {self.received / 1e6:>8,.0f}",
            flush=True,
        )


class Measured(Cluster):
    """Runs every task in this process and measures it; what is left is the driver's."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.used: dict[str, Used] = {}
        self._root, self._now = str(root), Used()
        sys.addaudithook(self._note_open)

    def _note_open(self, event: str, arguments: Any) -> None:  # noqa: ANN401  of any event
        if event == "open" and str(arguments[0]).startswith(self._root):
            self._now.opened += 1

    def note(self, received: int) -> None:
        """Count one request to S3."""
        self._now.requests += 1
        self._now.received += received

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Count what is done meanwhile under `name`."""
        outer, self._now = self._now, self.used.setdefault(name, Used())
        used = self._now
        Path("/proc/self/clear_refs").write_text("5")
        before, start = peak_bytes(), time.process_time()
        yield
        taken = time.process_time() - start
        used.cpu, used.longest, used.tasks = used.cpu + taken, max(used.longest, taken), used.tasks + 1
        used.peak = max(used.peak, peak_bytes() - before)
        self._now = outer

    def show_all(self) -> None:
        """Print a row for each kind; the driver's is without the tasks that ran meanwhile."""
        self.used["(driver)"].cpu -= sum(used.cpu for name, used in self.used.items() if name[0] != "(")
        for name, used in self.used.items():
            used.show(name)

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[object, ...]], **_: Any) -> list[Any]:  # noqa: ANN401
        """Results in the order of the calls."""
        results = []
        for call in calls:
            with self.measured(function.__module__.rpartition(".")[2] + "." + function.__name__):
                results.append(function(*call))
        return results


@contextmanager
def counted_requests(cluster: Measured) -> Iterator[str]:
    """Serve S3 and count its requests; yields the URL of a store."""
    from s3fs import S3FileSystem  # type: ignore[import-untyped]  # it ships no types

    original = S3FileSystem._call_s3

    async def counted(system: Any, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  of s3fs
        answer = await original(system, method, *arguments, **options)
        cluster.note(int(answer["ContentLength"]) if method == "get_object" else 0)
        return answer

    with serve_objects() as objects:
        S3FileSystem._call_s3 = counted
        S3FileSystem.call_s3 = lambda system, *arguments, **options: _sync(system, counted, *arguments, **options)
        yield f"{objects.bucket(f'bucket-{uuid.uuid4().hex}')}/store"


def _sync(system: Any, function: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  of fsspec
    from fsspec.asyn import sync

    return sync(system.loop, function, system, *arguments, **options)


def digest_of(found: GroupResult) -> str:
    """A digest of all bitmaps."""
    return sha256_of(" ".join(bitmap.sha256 if bitmap else "all" for bitmap in found.keep))[:16]


def main() -> None:
    """Write, search, and print a row for each kind of task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--copies", type=float, default=0.2)
    parser.add_argument("--ranges", type=int, help="of band hashes; of text hashes a 24th")
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--regroup", action="store_true")
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    each = given.documents // given.shards
    rule = FuzzyDedup()
    if given.ranges:
        buckets.RANGE_RECORDS = -(-24 * given.documents // given.ranges)
        exact.RANGE_DOCUMENTS = buckets.RANGE_RECORDS
    if given.direct or given.regroup:
        plan.MOST_OPENINGS = sys.maxsize if given.direct else 0
    with tempfile.TemporaryDirectory(dir=given.work) as work, ExitStack() as stack:
        cluster = Measured(Path(work))
        os.environ["MIXPROOF_CACHE"] = f"{work}/copies"
        store = Store(stack.enter_context(counted_requests(cluster)) if given.s3 else work)
        print(f"{each * given.shards:,} documents in {given.shards} shards, load {os.getloadavg()[0]:.1f}\n{COLUMNS}")
        shards = []
        for number in range(given.shards):
            with cluster.measured("(written)"):
                sketch = Sketch(rule.ngram, rule.bands, rule.rows)
                shards.append(write_shard(store, sketch, number, each, given.copies))
        if given.s3:  # another node, which has no copies
            os.environ["MIXPROOF_CACHE"] = f"{work}/node"
            store = Store(str(store))
        with cluster.measured("(driver)"):
            kept = deduplicate_exactly(shards, store, cluster).keep
            found = deduplicate_fuzzily(shards, kept, rule, store, cluster)
        cluster.show_all()
        tasks = [used for name, used in cluster.used.items() if name != "(written)"]
        sums = (sum(getattr(used, name) for used in tasks) for name in ("cpu", "opened", "requests", "received"))
        cpu, opened, requests, received = sums
        size = sum(path.stat().st_size for path in Path(work).rglob("*") if path.is_file())
        print(
            f"{cpu / given.documents * 1e6:.1f} us of CPU a document; {opened:,} files opened, {requests:,} requests, "
            f"{received / 1e6:,.0f} MB received; {size / 1e9:.2f} GB on disk; load {os.getloadavg()[0]:.1f}\n"
            f"bitmaps: {digest_of(found)}"
        )


if __name__ == "__main__":
    main()
