"""Detect files whose first bytes contradict their name.

Read as JSON lines, such a file would be a few invalid lines, which stay below the limit of `on_bad_record` among many
good files: a whole file would be lost as a handful of records. None of these bytes can start a line of JSON, nor can
`}` and `{` be separated by a carriage return alone.
"""

from __future__ import annotations

import re

from mixproof.ledger.errors import DamagedFileError

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

_KINDS = (
    (GZIP, "gzip", "rename it to end with .gz"),
    (ZSTD, "zstd", "rename it to end with .zst"),
    (b"PAR1", "Parquet", "rename it to end with .parquet, or set `format: parquet`"),
    (b"ARROW1", "Arrow IPC", "rename it to end with .arrow, or set `format: arrow`"),
    (b"BZh", "bzip2", "decompress it, or compress it with gzip or zstd"),
    (b"\xfd7zXZ\0", "xz", "decompress it, or compress it with gzip or zstd"),
    (b"PK\x03\x04", "a zip archive", "list its members, as in `zip://**/*.jsonl::FILE`"),
    (b"\xff\xfe\0\0", "UTF-32", "convert it to UTF-8, with `iconv -f UTF-32 -t UTF-8`"),
    (b"\0\0\xfe\xff", "UTF-32", "convert it to UTF-8, with `iconv -f UTF-32 -t UTF-8`"),
    (b"\xff\xfe", "UTF-16", "convert it to UTF-8, with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "UTF-16", "convert it to UTF-8, with `iconv -f UTF-16 -t UTF-8`"),
)
_ZSTD_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_PLAIN = re.compile(rb"\s*[\[{]")
_CR_BETWEEN_OBJECTS = re.compile(rb"\}[ \t]*\r[ \t\r]*\{")


def check_json_lines(block: bytes, url: str, *, unpacked: bool = False) -> None:
    """Refuse a file whose first block (decompressed, with `unpacked`) shows another format.

    Raises:
        DamagedFileError: naming the format and what to do.
    """
    found = _kind_of(block)
    if found is not None:
        what, fix = found
        if unpacked and not what.startswith("UTF"):
            what, fix = f"compressed {what}", "remove the outer compression"
        raise DamagedFileError(url, "offset 0", f"it is {what}, not JSON lines; {fix}")
    if b"\n" not in block and _CR_BETWEEN_OBJECTS.search(block):
        raise DamagedFileError(url, "offset 0", r"its lines end with \r alone; convert them to \n, with `tr '\r' '\n'`")


def looks_like(block: bytes, compression: str) -> str:
    """What a file that cannot be decompressed looks like instead; empty if that is unknown, or what its name says.

    Args:
        block: its first bytes.
        compression: what its name says, `gz` or `zst`.
    """
    if _kind_of(block) == _kind_of({"gz": GZIP, "zst": ZSTD}[compression]):
        return ""
    found = _kind_of(block)
    if found is not None:
        return f"; it looks like {found[0]}: {found[1]}"
    return "; it looks like plain JSON: remove the ending from its name" if _PLAIN.match(block) else ""


def _kind_of(block: bytes) -> tuple[str, str] | None:
    if _ZSTD_SKIPPABLE.match(block):
        block = ZSTD
    return next(((kind, fix) for start, kind, fix in _KINDS if block.startswith(start)), None)
