"""Plain text: every file is a document, and its name is the id; gzip and zstd are decompressed.

The text is UTF-8; a byte order mark is removed, and line ends are kept. A file is held in memory as a whole while it is
read.
"""

from __future__ import annotations

from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.record import Raw, Reject, detail_of

from .code import MAX_FILE_BYTES
from .raw import NO_OTHER_LIMITS, local_copy, unpacked_blocks


def read_text(url: str, compression: str | None, name: str, limits: Limits = NO_OTHER_LIMITS) -> Raw | Reject:
    """Return the one document of a file, or the reason to reject it.

    Raises:
        DamagedFileError: when a compressed file cannot be read to its end.
    """
    with local_copy(url) as path, path.open("rb") as file:
        if compression is None:
            data = file.read(MAX_FILE_BYTES + 1)
        else:
            held = bytearray()
            for block in unpacked_blocks(file, compression, url, limits):
                if len(held) <= MAX_FILE_BYTES:
                    held += block
            data = bytes(held)
    if len(data) > MAX_FILE_BYTES:
        detail = f"more than {MAX_FILE_BYTES} bytes in one document; write JSON lines instead"
        return Reject(0, 1, "file_too_large", detail)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Reject(0, 1, "invalid_utf8", detail_of(data))
    return Raw(0, name, text) if text else Reject(0, 1, "empty_text", "")
