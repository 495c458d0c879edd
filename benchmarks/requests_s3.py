"""Requests to an S3 store, counted: how many each shard costs in each stage of a build, and how many a build costs.

    python benchmarks/requests_s3.py FOLDER [--shards 2 6] [--megabytes 2] [--semantic]

The store is moto's S3 server in a process of its own. Texts of FOLDER are written to files of `--megabytes` MB, each of
which is one shard. A build with exact and fuzzy deduplication (with `--semantic` also semantic deduplication), held-out
sets and decontamination is run in this process with few and with more shards, into a new store, and every call of the
S3 client is counted under the stage that makes it. The difference, divided by that of the shards, is what a shard
costs. A file above 64 MB takes one more request for each 32 MB when it is uploaded. Each other node of a cluster copies
what it reads, by up to four requests a file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from s3fs import S3FileSystem  # type: ignore[import-untyped]  # it ships no types

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from growth import SPEC, documents_of, write_files, write_tokenizer
from mixproof.cli.commands.build import run_build
from mixproof.cli.request import open_request
from mixproof.pipeline.cluster.cluster import Cluster
from object_store import serve_objects

T = TypeVar("T")
DRIVER = "driver"


class Counted(Cluster):
    """Runs every task in this process and counts the S3 calls of each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[tuple[str, str]] = Counter()
        self._stage = DRIVER

    def run(self, function: Callable[..., T], calls: Sequence[tuple[object, ...]], **options: object) -> list[T]:
        """Results in the order of the calls."""
        self._stage = str(options["label"])
        try:
            return [function(*call) for call in calls]
        finally:
            self._stage = DRIVER

    def note(self, method: str) -> None:
        """Count one call of the client."""
        self.calls[self._stage, method] += 1


def calls_of_build(folder: Path, bucket: str) -> Counter[tuple[str, str]]:
    """Build the spec in `folder` into a new store and return the number of calls by (stage, method)."""
    original, original_sync = S3FileSystem._call_s3, S3FileSystem.call_s3
    cluster = Counted()

    async def counted(system: Any, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  of s3fs
        cluster.note(method)
        return await original(system, method, *arguments, **options)

    def counted_sync(system: Any, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  of s3fs
        cluster.note(method)
        return original_sync(system, method, *arguments, **options)

    S3FileSystem._call_s3, S3FileSystem.call_s3 = counted, counted_sync
    try:
        run_build(open_request(folder / "growth.yaml", f"{bucket}/{uuid.uuid4().hex}"), cluster)
    finally:
        S3FileSystem._call_s3, S3FileSystem.call_s3 = original, original_sync
    return cluster.calls


def main() -> None:
    """Count and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", nargs=2, type=int, default=[2, 6])
    parser.add_argument("--megabytes", type=float, default=2)
    parser.add_argument("--semantic", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, serve_objects() as objects:
        os.environ["MIXPROOF_CACHE"] = f"{work}/copies"
        bucket = objects.bucket(f"bucket-{uuid.uuid4().hex}")
        texts = documents_of(given.folder, given.megabytes * max(given.shards))
        tokenizer = write_tokenizer(texts, Path(work) / "tok")
        found = []
        for shards in given.shards:
            folder = Path(work) / str(shards)
            write_files(texts[: len(texts) * shards // max(given.shards)], shards, folder / "corpus")
            spec = SPEC.format(folder=folder / "corpus", tokenizer=tokenizer)
            if given.semantic:
                spec = spec.replace("fuzzy: {}", "fuzzy: {}, semantic: true")
            (folder / "growth.yaml").write_text(spec)
            found.append(calls_of_build(folder, bucket))
    few, many = found
    added = given.shards[1] - given.shards[0]
    print(f"{'stage':<24} {'method':<26} {given.shards[0]:>5} shards {given.shards[1]:>5} shards  per shard")
    for stage, method in sorted(many.keys() | few.keys()):
        slope = (many[stage, method] - few[stage, method]) / added
        print(f"{stage:<24} {method:<26} {few[stage, method]:>12} {many[stage, method]:>12} {slope:>10.1f}")
    per_shard = (many.total() - few.total()) / added
    print(f"{'all':<51} {few.total():>12} {many.total():>12} {per_shard:>10.1f}")
    print(json.dumps({"per_shard": per_shard, "per_build": few.total() - per_shard * given.shards[0]}))


if __name__ == "__main__":
    main()
