"""The base of a source's stream: an endless order of windows, epoch after epoch, independent of how a window is filled.

Epoch e has a seed that derives from ("stream", seed, name of the stream, e), so the order depends neither on the
mixture nor on the budget, and a stream that two phases read continues where it stopped. The name is that of the source,
unless phases read it at a sequence length of their own or only its long documents. All epochs have the same number of
windows, unless fill-in-the-middle adds tokens, in each epoch to other documents.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import derive_seed
from mixproof.train.delivered_record import FimRecord
from mixproof.train.request import Draw

from .fim import Fim
from .index_writer import IndexWriter
from .saved_index import PackedStreamRecord, StreamRecord


class SourceStream(ABC):
    """A source's windows, from the first of epoch 0 on, without end."""

    windows: int
    """W: windows of one pass; with fill-in-the-middle, of a pass without transformed documents."""
    lengths: NDArray[np.int32]
    """[documents] tokens of each, including the EOD."""

    def __init__(self, draw: Draw, *, seed: int, sequence_length: int, fim: Fim | None, name: str | None) -> None:
        self.source, self.draw, self.seed, self.sequence_length = draw.source, draw, seed, sequence_length
        self.fim, self.name = fim, name or draw.source

    @abstractmethod
    def save(self, writer: IndexWriter, number: int, samples: int) -> StreamRecord | PackedStreamRecord:
        """Write the arrays of every epoch that the first `samples` windows reach; `number` is in their names."""

    def windows_in(self, epoch: int) -> int:
        """Windows of one epoch."""
        return self.windows if self.fim is None else self._windows_with_fim(epoch)

    def locate(self, k: int) -> tuple[int, int]:
        """Return the epoch of the stream's window `k` and its index in the reading order of that epoch."""
        if self.fim is None:
            return divmod(k, self.windows)
        epoch = 0
        while k >= (windows := self.windows_in(epoch)):
            k, epoch = k - windows, epoch + 1
        return epoch, k

    def seed_of(self, epoch: int) -> int:
        """Return the seed of one epoch."""
        return derive_seed("stream", self.seed, self.name, epoch)

    @abstractmethod
    def _windows_with_fim(self, epoch: int) -> int:
        """Windows of an epoch with transformed documents."""

    def _epochs_read(self, samples: int) -> range:
        """Return the epochs that the first `samples` windows reach."""
        return range(self.locate(samples - 1)[0] + 1)

    def _drawn(self, writer: IndexWriter, number: int) -> dict[str, Any]:
        """Save the lengths of the documents; return what the record of a stream says of its draw and windows."""
        fim: FimRecord | None = None if self.fim is None else self.fim.declared
        own = {} if self.name == self.source else {"stream": self.name, "sequence_length": self.sequence_length}
        return {
            "source": self.source,
            **own,
            "draw": self.draw.record,
            "dataset_documents": self.draw.dataset_documents,
            "dataset_tokens": self.draw.dataset_tokens,
            "windows": self.windows,
            "lengths": writer.save(self.lengths, f"stream-{number:03d}-lengths"),
            "fim": fim,
        }

    def _check_draw(self, stored_bytes: int, itemsize: int) -> None:
        """Check E6: the files have the draw's documents and tokens; `stored_bytes` is the size of the `.bin`."""
        found = (len(self.lengths), int(self.lengths.sum(dtype=np.int64)), stored_bytes)
        expected = (self.draw.documents, self.draw.tokens, self.draw.tokens * itemsize)
        if found != expected:
            raise AccountError(
                "E6",
                "{} documents, {} tokens, {} bytes".format(*expected),
                "{} documents, {} tokens, {} bytes".format(*found),
                source=self.source,
                stage="stream",
                unit=self.draw.prefix,
            )
