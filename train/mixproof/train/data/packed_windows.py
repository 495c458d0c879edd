"""Packed windows: a source's endless, fixed order of windows that hold whole documents.

Epoch e of a source is a `Pack` of its draw, with a seed that derives from ("stream", seed, source, e). As with
concatenated windows, the order is the concatenation of the epochs: it depends neither on the mixture nor on the budget,
and a source that is used in two phases continues where it stopped.

Per pass of W windows of S positions over T tokens, W·S = T - left out + padding (E7). In pretraining nothing is left
out, and every token is a target. After pretraining the targets are the supervised tokens, and tokens = supervised +
context. This module needs numpy only; `packed_stream.py` reads the tokens.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError, RequestError
from mixproof.ledger.fingerprint import derive_seed
from mixproof.tokenize.dataset.indexed import read_index
from mixproof.train.request import Draw

from .packing import Pack, count_windows, pack_pairs, pack_pieces, units_of_pairs
from .pieces import Pieces, TooLong, cut_conversations, cut_documents, cut_pairs


class PackedWindows:
    """A source's packed windows, from the first of epoch 0 on, without end."""

    def __init__(
        self,
        prefix: Path,
        draw: Draw,
        *,
        seed: int,
        sequence_length: int,
        too_long: TooLong | None = None,
        pairs: bool = False,
    ) -> None:
        """Open a draw at `prefix` (without `.bin`); its path does not affect the order.

        Args:
            prefix: of the draw's files.
            draw: what they hold.
            seed: of the run.
            sequence_length: S, positions of a window.
            too_long: after pretraining, what to do with a conversation longer than a window; None: pretraining.
            pairs: whether documents 2i and 2i + 1 are the answers of a pair, which share a window.

        Raises:
            RequestError: when the draw has no document, or no supervised token.
            AccountError: when a file does not hold the draw's documents and tokens (E6).
        """
        self.source, self.draw, self.seed, self.sequence_length = draw.source, draw, seed, sequence_length
        self._prefix = prefix
        index = read_index(prefix.with_name(f"{prefix.name}.idx"))
        self.lengths: NDArray[np.int32] = np.asarray(index.lengths, np.int32)
        """[documents] tokens of each, EOD included."""
        self.starts = index.starts
        self._check_draw(prefix.with_name(f"{prefix.name}.bin").stat().st_size // np.dtype(index.dtype).itemsize)
        self.mask = None if too_long is None else self._read_mask()
        """[tokens] 1 if a token is supervised; None in pretraining."""
        self.pairs = pairs
        self.pieces = self._cut(too_long)
        if not len(self.pieces.tokens):
            lacks = "documents" if self.mask is None else "supervised tokens that fit into a window"
            raise RequestError(f"source {self.source}: its draw has no {lacks}; give it more text or a share of 0")
        self.windows = count_windows(units_of_pairs(self.pieces) if pairs else self.pieces, sequence_length)
        packed = int(self.pieces.tokens.sum(dtype=np.int64))
        self.left_out = draw.tokens - packed
        """Tokens of the draw that are in no window."""
        self.padding = self.windows * sequence_length - packed
        """Positions of a pass that hold no token."""
        self._epochs: dict[int, Pack] = {}

    def locate(self, k: int) -> tuple[int, int]:
        """Epoch of the stream's window `k`, and its index in the order of that epoch."""
        return divmod(k, self.windows)

    def seed_of(self, epoch: int) -> int:
        """Seed of one epoch's order."""
        return derive_seed("stream", self.seed, self.source, epoch)

    def epoch(self, epoch: int) -> Pack:
        """The windows of one pass, packed and checked when they are first needed.

        Raises:
            AccountError: when E7 does not close.
        """
        if epoch not in self._epochs:
            packed = pack_pairs if self.pairs else pack_pieces
            pack = packed(self.pieces, self.sequence_length, self.seed_of(epoch))
            check_pack(pack, self.pieces, self.sequence_length, source=self.source, epoch=epoch)
            self._epochs[epoch] = pack
        return self._epochs[epoch]

    def _cut(self, too_long: TooLong | None) -> Pieces:
        if self.mask is None or too_long is None:
            return cut_documents(self.lengths, self.sequence_length)
        if self.pairs:
            return cut_pairs(self.lengths, self.mask, self.sequence_length)
        return cut_conversations(self.lengths, self.mask, self.sequence_length, too_long)

    def _read_mask(self) -> NDArray[np.uint8]:
        """Memory-map the draw's mask; a source without one is supervised throughout."""
        if self.draw.mask_sha256 is None:
            return np.ones(self.draw.tokens, np.uint8)
        path = self._prefix.with_name(f"{self._prefix.name}.mask")
        if path.stat().st_size != self.draw.tokens:
            raise AccountError(
                "E6",
                f"{self.draw.tokens} bytes, one a token",
                f"{path.stat().st_size} in {path.name}",
                source=self.source,
                stage="stream",
            )
        return np.memmap(path, np.uint8, mode="r")

    def _check_draw(self, ids: int) -> None:
        found = (len(self.lengths), int(self.lengths.sum(dtype=np.int64)), ids)
        expected = (self.draw.documents, self.draw.tokens, self.draw.tokens)
        if found != expected:
            raise AccountError(
                "E6",
                "{} documents, {} tokens, {} ids".format(*expected),
                "{} documents, {} tokens, {} ids".format(*found),
                source=self.source,
                stage="stream",
                unit=self.draw.prefix,
            )


def check_pack(pack: Pack, pieces: Pieces, sequence_length: int, *, source: str, epoch: int) -> None:
    """Check E7 on one pass: every piece in one window, no window overfull.

    Args:
        pack: of the pass.
        pieces: of the pass, in the order of the documents.
        sequence_length: positions of a window.
        source: for the error.
        epoch: for the error.

    Raises:
        AccountError: when the pass does not close.
    """
    where = {"source": source, "stage": "stream", "unit": f"epoch {epoch}"}
    order = np.lexsort((pack.first_tokens, pack.documents))
    found = (pack.documents[order], pack.first_tokens[order], pack.tokens[order])
    expected = (pieces.documents, pieces.first_tokens, pieces.tokens)
    if not all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
        raise AccountError("E7", f"{len(expected[0])} pieces, every token in one", "other pieces", **where)
    counts = np.diff(pack.window_starts)
    if len(counts) < 1 or counts.min() < 1 or pack.window_starts[-1] != len(pack.tokens):
        raise AccountError("E7", "one piece or more in each window", "other windows", **where)
    fullest = int(np.add.reduceat(pack.tokens, pack.window_starts[:-1], dtype=np.int64).max())
    if fullest > sequence_length:
        raise AccountError("E7", f"at most {sequence_length} tokens a window", fullest, **where)
