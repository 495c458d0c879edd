"""How well a run's windows were used: positions that held a token, and documents cut though they fit into a window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .delivered import samples_of
from .saved_index import IndexRecord, PackedStreamRecord, StreamRecord, load_array, read_index_record


@dataclass(frozen=True)
class WindowUse:
    """The windows that a run consumed, over all sources."""

    fill: float
    """Share of positions that held a token."""
    cut_documents: int
    """Documents of at most a window's length that were in more than one window, counted once per pass."""
    padding_tokens: int
    """Positions without a token."""

    def to_json(self) -> dict[str, float | int]:
        """Return the form that `train --json` prints."""
        return dict(vars(self))


def window_use(index_folder: Path, consumed_samples: int) -> WindowUse:
    """Count over the windows of a run, up to its checkpoint.

    Args:
        index_folder: the run's `index/`.
        consumed_samples: of the checkpoint.

    Raises:
        AccountError: when E8 or E9 does not close.
        DamagedFileError: when the index is missing, truncated or does not follow the schema.
    """
    record = read_index_record(index_folder)
    samples = samples_of(index_folder, record, consumed_samples)
    padding, cut = 0, 0
    for stream in record.streams:
        read = samples[stream.source]
        if isinstance(stream, PackedStreamRecord):
            padding += read * record.sequence_length - _packed_tokens(index_folder, stream, read)
        else:
            cut += _cut_documents(index_folder, record, stream, read)
    positions = consumed_samples * record.sequence_length
    return WindowUse((positions - padding) / positions if positions else 1.0, cut, padding)


def _packed_tokens(folder: Path, stream: PackedStreamRecord, samples: int) -> int:
    """Tokens in the first `samples` windows of a packed stream; its E7 says that no document is cut that fits."""
    tokens = 0
    for epoch in stream.epochs:
        windows = max(0, min(samples - epoch.epoch * stream.windows, stream.windows))
        stop = int(load_array(folder, epoch.window_starts)[windows])
        tokens += int(load_array(folder, epoch.tokens)[:stop].sum(dtype=np.int64))
    return tokens


def _cut_documents(folder: Path, record: IndexRecord, stream: StreamRecord, samples: int) -> int:
    """Documents of a concatenated stream that lie across the boundary of a window that was read, and would fit one."""
    length, cut = record.sequence_length, 0
    lengths = load_array(folder, stream.lengths)
    for epoch in stream.epochs:
        order = load_array(folder, epoch.shuffle_index)
        is_read = np.zeros(stream.windows + 2, bool)
        is_read[order[: max(0, samples - epoch.epoch * stream.windows)].astype(np.int64)] = True
        sizes = lengths[load_array(folder, epoch.document_index)]
        ends = np.cumsum(sizes, dtype=np.int64)
        first = np.minimum((ends - sizes) // length, stream.windows)
        last = np.minimum((ends - 1) // length, stream.windows)
        cut += int(((sizes <= length) & (first != last) & (is_read[first] | is_read[last])).sum())
    return cut
