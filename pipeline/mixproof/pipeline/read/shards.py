"""Shards: how files are divided into units of work, and the documents of one that was read.

The plan depends on the files and a constant, never on the workers. Plain JSON lines are divided into byte ranges; a
range owns the lines that start in it. Parquet is divided likewise by row groups. Compressed files, Arrow, WARC and the
members of archives are shards as a whole. Where a file is one document (code, text), many files make one shard. The
shards of a source give the same documents in the same order for any value of the constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.inputs.formats import TREES
from mixproof.pipeline.readers.remote import is_chain

SHARD_BYTES = 128 * 1000 * 1000
"""Raw bytes of a shard: half a second to read, minutes with heavy filters."""
TREE_SHARD_FILES = 2000
DOCUMENTS = "documents.parquet"
REJECTS = "rejects.parquet"
DROPPED = "dropped.parquet"
"""The documents that the source's steps dropped, with their texts only if the source sets `keep_dropped`."""
HASHES = "hashes.npy"
PROMPTS = "prompts.npy"
"""Of conversations: as `hashes.npy`, with the hashes of prompts."""
CUT = frozenset({"jsonl", "parquet"})
"""Formats whose files are divided into ranges."""


@dataclass(frozen=True)
class ShardPlan:
    """One shard to read: a range of one file, or several whole files of one document each."""

    source: str
    files: tuple[InputFile, ...]
    start: int
    end: int
    """Bytes [start, end) of the only file; 0, 0 for several files."""

    @property
    def input_bytes(self) -> int:
        """Raw bytes that the shard reads."""
        return self.end - self.start if self.end else sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Shard:
    """The documents of one shard that was read: `<folder>/documents.parquet`, one row per document."""

    source: str
    file: str
    """Name of the input file; "" where the shard holds many files and the column `file` names them."""
    first_record: int
    """Index in the whole file of the shard's record 0: add it to the column `record`."""
    records: int
    """Raw records, rejected and blank ones included."""
    folder: str
    """`read/<key>`, relative to the store."""
    documents: int
    """Rows of `documents.parquet`."""
    text_bytes: int
    """UTF-8 bytes of those rows' texts; of a cell, those of its documents."""
    documents_sha256: str


def plan_shards(files: Mapping[str, Sequence[InputFile]], shard_bytes: int = SHARD_BYTES) -> list[ShardPlan]:
    """Divide every source into shards, in the order of (source as given, file name, offset in the file)."""
    if shard_bytes < 1:
        raise ValueError(f"a shard has at least one byte, not {shard_bytes}")
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
    group_bytes = 0
    for file in files:
        if not shards or group_bytes + file.bytes > shard_bytes or len(shards[-1]) >= TREE_SHARD_FILES:
            shards.append([])
            group_bytes = 0
        shards[-1].append(file)
        group_bytes += file.bytes
    return [ShardPlan(source, tuple(shard), 0, 0) for shard in shards]
