"""Embed texts: the direction of the sum of their tokens' vectors, and the kinds of their characters, in whole numbers.

The first characters of a text are tokenized and the rounded vectors of its tokens are added up. Sums of whole numbers
below 2^24 are exact in float32, so neither the order of tokens, batches, threads nor the library behind a product
changes a bit. The sum is scaled to a length of UNIT and rounded. All later arithmetic is exact as well: products of
such vectors are whole numbers below 2^53.

A table of English tokens says little about format, and little about other languages. So the roots of the shares of
twelve kinds of bytes follow (digits, capitals, markup, lead bytes of other scripts), as in Hellinger's distance. They
raise the mutual information of clusters with the domains of real corpora, and make it less dependent on the sample.

A transformer encoder gives its own vector in place of the sum (`encoder.py`).

gigatoken tokenizes where it gives the ids of the reference on the texts in CHECKED, at about 30 MB/s; otherwise the
reference, the package tokenizers, does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .encoder import encode
from .encoder_files import EncoderFiles
from .token_table import MAX_TOKENS, TableFiles, load_table

UNIT = 4096
"""Length of an embedding."""
VERSION = 1
FORM_WEIGHT = 0.8
"""Length of the kinds of bytes, as a multiple of that of the token vectors."""
RELOAD_AFTER_BYTES = 100_000_000
"""gigatoken's cache grows with the text it has seen."""
CHECKED = (
    "The quick brown fox -- jumps over\n\n  3.14159 lazy dogs, isn't it?",
    "Ünïcödé, ﬁgures №5, 中文字符和日本語のテキスト, العربية, हिन्दी, ภาษาไทย, emoji 🙂🚀",
    "def f(x):\n\treturn {'a': x**2, \"b\": [1, 2, 3]}  # comment\r\n",
    " leading and trailing spaces  ",
    "<s> not a special token </s> \u00a0\u200b\x07 \\section{Text} $x_{ij}$",
)

_CHARACTERS = ("0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", " ", "\n")
_MARKS = (".,;:!?", "()[]{}", "#*_=|<>/\\$&@^~`%+", "\"'-")
_OTHERS = (range(0xC0, 0xE0), range(0xE0, 0xF0), range(0x80, 0xC0))
"""Bytes of characters beyond ASCII: leading two and three bytes, and continuing."""
KINDS = len(_CHARACTERS) + len(_MARKS) + len(_OTHERS)
"""Kinds of bytes that are counted."""


def _kind_of_byte() -> NDArray[np.int64]:
    """The number of each byte's kind, from 1; 0 for bytes of no kind: int64 [256]."""
    kinds = np.zeros(256, np.int64)
    for number, members in enumerate([*(map(ord, text) for text in (*_CHARACTERS, *_MARKS)), *_OTHERS], 1):
        kinds[list(members)] = number
    return kinds


_KIND_OF_BYTE = _kind_of_byte()
Tokenize = Callable[[str], Sequence[int]]


def embed(texts: Sequence[str], files: TableFiles, chars: int) -> NDArray[np.int16]:
    """Embed the first `chars` characters of each text: int16 [texts, dimensions + KINDS], of length UNIT.

    A text without tokens is zero.
    """
    texts = [text[:chars] for text in texts]
    sums, lengths = token_sums(texts, files)
    form = np.rint(kinds_of_bytes(texts) * FORM_WEIGHT) * (lengths > 0)[:, None]
    return directions(np.concatenate([directions(sums), form], axis=1)).astype(np.int16)


def token_sums(texts: Sequence[str], files: TableFiles) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The sum of the vectors of each text's first MAX_TOKENS tokens, or its vector by an encoder; its number of tokens.

    Returns:
        Whole numbers, float64 [texts, dimensions], and int64 [texts].
    """
    if isinstance(files, EncoderFiles):
        return encode(texts, files)
    table, tokenize = load_table(files.table), _tokenizer(files.tokenizer)
    rows = [tokenize(text) for text in texts]
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.concatenate([np.zeros(0, np.int64), *(np.asarray(row[:MAX_TOKENS], np.int64) for row in rows)])
    ends = np.concatenate([[0], np.cumsum(np.minimum(lengths, MAX_TOKENS))])
    from scipy.sparse import csr_array  # here, because the import takes 0.3 s and most builds need no embeddings

    counts = csr_array((np.ones(len(ids), np.float32), ids, ends), shape=(len(rows), len(table)))
    return np.asarray(counts @ table, np.float64), lengths


def kinds_of_bytes(texts: Sequence[str]) -> NDArray[np.float64]:
    """UNIT times the root of the share of each kind of bytes, rounded: float64 [texts, KINDS]."""
    counts = np.zeros((len(texts), KINDS + 1))
    for row, text in enumerate(texts):
        data = np.frombuffer(text.encode(), np.uint8)
        counts[row] = np.bincount(_KIND_OF_BYTE[data], minlength=KINDS + 1)
    lengths = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    roots: NDArray[np.float64] = np.rint(np.sqrt(counts[:, 1:] / lengths) * UNIT)
    return roots


def directions(sums: NDArray[np.float64], length: int = UNIT) -> NDArray[np.float64]:
    """Scale whole numbers to rows of a length, rounded; rows of zeros stay.

    Each operation on a number is rounded as IEEE 754 says, and sums of squares are whole numbers below 2^53, so the
    result is the same on every machine.
    """
    largest = np.abs(sums).max(axis=1, keepdims=True, initial=0)
    scaled = np.rint(sums * (length * 4 / np.maximum(largest, 1)))
    lengths = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
    found: NDArray[np.float64] = np.rint(scaled * (length / np.maximum(lengths, 1)))
    return found


@functools.lru_cache(maxsize=1)
def _tokenizer(path: str) -> Tokenize:
    from tokenizers import Tokenizer  # both are slow to import

    reference = Tokenizer.from_file(path)
    reference.no_truncation()
    reference.no_padding()

    def slow(text: str) -> Sequence[int]:
        ids: list[int] = reference.encode(text, add_special_tokens=False).ids
        return ids

    form = Path(path).read_bytes()
    try:
        fast = _Fast(form)
        if all(list(fast(text)) == list(slow(text)) for text in CHECKED):
            return fast
    except Exception:  # noqa: BLE001  gigatoken raises various errors for tokenizers that it cannot read
        return slow
    return slow


class _Fast:
    """gigatoken, reloaded before its cache grows too large."""

    def __init__(self, form: bytes) -> None:
        self._form = form
        self._load()

    def _load(self) -> None:
        import gigatoken

        self._encode: Any = gigatoken.Tokenizer.from_json(self._form).backend.encode
        self._bytes = 0

    def __call__(self, text: str) -> Sequence[int]:
        data = text.encode()
        self._bytes += len(data)
        if self._bytes > RELOAD_AFTER_BYTES:
            self._load()
        ids: Sequence[int] = self._encode(data)
        return ids
