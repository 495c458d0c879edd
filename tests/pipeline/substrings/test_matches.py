"""Matches against brute force: every byte of a repeated window is found, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixproof.pipeline.substrings.anchors import anchored_runs
from mixproof.pipeline.substrings.earlier_copies import Section, earlier_copies, firsts_between
from mixproof.pipeline.substrings.matches import MATCH_DTYPE, chosen_and_rest, covering, joined, matches_of
from mixproof.pipeline.substrings.repeated_anchors import repeated_of
from mixproof.pipeline.substrings.windows import WINDOW_DTYPE, in_sections, repeated_windows

WINDOW = 16


def find(texts: Sequence[bytes], window: int, section_windows: int) -> NDArray[Any]:
    """The matches of one shard, through every step that the tasks take."""
    data, bounds = b"".join(texts), np.cumsum([0, *map(len, texts)])
    runs = list(anchored_runs(data, bounds, window))
    places = {int(p): int(k) for each in runs for p, k in zip(each.key_position, each.key, strict=True)}
    keys = np.array(list(places.values()), np.uint64)
    repeated = repeated_of(keys, np.zeros(len(keys), np.int64))["key"]
    tables = [np.empty(0, WINDOW_DTYPE), *repeated_windows(data, bounds, window, repeated)]
    sections = [
        each[np.argsort(each, order=("hash", "row", "offset"))] for each in in_sections(tables, section_windows)
    ]
    if not sections:
        return np.empty(0, MATCH_DTYPE)
    firsts = [firsts_between(each, Section("", 0, number), 0, 2**64) for number, each in enumerate(sections)]
    copies = earlier_copies(np.concatenate(firsts))
    parts, rest = [], np.empty(0, MATCH_DTYPE)
    for number, each in enumerate(sections):
        found = matches_of(each, copies[copies["section"] == number], 0, window)
        chosen, rest = chosen_and_rest(joined(np.concatenate([rest, found]), window))
        parts.append(chosen)
    return np.concatenate([*parts, covering(rest)])


def brute_force(texts: Sequence[bytes], window: int) -> set[tuple[int, int]]:
    """Every byte (text, offset) of a window whose bytes end before it or are in an earlier text."""
    first: dict[bytes, tuple[int, int]] = {}
    covered = set()
    for row, text in enumerate(texts):
        for start in range(len(text) - window + 1):
            kept_row, kept_start = first.setdefault(text[start : start + window], (row, start))
            if kept_row < row or kept_start + window <= start:
                covered |= {(row, byte) for byte in range(start, start + window)}
    return covered


def covered_by(matches: NDArray[Any]) -> set[tuple[int, int]]:
    return {(int(m["row"]), int(m["start"]) + k) for m in matches for k in range(m["length"])}


pieces = st.lists(st.sampled_from([b"a", b"b", b"ab", b"abcdefghijklmnop", b"0123456789ABCDEFGHIJ" * 2, b"\xc3\xa9"]))
texts_of_pieces = st.lists(pieces.map(b"".join), max_size=8)


@settings(max_examples=150, deadline=None)
@given(texts_of_pieces, st.sampled_from([16, 17, 24, 31]), st.sampled_from([3, 50, 10_000]))
@example([b"a" * 200], 16, 10_000)
@example([b"ab" * 40, b"ba" * 40], 17, 3)
def test_all_repeated_bytes_are_found_and_no_others(texts: list[bytes], window: int, section_windows: int) -> None:
    matches = find(texts, window, section_windows)
    assert covered_by(matches) == brute_force(texts, window)
    assert matches.tobytes() == find(texts, window, 10_000).tobytes(), "sections change the matches"
    for match in matches:
        row, start, length = (int(match[name]) for name in ("row", "start", "length"))
        kept_row, kept_start = int(match["kept_row"]), int(match["kept_start"])
        assert texts[row][start : start + length] == texts[kept_row][kept_start : kept_start + length]
        assert (kept_row, kept_start) < (row, start)


def test_matches_are_found_across_the_borders_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    shared = random.bytes(700)
    texts = [random.bytes(90) + shared, random.bytes(333) + shared[:450], shared[100:] + random.bytes(40), shared[:63]]
    whole = find(texts, 64, 10_000)
    assert covered_by(whole) == brute_force(texts, 64)
    assert [(int(m["row"]), int(m["start"]), int(m["length"])) for m in whole] == [(1, 333, 450), (2, 0, 600)]
    monkeypatch.setattr("mixproof.pipeline.substrings.anchors.BLOCK_BYTES", 50)
    assert find(texts, 64, 10_000).tobytes() == whole.tobytes()
