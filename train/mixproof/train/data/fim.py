"""Fill-in-the-middle: documents rearranged to teach a model to fill gaps (Bavarian et al. 2022, arXiv 2207.14255).

A chosen document is cut at two random places into prefix, middle and suffix, and read as

    PSM    PRE prefix SUF suffix MID middle
    SPM    PRE SUF suffix MID prefix middle     (the paper's second variant, which StarCoder and Code Llama use)

with BOS and EOD where they were. Every transformed document is 3 tokens longer. Cuts are between tokens. With unit
`piece` each piece of a document in a packed window is transformed by itself, so a gap and its context are always in one
window.

Which documents are transformed, how, and where they are cut is a pure function of run seed, source, epoch and the
document's text hash: four 64-bit words of SplitMix64 (Steele et al. 2014). It does not depend on the size of a draw, on
the mixture or on the window, and each epoch has other words.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import derive_seed
from mixproof.train.delivered_record import FimRecord

PLAIN, PSM, SPM = 0, 1, 2
"""Kinds of an arrangement; `PLAIN` is an untransformed text."""
SENTINELS = 3
"""Tokens that a transformation adds."""
GOLDEN_GAMMA = 0x9E3779B97F4A7C15

Arrangements = NDArray[np.int32]
"""[texts, 3] of each document or piece: its kind, and the content tokens before the middle and before the suffix."""


class Fim:
    """Fill-in-the-middle of one source, in the runs of one seed."""

    def __init__(self, declared: FimRecord, prefix: Path, seed: int, source: str, *, has_bos: bool) -> None:
        """Read the text hashes of a draw at `prefix` (without `.parquet`).

        Args:
            declared: rates, unit and sentinels.
            prefix: of the draw's files.
            seed: of the run.
            source: whose draw it is.
            has_bos: whether every document begins with a BOS.
        """
        self.declared, self._seed, self._source, self._before = declared, seed, source, int(has_bos)
        hashes = pq.read_table(prefix.with_name(f"{prefix.name}.parquet"), columns=["text_xxh128"], partitioning=None)
        self._keys = keys_of(hashes["text_xxh128"].to_pylist())

    @property
    def by_piece(self) -> bool:
        """Whether pieces are transformed, not documents."""
        return self.declared.unit == "piece"

    def of_documents(self, epoch: int, lengths: NDArray[np.int32]) -> Arrangements:
        """Arrange all documents of one pass; `lengths` has the tokens of each, EOD included."""
        return arrange(self.declared, self._keys, lengths - self._before - 1, self._seed_of(epoch))

    def of_pieces(
        self,
        epoch: int,
        documents: NDArray[np.int32],
        first_tokens: NDArray[np.int32],
        tokens: NDArray[np.int32],
        lengths: NDArray[np.int32],
        sequence_length: int,
    ) -> Arrangements:
        """Arrange pieces of documents; one that would not fit into its window stays as it is.

        Args:
            epoch: of the pass.
            documents: [pieces] row of each piece's document in the draw.
            first_tokens: [pieces] index of its first token in the document.
            tokens: [pieces] its tokens, without sentinels.
            lengths: [documents] tokens of each document of the draw.
            sequence_length: S, the positions of a window.
        """
        before = np.where(first_tokens == 0, self._before, 0)
        content = tokens - before - (first_tokens + tokens == lengths[documents])
        content[tokens + SENTINELS > sequence_length] = 0
        keys = _mix(self._keys[documents] + first_tokens.astype(np.uint64))
        return arrange(self.declared, keys, content, self._seed_of(epoch))

    def document(self, ids: NDArray[Any], arrangement: NDArray[np.int32]) -> NDArray[Any]:
        """Return the ids of a whole document as they are read."""
        return rearranged(ids, arrangement, self.declared, before=self._before, after=1)

    def piece(self, ids: NDArray[Any], arrangement: NDArray[np.int32], first: int, size: int) -> NDArray[Any]:
        """Return the ids of a piece as they are read; see `ids_of_piece`."""
        return ids_of_piece(self.declared, ids, arrangement, first, size, has_bos=bool(self._before))

    def _seed_of(self, epoch: int) -> int:
        return derive_seed("fim", self._seed, self._source, epoch)


def keys_of(hashes: list[str]) -> NDArray[np.uint64]:
    """Return the first 64 bits of each text hash in hexadecimal."""
    return np.array([int(text[:16], 16) for text in hashes], np.uint64)


def arrange(declared: FimRecord, keys: NDArray[np.uint64], content: NDArray[Any], seed: int) -> Arrangements:
    """Choose the texts to transform, their kinds and cuts.

    Args:
        declared: rates.
        keys: [texts] what distinguishes the texts.
        content: [texts] tokens of each without BOS and EOD; a text without content stays as it is.
        seed: of source and epoch.
    """
    base = _mix(keys ^ _mix(np.array([seed], np.uint64)))
    words = [_mix(base + np.uint64(number * GOLDEN_GAMMA % (1 << 64))) for number in (1, 2, 3, 4)]
    is_chosen = (content > 0) & (words[0] >> np.uint64(1) < threshold(declared.rate))
    is_spm = words[1] >> np.uint64(1) < threshold(declared.spm_rate)
    positions = np.maximum(content, 0).astype(np.uint64) + np.uint64(1)
    cuts = np.sort(np.stack([words[2] % positions, words[3] % positions], axis=1), axis=1)
    found = np.zeros((len(keys), 3), np.int32)
    found[:, 0] = np.where(is_chosen, np.where(is_spm, SPM, PSM), PLAIN)
    found[:, 1:] = np.where(is_chosen[:, None], cuts, 0)
    return found


def threshold(rate: str) -> np.uint64:
    """Return the number of 63-bit words below which a rate, an exact string, is met."""
    return np.uint64(int(Fraction(rate) * (1 << 63)))


def added_tokens(arrangements: Arrangements) -> NDArray[np.int32]:
    """Return [texts] the tokens that the transformation adds to each."""
    return np.where(arrangements[:, 0] == PLAIN, 0, SENTINELS).astype(np.int32)


def ids_of_piece(
    declared: FimRecord,
    ids: NDArray[Any],
    arrangement: NDArray[np.int32],
    first: int,
    size: int,
    *,
    has_bos: bool,
) -> NDArray[Any]:
    """Return the ids of part of a document as they are read.

    Args:
        declared: unit and sentinels.
        ids: of the whole document, as the draw has it.
        arrangement: of the document, or of this piece with unit `piece`.
        first: index of the part's first token: in the transformed document, or in the draw's with unit `piece`.
        size: tokens of the part, sentinels included.
        has_bos: whether the document begins with a BOS.
    """
    if declared.unit == "document":
        return rearranged(ids, arrangement, declared, before=int(has_bos), after=1)[first : first + size]
    stop = first + size - (SENTINELS if arrangement[0] != PLAIN else 0)
    before, after = int(has_bos and first == 0), int(stop == len(ids))
    return rearranged(ids[first:stop], arrangement, declared, before=before, after=after)


def rearranged(
    ids: NDArray[Any], arrangement: NDArray[np.int32], declared: FimRecord, *, before: int, after: int
) -> NDArray[Any]:
    """Return the ids of one text in the order of its arrangement, with sentinels.

    Args:
        ids: of the text.
        arrangement: its kind and cuts.
        declared: the sentinels.
        before: tokens in front of the content: 1 with a BOS, else 0.
        after: tokens behind it: 1 with an EOD, else 0.
    """
    kind, first, second = (int(value) for value in arrangement)
    if kind == PLAIN:
        return ids
    stop = len(ids) - after
    prefix, middle, suffix = (
        ids[start:end]
        for start, end in ((before, before + first), (before + first, before + second), (before + second, stop))
    )
    pre, suf, mid = (np.array([token], ids.dtype) for token in declared.sentinels)
    order = (pre, prefix, suf, suffix, mid, middle) if kind == PSM else (pre, suf, suffix, mid, prefix, middle)
    return np.concatenate([ids[:before], *order, ids[stop:]])


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64, modulo 2**64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
