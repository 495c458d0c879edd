"""What a spec's files could hold, before any of them was read.

The estimate is for a person who plans; the bound is for refusing what no text could supply. A token covers at
least one byte, so a source holds at most as many tokens as its text has bytes, plus an EOD a document. How
much text a packed file holds is not known before it is unpacked; text that packs better than `MOST_UNPACKED`
allows is a bomb rather than a corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixproof.pipeline.read.files import InputFile

from .dataset.foreign_index import header_itemsize

BYTES_PER_TOKEN = 4
"""Of English text under a vocabulary of 32,000; between 3 for code and 4.5 for prose."""
USUAL_UNPACKED = {"gz": 3, "zst": 4, "parquet": 3, "plain": 1}
MOST_UNPACKED = {"gz": 30, "zst": 60, "parquet": 60, "plain": 1}
"""Text bytes per file byte."""
EOD_PER_BYTE = 2
"""At worst each byte of text is a document of its own, and brings its EOD."""


@dataclass(frozen=True)
class Estimate:
    """What a source's files hold, by their sizes alone."""

    files: int
    bytes: int
    """Of the files as they lie, packed or not."""
    tokens: int
    """Likely tokens."""
    tokens_at_most: int
    """No text of these files has more."""


def estimate(files: Sequence[InputFile]) -> Estimate:
    """Estimate one source from its files' sizes and formats."""
    if files and files[0].format == "megatron":
        return _count(files)
    usual = sum(file.bytes * USUAL_UNPACKED[_packing(file)] for file in files)
    most = sum(file.bytes * MOST_UNPACKED[_packing(file)] for file in files)
    return Estimate(
        files=len(files),
        bytes=sum(file.bytes for file in files),
        tokens=usual // BYTES_PER_TOKEN,
        tokens_at_most=most * EOD_PER_BYTE,
    )


def _count(files: Sequence[InputFile]) -> Estimate:
    """Tokens that are there already: counted by the sizes of the `.bin` and their ids."""
    index_of = {file.name: file.url for file in files}
    bins = [file for file in files if file.name.endswith(".bin")]
    tokens = sum(file.bytes // header_itemsize(index_of[f"{file.name.removesuffix('.bin')}.idx"]) for file in bins)
    return Estimate(files=len(files), bytes=sum(file.bytes for file in files), tokens=tokens, tokens_at_most=tokens)


def _packing(file: InputFile) -> str:
    # Arrow's buffers and the bodies in a WARC may be packed as well
    return file.compression or ("parquet" if file.format in ("parquet", "arrow", "warc") else "plain")
