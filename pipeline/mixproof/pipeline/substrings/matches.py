"""Matches: maximal stretches of a document that repeat an earlier text, and the few of them that cover all.

A window is repeated if its bytes occur earlier: in an earlier document, or in the same one where the first occurrence
ends before the window begins. So in a long run of one character the first window's bytes stay and all others go. Each
repeated window is traced to its first occurrence; neighbours that are traced to neighbours form one match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.store import Store
from mixproof.pipeline.load_array import load_array

from .anchor_tables import STAGE
from .earlier_copies import copies_in
from .windows import section_name

MATCHES = "matches.npy"
"""MATCH_DTYPE, sorted by row and start."""

MATCH_DTYPE = np.dtype(
    [
        ("row", "<u4"),
        ("start", "<u4"),
        ("length", "<u4"),
        ("shard", "<i4"),
        ("kept_row", "<u4"),
        ("kept_start", "<u4"),
    ]
)
"""A stretch of bytes that repeats an earlier one: row of its document, first byte, bytes; index in the group of the
shard where the first occurrence is, row of its document there, first byte."""


def find_matches(
    store: Store, window: int, shards: Sequence[tuple[str, tuple[int, str, Sequence[tuple[int, Sequence[str]]]]]]
) -> None:
    """Write the matches of several shards.

    Each is given as its key and (index in the group, key of its windows, sections), a section as its index in the group
    and the keys of the ranges that have copies of its windows.
    """
    for key, (shard, windows, sections) in shards:
        parts, rest = [], np.empty(0, dtype=MATCH_DTYPE)
        for number, (section, ranges) in enumerate(sections):
            table = load_array(store.path(f"{STAGE}/{windows}/{section_name(number)}"))
            found = matches_of(table, copies_in(store, ranges, section), shard, window)
            chosen, rest = chosen_and_rest(joined(np.concatenate([rest, found]), window))
            parts.append(chosen)
        matches = np.concatenate([*parts, covering(rest)])
        with store.attempt(STAGE, key) as attempt:
            with attempt.path(MATCHES).open("wb") as file:
                np.save(file, matches, allow_pickle=False)
            attempt.commit(facts={"matches": len(matches), "shards": np.unique(matches["shard"]).tolist()})


def matches_of(windows: NDArray[Any], copies: NDArray[Any], shard: int, window: int) -> NDArray[Any]:
    """Find the repeated windows of one section and put neighbours together.

    Args:
        windows: WINDOW_DTYPE, sorted by hash, row and offset.
        copies: COPY_DTYPE of this section, sorted by hash.
        shard: index of the section's shard in the group.
        window: bytes of a window.

    Returns:
        MATCH_DTYPE, sorted by row and start.
    """
    kept = _first_occurrences(windows, copies, shard)
    in_document = (kept["shard"] == shard) & (kept["kept_row"] == windows["row"])
    far = kept["kept_start"].astype(np.int64) + window <= windows["offset"]
    found = kept[~in_document | far]
    found = found[np.argsort(found["row"].astype(np.int64) << 32 | found["start"])]
    found["length"] = window
    return joined(found, window)


def _first_occurrences(windows: NDArray[Any], copies: NDArray[Any], shard: int) -> NDArray[Any]:
    """Return MATCH_DTYPE [windows] without lengths: each window and where its hash occurs first."""
    hashes = windows["hash"]
    is_first = np.ones(len(windows), dtype=np.bool_)
    is_first[1:] = hashes[1:] != hashes[:-1]
    first = windows[np.maximum.accumulate(np.where(is_first, np.arange(len(windows)), 0))]
    found = np.empty(len(windows), dtype=MATCH_DTYPE)
    found["row"], found["start"] = windows["row"], windows["offset"]
    found["shard"], found["kept_row"], found["kept_start"] = shard, first["row"], first["offset"]
    if len(copies):
        nearest = np.minimum(np.searchsorted(copies["hash"], hashes), len(copies) - 1)
        elsewhere = copies["hash"][nearest] == hashes
        earlier = copies[nearest[elsewhere]]
        found["shard"][elsewhere] = earlier["shard"]
        found["kept_row"][elsewhere], found["kept_start"][elsewhere] = earlier["row"], earlier["offset"]
    return found


def joined(matches: NDArray[Any], window: int) -> NDArray[Any]:
    """Join each match with the one before it if its first window is the next one of both documents.

    Args:
        matches: MATCH_DTYPE, sorted by row and start.
        window: bytes of a window; a match has `length - window + 1` windows.
    """
    if not len(matches):
        return matches
    before, after = matches[:-1], matches[1:]
    windows = before["length"] - np.uint32(window - 1)
    follows = before["start"] + windows == after["start"]
    follows &= before["kept_start"] + windows == after["kept_start"]
    for name in ("row", "shard", "kept_row"):
        follows &= before[name] == after[name]
    first = np.flatnonzero(np.append(True, ~follows))
    last = np.append(first[1:], len(matches)) - 1
    found: NDArray[Any] = matches[first].copy()
    found["length"] = matches["start"][last] + matches["length"][last] - found["start"]
    return found


def covering(matches: NDArray[Any]) -> NDArray[Any]:
    """Choose the fewest matches that cover the same bytes: from the left, always the one that reaches furthest.

    Args:
        matches: MATCH_DTYPE, sorted by row and start, with ends that ascend within a row.
    """
    return matches[[index for index, _ in _furthest(matches)]]


def chosen_and_rest(matches: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Divide matches into those that later matches cannot displace, and the rest, which wait for later ones.

    The rest begins with a match that is chosen; of the others, those that begin before its end may be passed over.
    """
    chosen, first = [], len(matches)
    for index, following in _furthest(matches):
        if following + 1 >= len(matches):  # a later match may be joined with the last one, or reach further
            first = index
            break
        chosen.append(index)
    return matches[chosen], matches[first:]


def _furthest(matches: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield the index of each match that is chosen, and of the next one that is."""
    rows = matches["row"].astype(np.int64) << 32
    starts, ends = rows + matches["start"], rows + matches["start"] + matches["length"]
    current = 0
    while current < len(starts):
        following = max(int(np.searchsorted(starts, ends[current], side="right")) - 1, current + 1)
        yield current, following
        current = following
