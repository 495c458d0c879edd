"""Which bytes of a text go: those covered by matches, but only whole characters."""

from __future__ import annotations

from collections.abc import Sequence

Ranges = list[tuple[int, int]]
"""Bytes [start, end) of a text, ascending, without overlaps."""


def ranges_to_cut(text: bytes, matches: Sequence[tuple[int, int]]) -> Ranges:
    """Put matches together and leave out the parts of characters at their ends.

    Args:
        text: UTF-8.
        matches: first byte and length of each, by first byte.
    """
    ranges: Ranges = []
    for start, length in matches:
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], start + length))
        else:
            ranges.append((start, start + length))
    inside = ((_next_character(text, start), _character_before(text, end)) for start, end in ranges)
    return [(start, end) for start, end in inside if start < end]


def _next_character(text: bytes, byte: int) -> int:
    while byte < len(text) and _continues(text[byte]):
        byte += 1
    return byte


def _character_before(text: bytes, byte: int) -> int:
    while 0 < byte < len(text) and _continues(text[byte]):
        byte -= 1
    return byte


def _continues(byte: int) -> bool:
    """Whether a byte of UTF-8 is a later byte of a character."""
    return byte & 0xC0 == 0x80


def without(text: bytes, ranges: Ranges) -> bytes:
    """Return a text without some ranges of bytes."""
    edges = [0, *(edge for each in ranges for edge in each), len(text)]
    return b"".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))


def bytes_of_each(matches: Sequence[tuple[int, int]], ranges: Ranges) -> list[int]:
    """Count the bytes of the ranges that each match covers and no match before it does.

    Args:
        matches: first byte and length of each, by first byte.
        ranges: what is cut for these matches.
    """
    sizes, covered, current = [], 0, 0
    for start, length in matches:
        first, end = max(start, covered), max(start + length, covered)
        while current < len(ranges) and ranges[current][1] <= first:
            current += 1
        low, high = ranges[current] if current < len(ranges) else (end, end)
        sizes.append(max(min(end, high) - max(first, low), 0))
        covered = end
    return sizes
