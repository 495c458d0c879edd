"""The shard plan: units of work that depend on the files and a constant, never on the workers.

Plain JSON lines are cut into byte ranges, each owning the lines that start in it; Parquet likewise by row
groups. Compressed files are whole, and so are Arrow, WARC and what lies in an archive. Where a file is one document
(code, text), many make one shard. Whatever the constant, the shards of a source give the same documents in the same
order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixproof.pipeline.readers.remote import is_chain

from .files import InputFile
from .formats import TREES

SHARD_BYTES = 128 * 1000 * 1000
"""Raw bytes of a shard: half a second to read, minutes with heavy filters."""
TREE_SHARD_FILES = 2000
CUT = frozenset({"jsonl", "parquet"})
"""Formats whose files are cut into ranges."""


@dataclass(frozen=True)
class ShardPlan:
    """One shard to read: a range of one file, or several whole files of a document each."""

    source: str
    files: tuple[InputFile, ...]
    start: int
    end: int
    """Bytes [start, end) of the only file; 0, 0 for several files."""

    @property
    def input_bytes(self) -> int:
        """Raw bytes that the shard reads."""
        return self.end - self.start if self.end else sum(file.bytes for file in self.files)


def plan_shards(files: Mapping[str, Sequence[InputFile]], shard_bytes: int = SHARD_BYTES) -> list[ShardPlan]:
    """Cut every source into shards, in the order of (source as given, file name, place in the file)."""
    if shard_bytes < 1:
        raise ValueError(f"a shard needs at least one byte, not {shard_bytes}")
    plan: list[ShardPlan] = []
    for source, inputs in files.items():
        tree = [file for file in inputs if file.format in TREES]
        plan += _tree_shards(source, tree, shard_bytes)
        for file in inputs:
            if file.format not in TREES:
                plan += _file_shards(source, file, shard_bytes)
    return plan


def _file_shards(source: str, file: InputFile, shard_bytes: int) -> list[ShardPlan]:
    if file.compression or file.format not in CUT or is_chain(file.url) or file.bytes <= shard_bytes:
        return [ShardPlan(source, (file,), 0, file.bytes)]
    starts = range(0, file.bytes, shard_bytes)
    return [ShardPlan(source, (file,), start, min(start + shard_bytes, file.bytes)) for start in starts]


def _tree_shards(source: str, files: Sequence[InputFile], shard_bytes: int) -> list[ShardPlan]:
    shards: list[list[InputFile]] = []
    held = 0
    for file in files:
        if not shards or held + file.bytes > shard_bytes or len(shards[-1]) >= TREE_SHARD_FILES:
            shards.append([])
            held = 0
        shards[-1].append(file)
        held += file.bytes
    return [ShardPlan(source, tuple(shard), 0, 0) for shard in shards]
