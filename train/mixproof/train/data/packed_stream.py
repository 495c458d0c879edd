"""Packed streams: the tokens of packed windows, as the trainer reads them.

A piece of n tokens takes n positions of its window. Its labels are its own tokens; its inputs are the token before
each: the document's own, or an EOD before the first token of a document. In pretraining every token of the draw is a
target once per epoch; after pretraining every supervised token of a piece is, and the others are context. Attention and
positions restart at each piece; padding is EODs that do not count in the loss.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixproof.tokenize.dataset.indexed import read_index
from mixproof.train.record import MasksRecord
from mixproof.train.request import Draw

from .fim import Fim
from .packed_windows import PackedWindows
from .packing import Pack
from .pieces import TooLong


class PackedStream(PackedWindows):
    """A source's packed windows with their tokens."""

    def __init__(
        self,
        prefix: Path,
        draw: Draw,
        *,
        seed: int,
        sequence_length: int,
        masks: MasksRecord,
        eod_id: int,
        too_long: TooLong | None = None,
        values: NDArray[np.float64] | None = None,
        fim: Fim | None = None,
        name: str | None = None,
    ) -> None:
        """Open a draw at `prefix` (without `.bin`), as `PackedWindows`.

        `values` are [documents, values], what a stage on pairs or ratings needs to know of each document.
        """
        super().__init__(
            prefix,
            draw,
            seed=seed,
            sequence_length=sequence_length,
            too_long=too_long,
            pairs=bool(masks.pairs),
            fim=fim,
            name=name,
        )
        self._values = values
        self.masks, self.eod_id = masks, eod_id
        dtype = read_index(prefix.with_name(f"{prefix.name}.idx")).dtype
        self._ids = np.memmap(prefix.with_name(f"{prefix.name}.bin"), dtype, mode="r")

    def sample(self, k: int) -> dict[str, Tensor]:
        """Window `k` of the stream: `tokens`, `labels`, `position_ids` (int64) and `loss_mask` (float32), [S] each.

        With `values` also these, [S, values] float64: those of a document stand at its first position.
        """
        epoch, number = self.locate(k)
        pack = self.epoch(epoch)
        length = self.sequence_length
        tokens, labels = np.full(length, self.eod_id, np.int64), np.full(length, self.eod_id, np.int64)
        positions, mask = np.zeros(length, np.int64), np.zeros(length, np.float32)
        values = None if self._values is None else np.zeros((length, self._values.shape[1]))
        at = 0
        for piece in range(int(pack.window_starts[number]), int(pack.window_starts[number + 1])):
            size, first = int(pack.tokens[piece]), int(pack.first_tokens[piece])
            ids, before = self._read(pack, piece)
            labels[at : at + size] = ids
            tokens[at], tokens[at + 1 : at + size] = before, ids[:-1]
            positions[at : at + size] = np.arange(size)
            start = int(self.starts[pack.documents[piece]]) + first
            mask[at : at + size] = 1 if self.mask is None else self.mask[start : start + size]
            if self.masks.eod_mask_loss and not first:
                mask[at] = 0
            if values is not None and self._values is not None:
                values[at] = self._values[pack.documents[piece]]
            at += size
        arrays = {"tokens": tokens, "labels": labels, "position_ids": positions, "loss_mask": mask}
        if values is not None:
            arrays["values"] = values
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _read(self, pack: Pack, piece: int) -> tuple[NDArray[Any], int]:
        """Return the ids of a piece, and the input before the first of them."""
        document, first, size = (int(of[piece]) for of in (pack.documents, pack.first_tokens, pack.tokens))
        start = int(self.starts[document])
        ids = self._ids[start : start + int(self.lengths[document])]
        if self.fim is None or pack.fim is None:
            return ids[first : first + size], int(ids[first - 1]) if first else self.eod_id
        read = self.fim.piece(ids, pack.fim[piece], first, size)
        if not first:
            return read, self.eod_id
        before = ids if self.fim.by_piece else self.fim.document(ids, pack.fim[piece])
        return read, int(before[first - 1])
