r"""Letters: which characters words are made of, in lower case, by Unicode 3.2.

A word is a maximal run of letters, marks, digits and underscores, lower-cased character by character; that is `\w+`
plus combining marks. Every ideograph and kana is a word of its own, and so is every character of Thai, Lao, Khmer and
Burmese, which are written without spaces. Categories are those of Unicode 3.2, the version that every Python includes
(`unicodedata.ucd_3_2_0`), so the same bytes have the same words under any Python. Newer characters count as letters,
except in the blocks of punctuation and symbols.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

OWN_WORD_BLOCKS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3040, 0x312F),  # kana, bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width kana
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)
"""First and last code point of the blocks whose letters, marks and digits are words of their own."""

BLOCK_BYTES = 1 << 20
"""Bytes of UTF-8 processed at a time, which bounds the memory."""
_SYMBOL_BLOCKS = ((0x2000, 0x2BFF), (0x2E00, 0x2E7F), (0x1F000, 0x1FAFF), (0xE0000, 0x10FFFF))
_OWN = np.uint32(1 << 31)


def letters_of(text: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """For every character: its letter in lower case or 0 (uint8 or uint32), and whether a word starts there."""
    if text.isascii():
        letters = np.frombuffer(text.encode("ascii").translate(_utf8_table()), dtype=np.uint8)
        return letters, first_of_runs(letters != 0)
    letters = _letters()[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")]
    is_word = letters != 0
    starts_word = first_of_runs(is_word)
    if letters.max() >= _OWN:
        own = letters >= _OWN
        letters &= ~_OWN
        starts_word |= own
        starts_word[1:] |= own[:-1] & is_word[1:]
    return letters, starts_word


def letters_of_utf8(data: bytes) -> tuple[bytes, NDArray[np.int64]]:
    """UTF-8 of the letters in lower case with zeros for all other characters, and the positions of exceptions.

    Exceptions are characters that are words of their own, change their size in lower case, or have four bytes.
    """
    letters = data.translate(_utf8_table())
    if data.isascii():
        return letters, np.zeros(0, dtype=np.int64)
    written, hard, start = np.frombuffer(bytearray(letters), dtype=np.uint8), [], 0
    while start < len(data):
        end = min(len(data), start + BLOCK_BYTES)
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        hard.append(start + _write_letters(np.frombuffer(data, np.uint8, end - start, start), written[start:end]))
        start = end
    return written.tobytes(), np.concatenate(hard)


def _write_letters(read: NDArray[np.uint8], written: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Write the letters of characters beyond ASCII; return the positions of exceptions."""
    leads = np.flatnonzero(read >= 0xC2)
    firsts = read[leads]
    hard = [leads[firsts >= 0xF0]]
    for size, lead, codes in ((2, 0xC0, (0x80, 0x800)), (3, 0xE0, (0x800, 0x10000))):
        positions = leads[firsts >> (7 - size) == lead >> (7 - size)]
        found = (read[positions] ^ lead).astype(np.uint32)
        for byte in range(1, size):
            found = found << 6 | read[positions + byte] & 0x3F
        small = _letters()[found]
        changed = np.flatnonzero(small != found)
        positions, small = positions[changed], small[changed]
        hard.append(positions[(small != 0) & ((small < codes[0]) | (small >= codes[1]))])
        for byte in range(size):
            bits = small >> 6 * (size - 1 - byte)
            written[positions + byte] = np.where(small, bits & 0x3F | 0x80 if byte else bits | lead, 0)
    return np.concatenate(hard)


def first_of_runs(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True where `inside` is true and was false one element before."""
    firsts = inside.copy()
    firsts[1:] &= ~inside[:-1]
    return firsts


@lru_cache(maxsize=1)
def _utf8_table() -> bytes:
    """The letter, or 0, of each ASCII character, as a table for `bytes.translate`; other bytes map to themselves."""
    return bytes(int(letter) for letter in _letters()[:128]) + bytes(range(128, 256))


@lru_cache(maxsize=1)
def _letters() -> NDArray[np.uint32]:
    """For every code point the lower-cased one, or 0 where it separates words, uint32 [0x110000].

    Characters that are words of their own have the highest bit set.
    """
    letters = np.arange(0x110000, dtype=np.uint32)
    for first, last in _SYMBOL_BLOCKS:
        letters[first : last + 1] = 0
    category = unicodedata.ucd_3_2_0.category
    for code in range(0x30000):  # Unicode 3.2 has only tags and private use above
        kind = category(chr(code))
        if kind == "Cn":
            continue  # assigned later: by its block
        letters[code] = ord(chr(code).lower()[0]) if kind[0] in "LMN" or code == ord("_") else 0
    for first, last in OWN_WORD_BLOCKS:
        block = letters[first : last + 1]
        block[block != 0] |= _OWN
    return letters
