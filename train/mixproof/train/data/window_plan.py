"""Which windows a run after pretraining reads, so that its sources have their shares of what is counted.

A packed window holds a varying number of supervised tokens (or tokens, or examples), so a share of these is not a share
of windows. The windows of a phase are chosen from the packed streams before training: window k of a source, which
brings its count from C(k - 1) to C(k), is due at (C(k - 1) + C(k)) / 2 / share, and the phase takes the windows that
are due first, as many as it has samples. Every source is then within half a window of its share at one common level,
and what the run will read is known to the token: planned = delivered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mixproof.train.stage_record import PlannedSource

from .packed_windows import PackedWindows
from .packing import Pack

SharesBy = Literal["supervised", "tokens", "examples"]


class CountWindows(Protocol):
    """Counts the windows of a source's stream."""

    def __call__(self, source: str, first: int, stop: int, /) -> NDArray[np.int64]:
        """Return what each of the windows `first` up to `stop` counts: [stop - first] integers."""


def choose_windows(
    samples: int, shares: Mapping[str, Fraction], firsts: Mapping[str, int], counts: CountWindows
) -> dict[str, int]:
    """Choose the windows of one phase.

    Args:
        samples: windows of the phase.
        shares: positive, by source; they sum to 1.
        firsts: of each source's stream, the first window that earlier phases have not read.
        counts: what windows count; at least 1 each.

    Returns:
        The number of windows of each source, from its first on; they sum to `samples`.
    """
    names = sorted(shares)
    reach = dict.fromkeys(names, 16)
    while True:
        due = []
        for name in names:
            of_source = counts(name, firsts[name], firsts[name] + min(reach[name], samples)).astype(np.float64)
            due.append((np.cumsum(of_source) - of_source / 2) / float(shares[name]))
        owner = np.repeat(np.arange(len(names)), [len(marks) for marks in due])
        earliest = np.lexsort((owner, np.concatenate(due)))[:samples]
        chosen = np.bincount(owner[earliest], minlength=len(names)).tolist()
        short = [name for name, number in zip(names, chosen, strict=True) if number == reach[name] < samples]
        if not short and len(earliest) == samples:
            return dict(zip(names, chosen, strict=True))
        for name in short or names:
            reach[name] *= 2


class WindowCounts:
    """What the windows of every source count, read from the packs of as many epochs as are needed."""

    def __init__(self, streams: Mapping[str, PackedWindows], by: SharesBy) -> None:
        self._streams, self._by = streams, by
        self._of_epoch: dict[tuple[str, int], NDArray[np.int64]] = {}

    def __call__(self, source: str, first: int, stop: int, /) -> NDArray[np.int64]:
        """Return what the windows `first` up to `stop` of a source's stream count."""
        windows = self._streams[source].windows
        parts = []
        for epoch in range(first // windows, -(-stop // windows)):
            begin = epoch * windows
            parts.append(self._epoch(source, epoch)[max(first - begin, 0) : stop - begin])
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _epoch(self, source: str, epoch: int) -> NDArray[np.int64]:
        if (source, epoch) not in self._of_epoch:
            pack = self._streams[source].epoch(epoch)
            self._of_epoch[source, epoch] = _per_window(pack, counted(pack, self._streams[source], self._by))
        return self._of_epoch[source, epoch]


def counted(pack: Pack, stream: PackedWindows, by: SharesBy) -> NDArray[np.int64]:
    """Return [pieces] what each piece counts; a conversation in several pieces is an example in its first one."""
    assert pack.supervised is not None, "pretraining has no mask"
    if by == "supervised":
        return pack.supervised.astype(np.int64)
    if by == "tokens":
        return pack.tokens.astype(np.int64)
    if stream.pairs:
        is_chosen: NDArray[np.bool_] = pack.documents % 2 == 0
        return is_chosen.astype(np.int64)
    is_first: NDArray[np.bool_] = pack.first_tokens == first_pieces(pack, len(stream.lengths))
    return is_first.astype(np.int64)


def first_pieces(pack: Pack, documents: int) -> NDArray[np.int32]:
    """Return [pieces] where the first piece of each piece's document starts."""
    firsts = np.full(documents, np.iinfo(np.int32).max, np.int32)
    np.minimum.at(firsts, pack.documents, pack.first_tokens)
    return firsts[pack.documents]


def planned_sources(streams: Mapping[str, PackedWindows], windows_of: Mapping[str, int]) -> dict[str, PlannedSource]:
    """Return what the first windows of each source hold, by source."""
    found: dict[str, PlannedSource] = {}
    for name, windows in sorted(windows_of.items()):
        stream = streams[name]
        total: Counter[SharesBy] = Counter()
        kinds: Sequence[SharesBy] = ("supervised", "tokens", "examples")
        for by in kinds:
            total[by] = int(WindowCounts(streams, by)(name, 0, windows).sum())
        found[name] = PlannedSource(
            supervised_tokens=total["supervised"],
            context_tokens=total["tokens"] - total["supervised"],
            padding_tokens=windows * stream.sequence_length - total["tokens"],
            examples=total["examples"],
        )
    return found


def _per_window(pack: Pack, of_pieces: NDArray[np.int64]) -> NDArray[np.int64]:
    sums: NDArray[np.int64] = np.add.reduceat(of_pieces, pack.window_starts[:-1])
    return sums
