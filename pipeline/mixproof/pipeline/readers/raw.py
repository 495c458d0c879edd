"""Bytes of one input file: plain, gzip or zstd, local or remote, in blocks of bounded size.

Decompression is done here rather than by `gzip.open` or zstandard's `stream_reader`, because the latter returns
part of a truncated frame without a word. A file may hold several gzip members or zstd frames one after the
other; it is whole only when the last one ends where the file ends. Zero bytes after a gzip member are padding.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.spec import Limits

from .first_bytes import looks_like
from .remote import is_remote, remote_blocks

BLOCK_BYTES = 1 << 20
PACKED_BLOCK_BYTES = 1 << 16
"""Compressed bytes taken at a time; bounds what one step can unpack to."""
ZSTD_FEED_BYTES = 1 << 12
"""The same for zstd, where 4 bytes can stand for 128 KB: at most 128 MB come at once."""
FREE_UNPACKED_BYTES = 1000 * 1000 * 1000
"""What a file may unpack to, whatever its size; beyond it, `limits.expansion` times its own bytes."""
MAX_ZSTD_WINDOW_BYTES = 1 << 31
"""Frames of `zstd --long=31` open as well."""
NO_OTHER_LIMITS = Limits()
"""Those of a spec that names none."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes) -> bytes: ...


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """A local path with the file's bytes; a remote file is copied whole to a temporary place."""
    if not is_remote(url):
        yield Path(url)
        return
    with tempfile.TemporaryDirectory(prefix="mixproof-") as folder:
        target = Path(folder, "input")
        with target.open("wb") as file:
            for block in remote_blocks(url, 0):
                file.write(block)
        yield target


@contextmanager
def sparse_copy(size: int) -> Iterator[tuple[Path, BinaryIO]]:
    """A temporary file of `size` bytes that take no space, for whoever fetches only the parts that will be read."""
    with tempfile.TemporaryDirectory(prefix="mixproof-") as folder:
        target = Path(folder, "input")
        with target.open("wb") as file:
            file.truncate(size)
            yield target, file


def fetch(url: str, start: int, end: int, into: BinaryIO) -> None:
    """Copy bytes [start, end) of a remote file to their place in a local one."""
    into.seek(start)
    for block in remote_blocks(url, start, end):
        into.write(block)
    into.flush()


def blocks_from(url: str, start: int) -> Generator[bytes, None, None]:
    """Blocks of a file from a byte on to its end."""
    if is_remote(url):
        yield from remote_blocks(url, start)
        return
    with open(url, "rb", buffering=0) as file:  # noqa: PTH123 - unbuffered; a block a read
        file.seek(start)
        yield from plain_blocks(file)


def plain_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Blocks of a file from where it stands to its end."""
    while block := file.read(BLOCK_BYTES):
        yield block


def check_expansion(packed_bytes: int, unpacked_bytes: int, limits: Limits, name: str, place: str) -> None:
    """Refuse a bomb: what unpacks to more than the limit allows.

    Raises:
        DamagedFileError: naming the place, the limit and its key.
    """
    if unpacked_bytes > max(FREE_UNPACKED_BYTES, limits.expansion * packed_bytes):
        reason = (
            f"unpacks to more than {FREE_UNPACKED_BYTES} bytes and {limits.expansion} times its size, the limit of "
            "`limits: {expansion: ...}`; if it is right, raise the limit or unpack the file yourself"
        )
        raise DamagedFileError(name, place, reason)


def unpacked_blocks(file: BinaryIO, compression: str, name: str, limits: Limits = NO_OTHER_LIMITS) -> Iterator[bytes]:
    """Decompressed blocks of a `gz` or `zst` file.

    Raises:
        DamagedFileError: when the file is empty, ends inside a member or frame, fails its checksum, or goes on
            with something else, or is a bomb; names the offset in the compressed file.
    """
    unpacker = _unpacker(compression)
    offset, fresh, ended, unpacked_bytes = 0, True, False, 0
    feed_bytes = ZSTD_FEED_BYTES if compression == "zst" else PACKED_BLOCK_BYTES
    while packed := file.read(feed_bytes):
        while packed:
            if unpacker.eof:
                if compression == "gz" and not packed.strip(b"\0"):
                    offset += len(packed)
                    break
                unpacker = _unpacker(compression)
            try:
                block = unpacker.decompress(packed)
            except (zlib.error, zstandard.ZstdError) as error:
                reason = f"not valid {compression}: {error}{'' if ended or offset else looks_like(packed)}"
                raise DamagedFileError(name, f"compressed offset about {offset}", reason) from error
            rest = unpacker.unused_data if unpacker.eof else b""
            offset += len(packed) - len(rest)
            packed, fresh, ended = rest, False, unpacker.eof
            unpacked_bytes += len(block)
            check_expansion(offset, unpacked_bytes, limits, name, f"compressed offset about {offset}")
            if block:
                yield block
    if fresh or not ended:
        what = "the file is empty" if fresh else f"the file ends inside a {compression} stream, so it is truncated"
        raise DamagedFileError(name, f"compressed offset {offset}", what)


def _unpacker(compression: str) -> _Unpacker:
    if compression == "gz":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES).decompressobj()
