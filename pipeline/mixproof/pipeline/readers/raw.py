"""Bytes of one input file: plain, gzip or zstd, local or remote, in blocks of bounded size.

Files are decompressed here rather than by `gzip.open` or zstandard's `stream_reader`, because the latter silently
returns part of a truncated frame. A file may hold several gzip members or zstd frames one after the other; it is
complete only if the last one ends where the file ends. Zero bytes after a gzip member are padding.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.blocks.source import Limits

from .first_bytes import ZSTD, looks_like
from .remote import is_remote, opened_filesystem, remote_blocks, store_errors

BLOCK_BYTES = 1 << 20
PACKED_BLOCK_BYTES = 1 << 16
"""Compressed bytes per call; bounds what one call can decompress to."""
ZSTD_FEED_BYTES = 1 << 12
"""The same for zstd, where 4 bytes can decompress to 128 KB: at most 128 MB per call."""
FREE_UNPACKED_BYTES = 1000 * 1000 * 1000
"""What a file of any size may decompress to; larger ones up to `limits.expansion` times their own bytes."""
_FEED_BYTES = {"gz": PACKED_BLOCK_BYTES, "zst": ZSTD_FEED_BYTES}
MAX_ZSTD_WINDOW_BYTES = 1 << 31
"""Enough for `zstd --long=31`."""
NO_OTHER_LIMITS = Limits()
"""The limits of a spec that sets none."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes) -> bytes: ...


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """A local path with the file's bytes; a remote file is copied as a whole to a temporary folder."""
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
    """A sparse temporary file of `size` bytes, into which only the parts needed are fetched."""
    with tempfile.TemporaryDirectory(prefix="mixproof-") as folder:
        target = Path(folder, "input")
        with target.open("wb") as file:
            file.truncate(size)
            yield target, file


def fetch(url: str, start: int, end: int, into: BinaryIO) -> None:
    """Copy bytes [start, end) of a remote file to the same offset of a local one."""
    into.seek(start)
    for block in remote_blocks(url, start, end):
        into.write(block)
    into.flush()


def blocks_from(url: str, start: int) -> Generator[bytes, None, None]:
    """Blocks of a file from the byte `start` to its end."""
    if is_remote(url):
        yield from remote_blocks(url, start)
        return
    with open(url, "rb", buffering=0) as file:  # noqa: PTH123 - unbuffered; one block per read
        file.seek(start)
        yield from plain_blocks(file)


@contextmanager
def open_input(url: str) -> Iterator[BinaryIO]:
    """Open a file for reading; its name is taken as it is, also where fsspec would see a glob or a chain in it."""
    if not is_remote(url):
        with Path(url).open("rb") as file:
            yield file
        return
    filesystem, path = opened_filesystem(url)
    with store_errors(url), filesystem.open(path, "rb") as file:
        yield file


def plain_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Blocks of a file from its current position to its end."""
    while block := file.read(BLOCK_BYTES):
        yield block


def check_expansion(packed_bytes: int, unpacked_bytes: int, limits: Limits, name: str, location: str) -> None:
    """Refuse data that decompresses to more than the limit allows (a decompression bomb).

    Raises:
        DamagedFileError: naming the location, the limit and its key.
    """
    if unpacked_bytes > max(FREE_UNPACKED_BYTES, limits.expansion * packed_bytes):
        reason = (
            f"decompresses to more than {FREE_UNPACKED_BYTES} bytes and more than {limits.expansion} times its size, "
            "the limit set by `limits: {expansion: ...}`; if the file is good, raise the limit or decompress it"
        )
        raise DamagedFileError(name, location, reason)


def unpacked_blocks(file: BinaryIO, compression: str, name: str, limits: Limits = NO_OTHER_LIMITS) -> Iterator[bytes]:
    """Decompressed blocks of an open `gz` or `zst` file; see `unpacked`."""
    size = _FEED_BYTES[compression]
    return unpacked(iter(lambda: file.read(size), b""), compression, name, limits)


def unpacked_stream(url: str, compression: str, limits: Limits) -> Iterator[bytes]:
    """Decompressed blocks of a `gz` or `zst` file by its URL; no copy of a remote file is made. See `unpacked`."""
    size = _FEED_BYTES[compression]
    pieces = (block[at : at + size] for block in blocks_from(url, 0) for at in range(0, len(block), size))
    return unpacked(pieces, compression, url, limits)


def unpacked(feed: Iterable[bytes], compression: str, name: str, limits: Limits) -> Iterator[bytes]:
    """Decompressed blocks of a `gz` or `zst` file.

    Args:
        feed: the file's bytes, in blocks of at most `_FEED_BYTES`.
        compression: `gz` or `zst`.
        name: of the file, for errors.
        limits: on expansion.

    Raises:
        DamagedFileError: when the file is empty, ends inside a member or frame, fails its checksum, continues
            with other data, or is a decompression bomb; names the offset in the compressed file.
    """
    unpacker = _unpacker(compression)
    offset, is_empty, ended, unpacked_bytes = 0, True, False, 0
    for block_of_feed in feed:
        packed = block_of_feed
        while packed:
            if unpacker.eof:
                if compression == "gz" and not packed.strip(b"\0"):
                    offset += len(packed)
                    break
                unpacker = _unpacker(compression)
            try:
                block = unpacker.decompress(packed)
            except (zlib.error, zstandard.ZstdError) as error:
                reason = f"not valid {compression}: {error}{'' if ended or offset else _hint(packed, compression)}"
                raise DamagedFileError(name, f"compressed offset about {offset}", reason) from error
            unused = unpacker.unused_data if unpacker.eof else b""
            offset += len(packed) - len(unused)
            packed, is_empty, ended = unused, False, unpacker.eof
            unpacked_bytes += len(block)
            check_expansion(offset, unpacked_bytes, limits, name, f"compressed offset about {offset}")
            if block:
                yield block
    if is_empty or not ended:
        what = "the file is empty" if is_empty else f"the file ends inside a {compression} stream, so it is truncated"
        raise DamagedFileError(name, f"compressed offset {offset}", what)


def _hint(packed: bytes, compression: str) -> str:
    """What to do about a file that cannot be decompressed from its first bytes on."""
    if compression == "zst" and packed.startswith(ZSTD):
        dictionary = zstandard.get_frame_parameters(packed).dict_id
        return f"; it needs the dictionary {dictionary}; decompress it with that" if dictionary else ""
    return looks_like(packed, compression)


def _unpacker(compression: str) -> _Unpacker:
    if compression == "gz":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES).decompressobj()
