"""Estimate the tokens of a spec's files from their sizes, before any file is read.

The estimate is for planning; the upper bound is for refusing requests that no text of this size can satisfy. A token
covers at least one byte, so a source has at most as many tokens as its text has bytes, plus one EOD per document. How
much text a compressed file contains is unknown before it is read; `MAX_UNPACKED` assumes that no corpus compresses
better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixproof.pipeline.inputs.files import InputFile, index_name

from .dataset.foreign_index import header_itemsize

BYTES_PER_TOKEN = 4
"""For English text and a vocabulary of 32,000; about 3 for code and 4.5 for prose."""
USUAL_UNPACKED = {"gz": 3, "zst": 4, "parquet": 3, "plain": 1}
MAX_UNPACKED = {"gz": 30, "zst": 60, "parquet": 60, "plain": 1}
"""Text bytes per file byte."""
PLAUSIBLE_UNPACKED = {"gz": 6, "zst": 8, "parquet": 6, "plain": 1}
"""Text bytes per file byte of a corpus that compresses twice as well as usual."""
SMALL_VOCABULARY = 8_000
LEAST_BYTES_PER_TOKEN = 2
"""Of any language with a vocabulary of at least `SMALL_VOCABULARY`; a smaller one may need a token per byte."""
MAX_TOKENS_PER_BYTE = 2
"""Worst case: each byte of text is a document of its own, so it has an EOD too."""


@dataclass(frozen=True)
class Estimate:
    """The contents of a source's files, estimated from their sizes."""

    files: int
    bytes: int
    """Total file size, compressed or not."""
    tokens: int
    """Estimated tokens."""
    tokens_at_most: int
    """Upper bound of the tokens."""
    text_bytes_plausible: int | None
    """Most bytes of text that files of this size plausibly hold; None if `tokens` is exact."""

    def tokens_plausible(self, vocab_size: int) -> int:
        """Most tokens that files of this size plausibly hold: the upper end of the estimate's error margin."""
        if self.text_bytes_plausible is None:
            return self.tokens
        return self.text_bytes_plausible // (LEAST_BYTES_PER_TOKEN if vocab_size >= SMALL_VOCABULARY else 1)


def estimate(files: Sequence[InputFile]) -> Estimate:
    """Estimate one source from its files' sizes and formats."""
    if files and files[0].format == "megatron":
        return _count(files)
    usual = sum(file.bytes * USUAL_UNPACKED[_packing(file)] for file in files)
    most = sum(file.bytes * MAX_UNPACKED[_packing(file)] for file in files)
    return Estimate(
        files=len(files),
        bytes=sum(file.bytes for file in files),
        tokens=usual // BYTES_PER_TOKEN,
        tokens_at_most=most * MAX_TOKENS_PER_BYTE,
        text_bytes_plausible=sum(file.bytes * PLAUSIBLE_UNPACKED[_packing(file)] for file in files),
    )


def _count(files: Sequence[InputFile]) -> Estimate:
    """Exact count for tokenized datasets: size of the `.bin` files divided by the bytes per id."""
    index_of = {file.name: file.url for file in files}
    indexed = {file: index for file in files if (index := index_name(file.name)) is not None}
    tokens = sum(file.bytes // header_itemsize(index_of[index], file.bytes) for file, index in indexed.items())
    size = sum(file.bytes for file in files)
    return Estimate(len(files), size, tokens=tokens, tokens_at_most=tokens, text_bytes_plausible=None)


def _packing(file: InputFile) -> str:
    # buffers of Arrow files and bodies of WARC records may be compressed too
    return file.compression or ("parquet" if file.format in ("parquet", "arrow", "warc") else "plain")
