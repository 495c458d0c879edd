"""Formats of raw files, by their names or by the spec."""

from __future__ import annotations

import os
from typing import Literal

from mixproof.ledger.errors import RequestError

Format = Literal["jsonl", "parquet", "arrow", "text", "warc", "wet", "code", "megatron"]
Compression = Literal["gz", "zst"]

TREES = frozenset({"code", "text"})
"""Formats in which a file is one document."""
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".warc": "warc",
    ".wet": "wet",
}
CONVERSATION_FILES: frozenset[Format] = frozenset({"jsonl", "parquet", "arrow"})
"""Formats of files that may hold conversations."""
_WHOLE: frozenset[Format] = frozenset({"parquet", "arrow", "code"})
"""Never inside gzip or zstd: they have their own compression, or are read as they are."""
_PACKED: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}


def format_of(url: str, declared: Format | None, *, where: str) -> tuple[Format, Compression | None]:
    """Format and compression of a file.

    Raises:
        RequestError: when neither its name nor `declared` gives the format; `where` is the key that lists the file.
    """
    compression = _PACKED.get(os.path.splitext(url.lower())[1])  # noqa: PTH122 - a URL is not a Path
    if declared is not None:
        return declared, None if declared in _WHOLE else compression
    kind = kind_by_name(url)
    if kind is None or (compression and kind in _WHOLE):
        raise RequestError(
            f"{where}: {url}: the format is not clear from the name; known endings are .jsonl, .ndjson, .json, .txt, "
            ".warc and .wet, each also with .gz or .zst, and .parquet and .arrow; otherwise set `format` to jsonl, "
            "parquet, arrow, warc, wet, text or code (for the last two, every file is a document)"
        )
    return kind, compression


def kind_by_name(name: str) -> Format | None:
    """The format by a file's name; None if the name does not show it."""
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 - a name is not a Path
    return _SUFFIXES.get(os.path.splitext(stem)[1] if suffix in _PACKED else suffix)  # noqa: PTH122 - as above
