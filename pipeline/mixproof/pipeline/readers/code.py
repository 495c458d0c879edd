"""Source code: every file is a document, and its name is the id.

Line ends are kept; a byte order mark is removed. A file is held in memory as a whole while it is read.
"""

from __future__ import annotations

from mixproof.pipeline.record import Raw, Reject, detail_of

from .raw import local_copy

MAX_FILE_BYTES = 256 * 1000 * 1000


def read_code(url: str, name: str) -> Raw | Reject:
    """Return the one document of a file, or the reason to reject it."""
    with local_copy(url) as path:
        if path.stat().st_size > MAX_FILE_BYTES:
            return Reject(0, 1, "file_too_large", f"more than {MAX_FILE_BYTES} bytes")
        data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Reject(0, 1, "invalid_utf8", detail_of(data))
    return Raw(0, name, text) if text else Reject(0, 1, "empty_text", "")
