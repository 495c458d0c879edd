"""Packed streams: a source's endless, fixed order of windows that hold whole documents.

Epoch e of a source is a `Pack` of its draw, with a seed that derives from ("stream", seed, source, e). As with
concatenated windows, the stream is the concatenation of its epochs: its order depends neither on the mixture nor on the
budget, and a source that is used in two phases continues where it stopped.

A piece of n tokens takes n positions of its window. Its targets are its own tokens, all of them; its inputs are the
token before each: the document's own, or an EOD before the first token of a document. So every token of the draw is a
target once per epoch, and the account of a pass of W windows of S positions is W·S = T + padding (E7).
Attention and positions restart at each piece; padding is EODs that do not count in the loss.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixproof.ledger.errors import AccountError, RequestError
from mixproof.ledger.fingerprint import derive_seed
from mixproof.tokenize.dataset.indexed import read_index
from mixproof.train.record import MasksRecord
from mixproof.train.request import Draw

from .packing import Pack, count_windows, cut_documents, pack_documents


class PackedStream:
    """A source's packed windows, from the first of epoch 0 on, without end."""

    def __init__(
        self, prefix: Path, draw: Draw, *, seed: int, sequence_length: int, masks: MasksRecord, eod_id: int
    ) -> None:
        """Open a draw at `prefix` (without `.bin`); where it is stored has no influence on the order.

        Raises:
            RequestError: when the draw has no document.
            AccountError: when the `.bin` or the `.idx` does not hold the draw's documents and tokens (E6).
        """
        self.source, self.draw, self.seed, self.sequence_length = draw.source, draw, seed, sequence_length
        self.masks, self.eod_id = masks, eod_id
        index = read_index(prefix.with_name(f"{prefix.name}.idx"))
        self.lengths: NDArray[np.int32] = np.asarray(index.lengths, np.int32)
        """[documents] tokens of each, EOD included."""
        self._starts = index.starts
        self._ids = np.memmap(prefix.with_name(f"{prefix.name}.bin"), index.dtype, mode="r")
        self._check_draw()
        if not len(self.lengths):
            raise RequestError(f"source {self.source}: its draw has no documents; give it more text or a share of 0")
        self.windows = count_windows(self.lengths, sequence_length)
        self.padding = self.windows * sequence_length - draw.tokens
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
            pack = pack_documents(self.lengths, self.sequence_length, self.seed_of(epoch))
            check_pack(pack, self.lengths, self.sequence_length, source=self.source, epoch=epoch)
            self._epochs[epoch] = pack
        return self._epochs[epoch]

    def sample(self, k: int) -> dict[str, Tensor]:
        """Window `k` of the stream: `tokens`, `labels`, `position_ids` (int64) and `loss_mask` (float32), [S] each."""
        epoch, number = self.locate(k)
        pack = self.epoch(epoch)
        length = self.sequence_length
        tokens, labels = np.full(length, self.eod_id, np.int64), np.full(length, self.eod_id, np.int64)
        positions, mask = np.zeros(length, np.int64), np.zeros(length, np.float32)
        at = 0
        for piece in range(int(pack.window_starts[number]), int(pack.window_starts[number + 1])):
            size, first = int(pack.tokens[piece]), int(pack.first_tokens[piece])
            start = int(self._starts[pack.documents[piece]]) + first
            ids = self._ids[start : start + size]
            labels[at : at + size] = ids
            tokens[at] = self._ids[start - 1] if first else self.eod_id
            tokens[at + 1 : at + size] = ids[:-1]
            positions[at : at + size] = np.arange(size)
            mask[at : at + size] = 1
            if self.masks.eod_mask_loss and not first:
                mask[at] = 0
            at += size
        arrays = {"tokens": tokens, "labels": labels, "position_ids": positions, "loss_mask": mask}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _check_draw(self) -> None:
        found = (len(self.lengths), int(self.lengths.sum(dtype=np.int64)), len(self._ids))
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


def check_pack(pack: Pack, lengths: NDArray[np.int32], sequence_length: int, *, source: str, epoch: int) -> None:
    """Check E7 on one pass: every token in one piece, no document cut that fits, no window overfull.

    Args:
        pack: of the pass.
        lengths: [documents] tokens of each.
        sequence_length: positions of a window.
        source: for the error.
        epoch: for the error.

    Raises:
        AccountError: when the pass does not close.
    """
    where = {"source": source, "stage": "stream", "unit": f"epoch {epoch}"}
    order = np.lexsort((pack.first_tokens, pack.documents))
    found = (pack.documents[order], pack.first_tokens[order], pack.tokens[order])
    expected = cut_documents(lengths, sequence_length)
    if not all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
        raise AccountError("E7", f"{len(expected[0])} pieces, every token in one", "other pieces", **where)
    counts = np.diff(pack.window_starts)
    if len(counts) < 1 or counts.min() < 1 or pack.window_starts[-1] != len(pack.tokens):
        raise AccountError("E7", "one piece or more in each window", "other windows", **where)
    fullest = int(np.add.reduceat(pack.tokens, pack.window_starts[:-1], dtype=np.int64).max())
    if fullest > sequence_length:
        raise AccountError("E7", f"at most {sequence_length} tokens a window", fullest, **where)
