"""Which files make up each source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mixproof.mixtures.spec import Spec

Format = Literal["jsonl", "parquet", "code"]
Compression = Literal["gz", "zst"]


@dataclass(frozen=True)
class InputFile:
    """One raw file of a source."""

    source: str
    name: str
    """Path below the glob's fixed prefix, `/` between its parts; the file's place in the source's order."""
    url: str
    """A local absolute path, or an fsspec URL."""
    bytes: int
    mtime_ns: int
    """0 where the file system does not say."""
    format: Format
    compression: Compression | None


def find_files(spec: Spec, base: Path) -> dict[str, tuple[InputFile, ...]]:
    """Find every source's files."""
    raise NotImplementedError
