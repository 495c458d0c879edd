"""A `.bin/.idx` pair that another tool wrote, and what must hold for its ids before they are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.tokenizer import TokenizerRecord

from .foreign_index import ForeignIndex


@dataclass(frozen=True)
class Pair:
    """A `.bin` with its `.idx`."""

    source: str
    file: str
    """Name of the `.bin`, as recorded in the provenance."""
    bin_url: str
    bin_bytes: int
    idx_url: str
    sha256: tuple[str, str]
    """SHA-256 of `.bin` and `.idx`."""


def check_unchanged(url: str, expected: str, found: str) -> None:
    """Refuse content other than that which names the output: a file may be replaced after it was identified."""
    if found != expected:
        raise RequestError(
            f"{url}: the file changed during the build: its SHA-256 was {expected} and is now {found}; build again "
            "when nothing writes to it"
        )


def check_dtype(pair: Pair, index: ForeignIndex, tokenizer: TokenizerRecord) -> None:
    """Refuse a dtype that cannot hold every id of the tokenizer."""
    if np.iinfo(index.dtype).max < tokenizer.vocab_size - 1:
        raise RequestError(
            f"source {pair.source}: {pair.idx_url}: ids are {index.dtype.name}, which cannot hold a vocabulary of "
            f"{tokenizer.vocab_size:,}: larger ids overflowed when it was written, or it was made with another "
            "tokenizer; tokenize the texts again"
        )


def check_block(
    pair: Pair, tokenizer: TokenizerRecord, ids: NDArray[np.int32], lengths: NDArray[np.int64], first: int
) -> None:
    """Check ids and EODs of the documents from `first` on."""
    ends = np.cumsum(lengths)
    location = f"source {pair.source}: {pair.bin_url}"

    def document_of(token: int) -> int:
        return first + int(np.searchsorted(ends, token, "right"))

    wrong = np.flatnonzero((ids < 0) | (ids >= tokenizer.vocab_size))
    if len(wrong):
        token = int(wrong[0])
        raise RequestError(
            f"{location}: document {document_of(token)} contains id {int(ids[token])}, but the ids of the tokenizer "
            f"are below {tokenizer.vocab_size}; the dataset was made with another tokenizer"
        )
    last = ends[lengths > 0] - 1
    missing = last[ids[last] != tokenizer.eod_id]
    if len(missing):
        raise RequestError(
            f"{location}: document {document_of(int(missing[0]))} ends with id {int(ids[missing[0]])} instead of EOD "
            f"{tokenizer.eod_id}, and so do {len(missing)} of {len(lengths)} documents from {first} on; write the "
            "dataset with --append-eod, or set `tokenizer.eod` to its end of document"
        )
    if tokenizer.bos_id is not None:
        _check_bos(ids, (ends - lengths)[lengths > 0], tokenizer.bos_id, location, document_of)
    is_eod = ids == tokenizer.eod_id
    is_eod[last] = False
    if is_eod.any():
        token = int(is_eod.argmax())
        raise RequestError(
            f"{location}: document {document_of(token)} contains EOD {tokenizer.eod_id} before its end; there are "
            f"{int(is_eod.sum())} such EODs in this block. Either texts contained the token literally or documents "
            "were joined; build from the texts instead"
        )


def _check_bos(
    ids: NDArray[np.int32], starts: NDArray[np.int64], bos_id: int, location: str, document_of: Callable[[int], int]
) -> None:
    """Check that each document of a block starts with the one BOS that it has."""
    missing = starts[ids[starts] != bos_id]
    if len(missing):
        token = int(missing[0])
        raise RequestError(
            f"{location}: document {document_of(token)} starts with id {int(ids[token])} instead of BOS {bos_id}, and "
            f"so do {len(missing)} of {len(starts)} documents of this block; remove `tokenizer.bos`, or tokenize again"
        )
    is_bos = ids == bos_id
    is_bos[starts] = False
    if is_bos.any():
        raise RequestError(
            f"{location}: document {document_of(int(is_bos.argmax()))} contains BOS {bos_id} after its start; build "
            "from the texts instead"
        )
