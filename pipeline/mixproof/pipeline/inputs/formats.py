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
    kind, compression = _by_name(url)
    if declared is not None:
        return declared, None if declared in _WHOLE else compression
    if kind is None or (compression and kind in _WHOLE):
        raise RequestError(
            f"{where}: {url}: the format is not clear from the name; known endings are .jsonl, .ndjson, .json, .txt, "
            ".warc and .wet, each also with .gz or .zst, and .parquet and .arrow; otherwise set `format` to jsonl, "
            "parquet, arrow, warc, wet, text or code (for the last two, every file is a document)"
        )
    return kind, compression


def kind_by_name(name: str) -> Format | None:
    """The format by a file's name; None if the name does not show it."""
    return _by_name(name)[0]


def _by_name(name: str) -> tuple[Format | None, Compression | None]:
    """What a name, or a URL, shows of the format and compression of its file."""
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 - a URL is not a Path; called for each file
    compression = _PACKED.get(suffix)
    return _SUFFIXES.get(suffix if compression is None else os.path.splitext(stem)[1]), compression  # noqa: PTH122
