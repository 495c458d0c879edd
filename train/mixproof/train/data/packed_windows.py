"""Packed windows: a source's endless, fixed order of windows that hold whole documents.

Epoch e of a source is a `Pack` of its draw. With fill-in-the-middle the documents of an epoch, or their pieces, are as
many tokens longer as it adds to them, and are packed with these lengths. With unit `piece` documents longer than a
window are cut every S - 3 tokens, so that each piece has room for its sentinels.

Per pass of W windows of S positions over T tokens, W·S = T - left out + padding (E7). In pretraining nothing is left
out, and every token is a target. After pretraining the targets are the supervised tokens, and tokens = supervised +
context. This module needs numpy only; `packed_stream.py` reads the tokens.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError, RequestError
from mixproof.tokenize.dataset.indexed import read_index
from mixproof.train.request import Draw

from .fim import SENTINELS, Fim, added_tokens
from .index_writer import IndexWriter
from .packing import Pack, count_windows, pack_pairs, pack_pieces, units_of_pairs
from .pieces import BLOCK, Pieces, TooLong, cut_conversations, cut_documents, cut_pairs
from .saved_index import PackedEpochRecord, PackedStreamRecord
from .source_stream import SourceStream


class PackedWindows(SourceStream):
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
        fim: Fim | None = None,
        name: str | None = None,
    ) -> None:
        """Open a draw at `prefix` (without `.bin`); its path does not affect the order.

        Args:
            prefix: of the draw's files.
            draw: what they hold.
            seed: of the run.
            sequence_length: S, positions of a window.
            too_long: after pretraining, what to do with a conversation longer than a window; None: pretraining.
            pairs: whether documents 2i and 2i + 1 are the answers of a pair, which share a window.
            fim: fill-in-the-middle of the source, if it has any.
            name: of the stream; None: that of the source.

        Raises:
            RequestError: when the draw has no document, or no supervised token.
            AccountError: when a file does not hold the draw's documents and tokens (E6).
        """
        super().__init__(draw, seed=seed, sequence_length=sequence_length, fim=fim, name=name)
        self._prefix = prefix
        index = read_index(prefix.with_name(f"{prefix.name}.idx"))
        self.lengths = np.asarray(index.lengths, np.int32)
        self.starts = index.starts
        self._check_draw(prefix.with_name(f"{prefix.name}.bin").stat().st_size, np.dtype(index.dtype).itemsize)
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
        self._windows_of: dict[int, int] = {}

    def epoch(self, epoch: int) -> Pack:
        """The windows of one pass, packed and checked when they are first needed.

        Raises:
            AccountError: when E7 does not close.
        """
        if epoch not in self._epochs:
            packed = pack_pairs if self.pairs else pack_pieces
            pieces = self._pieces_in(epoch)
            pack = packed(pieces, self.sequence_length, self.seed_of(epoch))
            check_pack(pack, pieces, self.sequence_length, source=self.source, epoch=epoch)
            self._epochs[epoch] = self._with_arrangements(pack, epoch)
        return self._epochs[epoch]

    def save(self, writer: IndexWriter, number: int, samples: int) -> PackedStreamRecord:
        """Write the pieces of every epoch that the first `samples` windows reach."""
        epochs = []
        for epoch in self._epochs_read(samples):
            pack, name = self.epoch(epoch), f"stream-{number:03d}-epoch-{epoch:04d}"
            epochs.append(
                PackedEpochRecord(
                    epoch=epoch,
                    seed=self.seed_of(epoch),
                    window_starts=writer.save(pack.window_starts, f"{name}-window_starts"),
                    documents=writer.save(pack.documents, f"{name}-documents"),
                    first_tokens=writer.save(pack.first_tokens, f"{name}-first_tokens"),
                    tokens=writer.save(pack.tokens, f"{name}-tokens"),
                    supervised=None if pack.supervised is None else writer.save(pack.supervised, f"{name}-supervised"),
                    windows=None if pack.fim is None else self.windows_in(epoch),
                    fim=None if pack.fim is None else writer.save(pack.fim, f"{name}-fim"),
                )
            )
        return PackedStreamRecord(
            **self._drawn(writer, number),
            padding=self.padding,
            left_out=None if self.mask is None else self.left_out,
            epochs=tuple(epochs),
        )

    def _windows_with_fim(self, epoch: int) -> int:
        if epoch not in self._windows_of:
            self._windows_of[epoch] = count_windows(self._pieces_in(epoch), self.sequence_length)
        return self._windows_of[epoch]

    def _pieces_in(self, epoch: int) -> Pieces:
        """Return the pieces of one pass, with the sentinels that it adds."""
        fim, pieces = self.fim, self.pieces
        if fim is None:
            return pieces
        if not fim.by_piece:
            lengths = self.lengths + added_tokens(fim.of_documents(epoch, self.lengths))
            return cut_documents(lengths, self.sequence_length)
        arrangements = fim.of_pieces(
            epoch, pieces.documents, pieces.first_tokens, pieces.tokens, self.lengths, self.sequence_length
        )
        return replace(pieces, tokens=pieces.tokens + added_tokens(arrangements))

    def _with_arrangements(self, pack: Pack, epoch: int) -> Pack:
        """Return the pack with the arrangement of each piece."""
        fim = self.fim
        if fim is None:
            return pack
        if not fim.by_piece:
            return replace(pack, fim=fim.of_documents(epoch, self.lengths)[pack.documents])
        remainder = self.lengths[pack.documents] - pack.first_tokens
        is_cut = self.lengths[pack.documents] > self.sequence_length
        tokens = np.where(is_cut, np.minimum(remainder, self.sequence_length - SENTINELS), remainder)
        arrangements = fim.of_pieces(
            epoch, pack.documents, pack.first_tokens, tokens, self.lengths, self.sequence_length
        )
        return replace(pack, fim=arrangements)

    def _cut(self, too_long: TooLong | None) -> Pieces:
        if self.mask is None or too_long is None:
            cut_at = self.sequence_length - SENTINELS if self.fim is not None and self.fim.by_piece else None
            return cut_documents(self.lengths, self.sequence_length, cut_at)
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
    if not _has_each_once(pack, pieces):
        raise AccountError("E7", f"{len(pieces.tokens)} pieces, every token in one", "other pieces", **where)
    counts = np.diff(pack.window_starts)
    if len(counts) < 1 or counts.min() < 1 or pack.window_starts[-1] != len(pack.tokens):
        raise AccountError("E7", "one piece or more in each window", "other windows", **where)
    fullest = int(np.add.reduceat(pack.tokens, pack.window_starts[:-1], dtype=np.int64).max())
    if fullest > sequence_length:
        raise AccountError("E7", f"at most {sequence_length} tokens a window", fullest, **where)


def _has_each_once(pack: Pack, pieces: Pieces) -> bool:
    """Whether a pack has each piece once and no other; pieces are found block by block, so no array is sorted."""
    if len(pack.tokens) != len(pieces.tokens) or not len(pack.tokens):
        return len(pack.tokens) == len(pieces.tokens)
    documents = int(pieces.documents[-1]) + 1
    if int(pack.documents.min()) < 0 or int(pack.documents.max()) >= documents:
        return False
    first_rows = np.searchsorted(pieces.documents, np.arange(documents, dtype=np.int32)).astype(np.int32)
    is_seen = np.zeros(len(pieces.tokens), np.bool_)
    for begin in range(0, len(pack.tokens), BLOCK):
        block = slice(begin, begin + BLOCK)
        rows, firsts = first_rows[pack.documents[block]], pack.first_tokens[block]
        behind = np.flatnonzero(pieces.first_tokens[rows] < firsts)
        while len(behind):
            rows[behind] = np.minimum(rows[behind] + 1, len(pieces.tokens) - 1)
            is_short = (pieces.first_tokens[rows[behind]] < firsts[behind]) & (rows[behind] < len(pieces.tokens) - 1)
            behind = behind[is_short]
        is_same = (pieces.documents[rows] == pack.documents[block]) & (pieces.first_tokens[rows] == firsts)
        if not np.all(is_same & (pieces.tokens[rows] == pack.tokens[block])):
            return False
        is_seen[rows] = True
    return bool(is_seen.all())
