"""What a file's first bytes say where its name says something else.

Read by its name, such a file would be nothing but a few lines that are no JSON, and among many good files those would
stay below the limit of `on_bad_record`: a whole file lost as a handful of records. None of these bytes can start a
line of JSON, nor can `}` and `{` stand with nothing but a carriage return between them.
"""

from __future__ import annotations

import re

from mixproof.ledger.errors import DamagedFileError

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

_KINDS = (
    (GZIP, "gzip", "let its name end with .gz"),
    (ZSTD, "zstd", "let its name end with .zst"),
    (b"PAR1", "Parquet", "let its name end with .parquet, or say `format: parquet`"),
    (b"ARROW1", "Arrow IPC", "let its name end with .arrow, or say `format: arrow`"),
    (b"BZh", "bzip2", "unpack it, or pack it with gzip or zstd"),
    (b"\xfd7zXZ\0", "xz", "unpack it, or pack it with gzip or zstd"),
    (b"PK\x03\x04", "a zip archive", "name the files in it, as in `zip://**/*.jsonl::FILE`"),
    (b"\xff\xfe\0\0", "UTF-32", "make it UTF-8, with `iconv -f UTF-32 -t UTF-8`"),
    (b"\0\0\xfe\xff", "UTF-32", "make it UTF-8, with `iconv -f UTF-32 -t UTF-8`"),
    (b"\xff\xfe", "UTF-16", "make it UTF-8, with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "UTF-16", "make it UTF-8, with `iconv -f UTF-16 -t UTF-8`"),
)
_ZSTD_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_PLAIN = re.compile(rb"\s*[\[{]")
_CR_BETWEEN_OBJECTS = re.compile(rb"\}[ \t]*\r[ \t\r]*\{")


def check_json_lines(block: bytes, url: str, *, unpacked: bool = False) -> None:
    """Refuse a file whose first block, or what it was unpacked to, is that of something else.

    Raises:
        DamagedFileError: naming what it is, and the way out.
    """
    found = _kind_of(block)
    if found is not None:
        what, way = found
        if unpacked and not what.startswith("UTF"):
            what, way = f"packed {what}", "take the outer packing off"
        raise DamagedFileError(url, "offset 0", f"it is {what}, and no JSON lines; {way}")
    if b"\n" not in block and _CR_BETWEEN_OBJECTS.search(block):
        raise DamagedFileError(url, "offset 0", r"its lines end in \r alone; make that \n, with `tr '\r' '\n'`")


def looks_like(block: bytes) -> str:
    """Say what something that should be packed looks like; nothing where nobody can tell."""
    found = _kind_of(block)
    if found is not None:
        return f"; it looks like {found[0]}: {found[1]}"
    return "; it looks like plain JSON: take the ending off its name" if _PLAIN.match(block) else ""


def _kind_of(block: bytes) -> tuple[str, str] | None:
    if _ZSTD_SKIPPABLE.match(block):
        block = ZSTD
    return next(((kind, way) for start, kind, way in _KINDS if block.startswith(start)), None)
