"""Shards: how files are divided into units of work, and the documents of one that was read.

The plan depends on the files and a constant, never on the workers. Plain JSON lines are divided into byte ranges; a
range owns the lines that start in it. Parquet is divided likewise by rows. Compressed JSON lines and WARC files of more
bytes than the constant are divided into pieces, which `unpack.py` has made. Smaller compressed files, files with
attributes, Arrow and the members of archives are shards as a whole. Many small files make one shard (`file_groups.py`),
whose documents name their file. The shards of a source give the same documents in the same order for any value of the
constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.inputs.formats import TREES
from mixproof.pipeline.readers.remote import is_chain

from .file_groups import file_groups
from .unpack import Pieces

SHARD_BYTES = 128 * 1000 * 1000
"""Raw bytes of a shard: half a second to read, minutes with heavy filters."""
DOCUMENTS = "documents.parquet"
REJECTS = "rejects.parquet"
DROPPED = "dropped.parquet"
"""The documents that the source's steps dropped, with their texts only if the source sets `keep_dropped`."""
HASHES = "hashes.npy"
PROMPTS = "prompts.npy"
"""Of conversations: as `hashes.npy`, with the hashes of prompts."""
PROMPT_TEXTS = "prompt_texts.parquet"
"""Of conversations whose prompts are compared with similar ones: a row per document, in the same order."""
CUT = frozenset({"jsonl", "parquet"})
"""Formats whose files are divided into ranges."""
NO_PIECES: Mapping[InputFile, Pieces] = {}


@dataclass(frozen=True)
class ShardPlan:
    """One shard to read: a range of one file, or several whole files."""

    source: str
    files: tuple[InputFile, ...]
    start: int
    end: int
    """Bytes [start, end) of the only file, decompressed if they are a piece; 0, 0 for a group of files."""
    piece: str | None = None
    """The file that holds these bytes, relative to the store; None: they are read from the file itself."""

    @property
    def is_group(self) -> bool:
        """Whether each document names its file; files of one document each are always such a group."""
        return len(self.files) > 1 or self.files[0].format in TREES

    @property
    def is_whole(self) -> bool:
        """Whether the shard holds whole files."""
        return self.is_group or (self.piece is None and self.end - self.start == self.files[0].bytes)

    @property
    def label(self) -> str:
        """Names the shard in errors and logs."""
        first = self.files[0].name
        if len(self.files) > 1:
            return f"{first} to {self.files[-1].name}"
        return f"{first} from {'decompressed ' if self.piece else ''}byte {self.start}"

    @property
    def location(self) -> str:
        """As `label`, with the URL of the first file."""
        return self.files[0].url + self.label.removeprefix(self.files[0].name)

    def bytes_of(self, file: InputFile) -> tuple[int, int]:
        """Bytes [start, end) that the shard reads of one of its files."""
        return (0, file.bytes) if self.is_group else (self.start, self.end)

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


def plan_shards(
    files: Mapping[str, Sequence[InputFile]],
    shard_bytes: int = SHARD_BYTES,
    pieces: Mapping[InputFile, Pieces] = NO_PIECES,
) -> list[ShardPlan]:
    """Divide every source into shards, in the order of (source as given, file name, offset in the file).

    Args:
        files: those of each source.
        shard_bytes: raw bytes of a shard.
        pieces: of the large compressed files.
    """
    if shard_bytes < 1:
        raise ValueError(f"a shard has at least one byte, not {shard_bytes}")
    plan: list[ShardPlan] = []
    for source, inputs in files.items():
        for group in file_groups(inputs, shard_bytes):
            if len(group) > 1 or group[0].format in TREES:
                plan.append(ShardPlan(source, group, 0, 0))
            elif pieces and group[0] in pieces:
                plan += _pieces_of(source, group[0], pieces[group[0]])
            else:
                plan += _file_shards(source, group[0], shard_bytes)
    return plan


def _file_shards(source: str, file: InputFile, shard_bytes: int) -> list[ShardPlan]:
    is_whole = file.compression or file.attributes or file.format not in CUT or is_chain(file.url)
    if is_whole or file.bytes <= shard_bytes:
        return [ShardPlan(source, (file,), 0, file.bytes)]
    starts = range(0, file.bytes, shard_bytes)
    return [ShardPlan(source, (file,), start, min(start + shard_bytes, file.bytes)) for start in starts]


def _pieces_of(source: str, file: InputFile, pieces: Pieces) -> list[ShardPlan]:
    starts = (0, *pieces.ends)
    return [
        ShardPlan(source, (file,), start, end, pieces.path(index))
        for index, (start, end) in enumerate(zip(starts, pieces.ends, strict=False))
    ]
