"""Words of texts as 64-bit hashes, in numpy.

A word is a run of letters as defined in `letters.py`. Its hash is computed from its lower-case UTF-8, eight bytes at a
time: the first eight bytes, plus, for longer words, a sum over the other groups of eight, each mixed with its position.
Mixing spreads every bit over all 64 and is one-to-one, so words of up to eight bytes never collide; others collide with
probability 2^-64. UTF-8 in memory is hashed without making strings, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .letters import letters_of, letters_of_utf8
from .ngrams import Ragged, mixed, offsets_of, ranges

BATCH_CHARS = 1 << 16
"""Characters hashed per batch, whose arrays fit in a core's cache."""

BLOCK_BYTES = 1 << 15
"""Bytes of ASCII hashed per block, whose arrays fit in a core's cache."""

LONG_BYTES = 1 << 20
"""Bytes of UTF-8 of a long text that are hashed at a time."""
SEARCHED_CHARS = 1 << 12
"""Characters that are searched at a time for the end of a word."""

_EIGHT = 8
"""Bytes read as one number."""
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(_EIGHT + 1)], dtype=np.uint64)
"""Masks for the last `size` bytes of a word."""
_POSITION = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(_EIGHT * 0x9E3779B97F4A7C15 % (1 << 64))
"""`_POSITION` times the position of a word's second group of eight bytes."""


def word_hashes(texts: Sequence[str]) -> Ragged:
    """Hash every word of every text, in order."""
    counts = np.zeros(len(texts), dtype=np.int64)
    parts = [np.zeros(0, dtype=np.uint64)]
    for owners, pieces in _batches(texts):
        hashes, per_piece = _hash_batch(pieces)
        parts.append(hashes)
        np.add.at(counts, owners, per_piece)
    return Ragged(np.concatenate(parts), offsets_of(counts))


def word_hashes_of_utf8(data: bytes, offsets: NDArray[np.int64]) -> Ragged:
    """Hash every word of texts that are concatenated in `data`, like `word_hashes`, without making strings.

    Args:
        data: UTF-8.
        offsets: int64 [texts + 1], text i is `data[offsets[i]:offsets[i + 1]]`.
    """
    letters, hard = letters_of_utf8(data)
    if not len(hard):
        return _hash_letters(letters, offsets)
    others = np.unique(np.searchsorted(offsets, hard, side="right") - 1).tolist()
    bounds = offsets.tolist()
    ends = [*(bounds[text] for text in others), len(data)]
    begins = [0, *(bounds[text + 1] for text in others)]
    between = b"".join(letters[begin:end] for begin, end in zip(begins, ends, strict=True))
    plain = _hash_letters(between, offsets_of(np.delete(np.diff(offsets), others)))
    strings = word_hashes([data[bounds[text] : bounds[text + 1]].decode() for text in others])
    return _merged(plain, strings, others)


def word_blocks(text: bytes) -> Iterator[NDArray[np.uint64]]:
    """Hash every word of one text, in blocks of about LONG_BYTES of UTF-8, whose arrays do not grow with the text.

    Concatenated, the blocks are the row that `word_hashes` gives. A word is never cut, so one longer than a block makes
    a longer block.
    """
    for block in _blocks(text):
        yield word_hashes_of_utf8(block, np.array([0, len(block)])).values


def long_word_hashes(text: bytes) -> NDArray[np.uint64]:
    """Hash every word of one long text, like `word_hashes`, with little memory besides the hashes: uint64 [words]."""
    hashes = bytearray()  # grows in place, where joining arrays would take twice their size
    for block in _blocks(text):
        hashes += word_hashes([block.decode()]).values.data
    return np.frombuffer(hashes, dtype=np.uint64)


def _blocks(text: bytes) -> Iterator[bytes]:
    """Cut one text into blocks of about LONG_BYTES, and no word."""
    start = 0
    while start < len(text):
        end = _end_of_block(text, start)
        yield text[start:end]
        start = end


def _end_of_block(text: bytes, start: int) -> int:
    """A position about LONG_BYTES after `start` that is not inside a word."""
    end = start + LONG_BYTES
    if end >= len(text):
        return len(text)
    cut = max(text.rfind(b" ", start + 1, end), text.rfind(b"\n", start + 1, end))
    if cut > start:
        return cut
    while text[end] & 0xC0 == 0x80:
        end -= 1
    size = LONG_BYTES
    while True:  # until a word ends among the characters that are decoded
        chars = text[end : end + size].decode(errors="ignore")
        cut = _next_word_end(chars, 0)
        if cut < len(chars):
            return end + len(chars[:cut].encode())
        if end + size >= len(text):
            return len(text)
        size *= 2


def _next_word_end(text: str, start: int) -> int:
    """The first position after `start` that is not inside a word, or the end of the text."""
    while start + 1 < len(text):
        letters, starts_word = letters_of(text[start : start + SEARCHED_CHARS])
        free = np.flatnonzero((letters[1:] == 0) | starts_word[1:])
        if len(free):
            return start + 1 + int(free[0])
        start += SEARCHED_CHARS - 1  # whether a word continues depends on the character before
    return len(text)


def _merged(plain: Ragged, strings: Ragged, others: Sequence[int]) -> Ragged:
    """Insert the rows of `strings` into `plain` at the indices `others`, which ascend."""
    parts, done = [], 0
    for number, text in enumerate(others):
        before = plain.offsets[text - number]
        parts += [plain.values[done:before], strings.of(number)]
        done = before
    counts = np.insert(plain.lengths, np.array(others) - np.arange(len(others)), strings.lengths)
    return Ragged(np.concatenate([*parts, plain.values[done:]]), offsets_of(counts))


def _hash_letters(letters: bytes, offsets: NDArray[np.int64]) -> Ragged:
    """Hash the words of concatenated texts in lower-case UTF-8, in which zeros separate words."""
    is_letter = np.frombuffer(letters, dtype=np.uint8)
    firsts = offsets[1:-1][np.diff(offsets[:-1]) > 0]
    firsts = firsts[firsts < len(letters)]
    glued = firsts[(is_letter[firsts - 1] != 0) & (is_letter[firsts] != 0)]  # texts that are not separated
    cuts = [0, *glued.tolist(), len(letters)]
    letters = b"\0".join([letters[start:end] for start, end in pairwise(cuts)]) + bytes(_EIGHT)
    is_letter = np.frombuffer(letters, dtype=np.uint8)
    word_starts, parts, start = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)], 0
    last = len(letters) - _EIGHT
    while start < last:
        end = _word_end(letters, start, last)
        inside = np.zeros(end - start + 2, dtype=np.bool_)
        np.not_equal(is_letter[start:end], 0, out=inside[1:-1])
        edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
        starts = edges[:, 0] + start
        word_starts.append(starts)
        parts.append(_hash_spans(letters, starts, edges[:, 1] - edges[:, 0]))
        start = end
    bounds = offsets + np.searchsorted(glued, offsets, side="right")
    return Ragged(np.concatenate(parts), np.searchsorted(np.concatenate(word_starts), bounds))


def _word_end(letters: bytes, start: int, last: int) -> int:
    """A position about BLOCK_BYTES after `start` that is not inside a word."""
    end = start + BLOCK_BYTES
    if end >= last:
        return last
    cut = letters.rfind(b"\0", start + 1, end)
    if cut < 0:
        cut = letters.find(b"\0", end, last)
    return cut if cut > 0 else last


def _batches(texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    """Batches of pieces of about BATCH_CHARS, each with the indices of their texts."""
    owners: list[int] = []
    pieces: list[str] = []
    chars = 0
    for number, text in enumerate(texts):
        for piece in [text] if len(text) <= BATCH_CHARS else _pieces(text):
            if chars and chars + len(piece) > BATCH_CHARS:
                yield np.array(owners, dtype=np.int64), pieces
                owners, pieces, chars = [], [], 0
            owners.append(number)
            pieces.append(piece)
            chars += len(piece) + 1
    if pieces:
        yield np.array(owners, dtype=np.int64), pieces


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text at white space or else between words, so that no word is cut."""
    start = 0
    while len(text) - start > BATCH_CHARS:
        end = start + BATCH_CHARS
        cut = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
        if cut <= start:
            cut = _next_word_end(text, end)
        yield text[start:cut]
        start = cut
    yield text[start:]


def _hash_batch(pieces: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Word hashes of the pieces in order, and words per piece: uint64 [words], int64 [pieces]."""
    letters, starts_word = letters_of("\n".join(pieces))
    starts, ends = _spans(letters != 0, starts_word)
    lengths = np.fromiter((len(piece) + 1 for piece in pieces), dtype=np.int64, count=len(pieces))
    bounds = np.searchsorted(starts, offsets_of(lengths))
    if letters.dtype != np.uint8:
        utf8 = letters.tobytes().decode("utf-32-le", "surrogatepass").encode("utf-8", "surrogatepass")
        # start of each character, and end of the last
        bounds_of_chars = np.append(np.flatnonzero((np.frombuffer(utf8, dtype=np.uint8) & 0xC0) != 0x80), len(utf8))
        starts, ends = bounds_of_chars[starts], bounds_of_chars[ends]
    else:
        utf8 = letters.tobytes()
    return _hash_spans(utf8 + bytes(_EIGHT), starts, ends - starts), np.diff(bounds)


def _spans(is_word: NDArray[np.bool_], starts_word: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of every word, int64 [words] each."""
    ends_word = is_word.copy()
    ends_word[:-1] &= ~is_word[1:] | starts_word[1:]
    return np.flatnonzero(starts_word), np.flatnonzero(ends_word) + 1


def _hash_spans(utf8: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash the words of `lengths` bytes at `starts`; `utf8` has eight bytes of padding."""
    # a view of eight bytes from every byte on; only indexed elements are read
    eights = np.ndarray((len(utf8) - _EIGHT + 1,), dtype="<u8", buffer=utf8, strides=(1,))
    hashes = eights[starts] & _MASKS.take(lengths, mode="clip")
    long = np.flatnonzero(lengths > _EIGHT)
    if len(long):  # most have one more group
        hashes[long] += _mixed_eights(eights, starts[long] + _EIGHT, lengths[long] - _EIGHT, _SECOND)
    longer = long[lengths[long] > 2 * _EIGHT]
    if len(longer):
        counts = (lengths[longer] - 1) // _EIGHT - 1  # of groups beyond the second
        positions = _EIGHT * (ranges(np.zeros_like(counts), counts) + 2)
        remaining = np.repeat(lengths[longer], counts) - positions
        sums = _mixed_eights(
            eights, np.repeat(starts[longer], counts) + positions, remaining, positions.astype(np.uint64) * _POSITION
        )
        hashes[longer] += np.add.reduceat(sums, offsets_of(counts)[:-1])
    return mixed(hashes)


def _mixed_eights(
    eights: NDArray[np.uint64],
    starts: NDArray[np.int64],
    remaining: NDArray[np.int64],
    of_position: NDArray[np.uint64] | np.uint64,
) -> NDArray[np.uint64]:
    """The terms of the groups at `starts`, of which `remaining` bytes belong to the word."""
    read = eights[starts] & _MASKS.take(remaining, mode="clip")
    read += of_position
    return mixed(read)
