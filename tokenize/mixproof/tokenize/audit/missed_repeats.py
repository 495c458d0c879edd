"""Repeated substrings that the search missed, looked for by a sample of windows, at depth `replay`.

Of all equal windows of the declared number of bytes, only the first may stay: any other must be in the matches of a
list. So of the windows in no match, no two are equal, except those of one document that overlap with the first. This is
checked on the texts before anything is cut, for the windows whose hash is divisible by a number: equal windows are in
the sample together. Documents that left the corpus later are not replayed, so what only they repeat is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.manifest import Manifest

from .arithmetic import SUBSTRINGS
from .report import Checks

MOST_WINDOWS = 500_000
"""About so many windows are in the sample of a build."""
LEAST_SPACING = 16
BLOCK = 1 << 18
"""Windows that are hashed at a time."""
SHOWN = 3
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)
_MIX = np.uint64(0xD6E8FEB86659FD93)
SAMPLE_DTYPE = np.dtype([("hash", "<u8"), ("document", "<u4"), ("offset", "<u4")])
"""A window in no match: xxh3_64 of its bytes, the index of its document in `places`, its first byte there."""

Place = tuple[str, int]
"""File and record."""


@dataclass
class WindowSample:
    """The sampled windows of some documents of one source that are in no match."""

    window: int
    """Bytes of a window."""
    spacing: int
    """One window in so many is in the sample."""
    places: list[Place] = field(default_factory=list)
    tables: list[NDArray[Any]] = field(default_factory=list)

    def add(self, place: Place, text: bytes, matched: NDArray[np.bool_]) -> None:
        """Take a document; `matched` says which of its bytes are in a match: bool [bytes]."""
        before = np.concatenate([[0], np.cumsum(matched)])
        found = []
        for first in range(0, len(text) - self.window + 1, BLOCK):
            chosen = first + _sampled(text[first : first + BLOCK + self.window - 1], self.window, self.spacing)
            is_free = before[chosen + self.window] - before[chosen] < self.window
            found += chosen[is_free].tolist()
        if found:
            rows = [(xxhash.xxh3_64_intdigest(text[at : at + self.window]), len(self.places), at) for at in found]
            self.tables.append(np.array(rows, SAMPLE_DTYPE))
            self.places.append(place)


def sample_for(manifest: Manifest, source: str) -> WindowSample | None:
    """An empty sample for a source, by its name when substrings were compared; None if it was not compared."""
    rule = (manifest.spec["dedup"] or {}).get("substrings")
    if rule is None or (rule["sources"] is not None and source not in rule["sources"]):
        return None
    total = sum(each.train.bytes + each.heldout.bytes for each in manifest.sources.values())
    return WindowSample(rule["bytes"], max(LEAST_SPACING, total // MOST_WINDOWS))


def group_of(manifest: Manifest, source: str) -> str:
    """The name of the sources among which `dedup.scope` compares a source."""
    scope = manifest.spec["dedup"]["scope"]
    if isinstance(scope, Mapping):
        return next((f"group {name}" for name, members in scope.items() if source in members), f"source {source}")
    return "all" if scope == "all" else f"source {source}"


def check_missed(samples: Iterable[tuple[str, str, WindowSample | None]], checks: Checks) -> None:
    """Check that no two windows in no match are equal.

    Args:
        samples: group, source and sample of each task.
        checks: take the results.
    """
    groups: dict[str, list[tuple[str, WindowSample]]] = {}
    for group, source, sample in samples:
        if sample is not None and sample.tables:
            groups.setdefault(group, []).append((source, sample))
    for members in groups.values():
        missed = _missed(members)
        at = checks.at(stage=SUBSTRINGS)
        shown = "; ".join(f"{one} and {other}" for one, other in missed[:SHOWN])
        at.true("E2", not missed, "no substring that is repeated and in no list", f"{len(missed)}, such as {shown}")


def _missed(members: Sequence[tuple[str, WindowSample]]) -> list[tuple[str, str]]:
    """Pairs of equal windows, each as the place of the first and of another."""
    names: list[str] = []
    tables: list[NDArray[Any]] = []
    for source, sample in members:
        table = np.concatenate(sample.tables)
        table["document"] += len(names)
        tables.append(table)
        names += [f"{source} {file} record {record}" for file, record in sample.places]
    windows = np.sort(np.concatenate(tables), order=["hash", "document", "offset"])
    starts = np.append(True, windows["hash"][1:] != windows["hash"][:-1])
    first = np.maximum.accumulate(np.where(starts, np.arange(len(windows)), 0))
    apart = windows["offset"].astype(np.int64) - windows["offset"][first]
    is_missed = (windows["document"] != windows["document"][first]) | (apart >= members[0][1].window)

    def name(row: Any) -> str:  # noqa: ANN401 - a row of SAMPLE_DTYPE
        return f"{names[row['document']]} byte {row['offset']}"

    return [(name(windows[first[at]]), name(windows[at])) for at in np.flatnonzero(is_missed).tolist()]


def _sampled(text: bytes, window: int, spacing: int) -> NDArray[np.int64]:
    """Where the windows begin whose hash is divisible by `spacing`.

    The hash is a polynomial of the bytes modulo 2^64, from sums of the bytes so far times powers of an odd base.
    """
    count = len(text) - window + 1
    powers = np.full(len(text), _BASE, np.uint64)
    powers[0] = 1
    np.multiply.accumulate(powers, out=powers)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((np.frombuffer(text, np.uint8) + np.uint64(1)) * powers)])
    inverses = np.full(count, _INVERSE, np.uint64)
    inverses[0] = 1
    np.multiply.accumulate(inverses, out=inverses)
    hashes = (sums[window:] - sums[:-window]) * inverses
    mixed = ((hashes ^ (hashes >> np.uint64(32))) * _MIX) >> np.uint64(24)
    return np.flatnonzero(mixed % np.uint64(spacing) == 0)
