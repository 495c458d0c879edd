"""Groups of small files: consecutive files of a source that are read as one shard.

A shard costs about 25 ms and 15 files in the store whatever its size, so a million small files must not be a million
shards. A group ends behind a file whose name hashes below a limit that grows with the file's size, so a group has about
GROUP_BYTES bytes and at most about GROUP_FILES files. Whether a file ends a group depends on that file alone
(content-defined chunking; Muthitacharoen, Chen and Mazières 2001, "A Low-bandwidth Network File System"): a file that
is added or removed changes one group, and all other groups keep their outputs. Only a group that reaches MOST_TIMES its
size is cut by count; then the groups up to the next regular end may change too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby

import xxhash

from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.inputs.formats import TREES
from mixproof.pipeline.readers.remote import is_of_this_process

GROUP_BYTES = 8 * 1000 * 1000
"""Raw bytes of an average group: what an added file causes to be read and encoded again, 2 to 4 CPU seconds."""
GROUP_FILES = 256
"""Files of an average group of very small files."""
SMALL_DIVISOR = 8
"""A file of up to 1/8 of a group is small."""
LEAST_FILES = 32
"""Fewer consecutive small files are not grouped, so the files of a small source are read one by one."""
MOST_TIMES = 4
_HASHES = 1 << 64


def file_groups(files: Sequence[InputFile], shard_bytes: int) -> Iterator[tuple[InputFile, ...]]:
    """Divide a source's files, in order, into groups; a large file is a group of its own.

    Args:
        files: the files, sorted by name.
        shard_bytes: maximum size of a shard or group, in bytes.
    """
    group_bytes = min(GROUP_BYTES, shard_bytes)
    for kind, run in groupby(files, lambda file: _kind(file, group_bytes)):
        members = tuple(run)
        if kind is None or (len(members) < LEAST_FILES and members[0].format not in TREES):
            yield from ((file,) for file in members)
        else:
            yield from _cut(members, group_bytes)


def _kind(file: InputFile, group_bytes: int) -> Hashable:
    """What the files of a group have in common; None for a file that is not grouped."""
    if file.bytes * SMALL_DIVISOR > group_bytes:
        return None
    return file.format, file.compression, is_of_this_process(file.url)


def _cut(files: Sequence[InputFile], group_bytes: int) -> Iterator[tuple[InputFile, ...]]:
    group: list[InputFile] = []
    size = 0
    for file in files:
        group.append(file)
        size += file.bytes
        is_full = size >= MOST_TIMES * group_bytes or len(group) >= MOST_TIMES * GROUP_FILES
        if is_full or _ends_group(file, group_bytes):
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)


def _ends_group(file: InputFile, group_bytes: int) -> bool:
    """Whether a group ends behind this file: with a probability of its share of a group, by the hash of its name."""
    limit = _HASHES * file.bytes // group_bytes + _HASHES // GROUP_FILES
    return xxhash.xxh3_64_intdigest(file.name.encode()) < limit
