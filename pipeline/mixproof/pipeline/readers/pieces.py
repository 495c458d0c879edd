"""Divide a stream of bytes into pieces that can be read on their own: behind line ends, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class PieceSink(Protocol):
    """Receives the bytes of a stream, in order, and where its pieces end."""

    @property
    def length(self) -> int:
        """Bytes of the current piece so far."""

    def write(self, data: bytes) -> None:
        """Add bytes to the current piece."""

    def end_piece(self) -> None:
        """End the current piece; what follows belongs to the next one."""


def copy_lines(blocks: Iterable[bytes], out: PieceSink, piece_bytes: int) -> None:
    """Copy a stream to `out`, divided into pieces: each ends behind the first line end at or after `piece_bytes`."""
    for block in blocks:
        start = 0
        while start < len(block):
            # the last byte of a piece is a line end, at index `piece_bytes` - 1 or later
            found = block.find(b"\n", start + max(0, piece_bytes - 1 - out.length))
            stop = found + 1 if found >= 0 else len(block)
            out.write(block[start:stop])
            if found >= 0:
                out.end_piece()
            start = stop
