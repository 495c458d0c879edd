"""tiktoken's byte-pair encodings: rank files, split patterns, and their ids.

A rank file has one line per token, the base64 of its bytes and its rank, which is its id
(https://github.com/openai/tiktoken, `tiktoken/load.py`). The rest of an encoding is code elsewhere, so a spec declares
it: the pattern that splits a text into pieces, and the special tokens with their ids. All three together are one file
in the store, `encoding.tiktoken`, so the hash of that file covers them.

A piece that has a rank is one token. In every other piece, the two neighbors whose joined bytes have the lowest rank
are joined, the leftmost first, until no joined pair has a rank. tiktoken itself is not used: it aborts with a stack
overflow in a piece of some hundred thousand characters, which corpora contain. The patterns are matched by the `regex`
package. Special tokens are never matched in text, as in tiktoken's `encode_ordinary`.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import regex

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.read.watch import PATIENCE_SECONDS, SLOWEST_BYTES_PER_SECOND

from .encoded import Encoded
from .patterns import PATTERNS

ENCODING = "encoding.tiktoken"
MAX_RANK = 2**24
CACHED_PIECES = 1 << 18
"""Pieces whose ids are kept; natural text repeats them."""
MAX_CACHED_BYTES = 64
"""Longer pieces seldom repeat."""
_NO_RANK = 1 << 60


@dataclass(frozen=True)
class TiktokenEncoding:
    """A complete encoding."""

    ranks: dict[bytes, int]
    special: dict[str, int]
    pattern: str

    @property
    def size(self) -> int:
        """The largest id plus one."""
        return max(*self.ranks.values(), *self.special.values()) + 1

    def is_joined_by_rank(self) -> bool:
        """Whether ranks count from 0, and every token of several bytes is joined from two tokens of lower ranks."""
        if sorted(self.ranks.values()) != list(range(len(self.ranks))):
            return False
        longer = ((token, rank) for token, rank in self.ranks.items() if len(token) > 1)
        return all(len(join_by_rank(token, self.ranks, below=rank)) == 2 for token, rank in longer)


def compose_encoding(file: Path, pattern: str | None, special: Mapping[str, int]) -> bytes:
    """The file `encoding.tiktoken` of a rank file and what the spec declares; the same bytes for the same encoding.

    Raises:
        RequestError: when the rank file is damaged, or pattern or special tokens do not fit it.
    """
    if not file.is_file():
        raise RequestError(f"tokenizer.tiktoken: no file {file}; correct the path in the spec")
    try:
        ranks = file.read_bytes().decode("ascii")
    except UnicodeDecodeError:
        raise RequestError(f"tokenizer.tiktoken: {file} is not a rank file of base64 tokens and ranks") from None
    form = {"pattern": _pattern(pattern), "special_tokens": dict(special), "ranks": ranks}
    parse_encoding(form, str(file))
    return json.dumps(form, sort_keys=True, indent=0).encode()


def parse_encoding(form: Mapping[str, Any], name: str) -> TiktokenEncoding:
    """Parse the contents of an `encoding.tiktoken`.

    Args:
        form: `pattern`, `special_tokens` and `ranks`.
        name: the file, for errors.

    Raises:
        RequestError: when a line, a rank, a special token or the pattern is invalid.
    """
    ranks = _parse_ranks(form["ranks"], name)
    special: dict[str, int] = form["special_tokens"]
    ids = set(ranks.values())
    for token, number in special.items():
        if not token or not 0 <= number < MAX_RANK:
            raise RequestError(f"tokenizer.special_tokens: {token!r}: {number} is not a token with an id")
        if number in ids:
            raise RequestError(
                f"tokenizer.special_tokens: id {number} of {token!r} already belongs to another token; ranks of {name} "
                f"are 0 to {max(ranks.values())}"
            )
        ids.add(number)
    return TiktokenEncoding(ranks, special, form["pattern"])


def _parse_ranks(text: str, name: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise RequestError(
                f"tokenizer.tiktoken: {name} line {number}: not a base64 token and its rank, as in `IQ== 0`"
            ) from None
    lines = sum(1 for line in text.splitlines() if line)
    if len(ranks) != lines or len(set(ranks.values())) != lines:
        raise RequestError(f"tokenizer.tiktoken: {name}: a token or a rank occurs twice")
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise RequestError(
            f"tokenizer.tiktoken: {name}: {len(missing)} of the 256 single bytes have no rank, the first is "
            f"0x{missing[0]:02x}, so some texts could not be encoded; use a complete rank file"
        )
    if not 0 <= min(ranks.values()) <= max(ranks.values()) < MAX_RANK:
        raise RequestError(f"tokenizer.tiktoken: {name}: ranks must be from 0 to {MAX_RANK - 1:,}")
    return ranks


def _pattern(declared: str | None) -> str:
    known = ", ".join(PATTERNS)
    if declared is None:
        raise RequestError(
            f"tokenizer.pattern: a rank file has no pattern that splits texts into pieces; set it to one of {known}, "
            "or to a regular expression"
        )
    if declared in PATTERNS:
        return PATTERNS[declared]
    if re.fullmatch(r"\w*", declared):
        raise RequestError(f"tokenizer.pattern: {declared!r} is not a known pattern; known are {known}")
    try:
        regex.compile(declared)
    except regex.error as error:
        raise RequestError(f"tokenizer.pattern: {declared!r} is not a regular expression: {error}") from None
    return declared


class TiktokenReference:
    """Encodes as tiktoken's `encode_ordinary`: a literal special token is ordinary text.

    Args:
        path: of the encoding.
        patience_seconds: time that the pattern may take for a text, in addition to a time for its size.

    Raises:
        RequestError: when the file does not exist or is not an encoding.
    """

    def __init__(self, path: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        try:
            form = json.loads(Path(path).read_bytes())
            self.encoding = parse_encoding(form, path)
        except FileNotFoundError:
            raise RequestError(f"tokenizer: no file {path}; correct the path in the spec") from None
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(f"tokenizer: {path} is not an encoding with ranks and a pattern: {error}") from None
        self.vocab_size = self.encoding.size
        self._split = regex.compile(self.encoding.pattern)
        self.bytes_of = {number: token for token, number in self.encoding.ranks.items()}
        self.bytes_of |= {number: token.encode() for token, number in self.encoding.special.items()}
        self._cached = lru_cache(CACHED_PIECES)(self._ids_of)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs.

        Raises:
            RequestError: when the pattern leaves out a part of a text.
        """
        rows = [self._encode(text) for text in texts]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return Encoded(np.fromiter((number for row in rows for number in row), np.int64, int(lengths.sum())), lengths)

    def decode(self, documents: list[list[int]]) -> list[str]:
        """The texts of lists of ids; bytes that are not UTF-8 become U+FFFD."""
        return [b"".join(self.bytes_of[number] for number in ids).decode(errors="replace") for ids in documents]

    def find_eod(self, piece: str | None, file: Path) -> int:
        """The id of the special token `piece`; `file` names no end of document.

        Raises:
            RequestError: when `piece` is None or not a special token.
        """
        if piece is None:
            raise RequestError(
                f"tokenizer: a rank file has no end of document; set it with `eod: TOKEN`, one of {self._known}"
            )
        return self._id_of(piece, "eod")

    def find_bos(self, piece: str | None, file: Path) -> int:
        """The id of the special token `piece`; `file` names no beginning of a sequence.

        Raises:
            RequestError: when `piece` is None or not a special token.
        """
        if piece is None:
            raise RequestError(
                f"tokenizer.bos: a rank file has no BOS of its own; set it with `bos: TOKEN`, one of {self._known}"
            )
        return self._id_of(piece, "bos")

    @property
    def _known(self) -> str:
        return ", ".join(map(repr, self.encoding.special)) or "none"

    def _id_of(self, piece: str, key: str) -> int:
        if piece not in self.encoding.special:
            raise RequestError(
                f"tokenizer.{key}: {piece!r} is not one of special_tokens ({self._known}); declare it with its id"
            )
        return self.encoding.special[piece]

    def find_added(self, piece: str) -> int | None:
        """The id of a special token; None if there is no such token."""
        return self.encoding.special.get(piece)

    @property
    def special_pieces(self) -> list[str]:
        """The special tokens."""
        return list(self.encoding.special)

    @property
    def added_pieces(self) -> list[str]:
        """None: nothing is matched literally in text."""
        return []

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = []
        end = 0
        try:
            for match in self._split.finditer(text, timeout=self._patience + len(text) / SLOWEST_BYTES_PER_SECOND):
                if match.start() != end:
                    break
                end = match.end()
                piece = match[0].encode()
                ids += self._cached(piece) if len(piece) <= MAX_CACHED_BYTES else self._ids_of(piece)
        except TimeoutError:
            raise RequestError(
                f"tokenizer.pattern: did not finish within {self._patience:g} s on the text that begins with "
                f"{text[:40]!r}; write it without repetitions inside repetitions, such as (a+)+"
            ) from None
        if end != len(text):
            raise RequestError(
                f"tokenizer.pattern: does not match {text[end : end + 20]!r} in a text, so it would be lost; add an "
                "alternative such as `|.` that matches the rest (tiktoken drops such text)"
            )
        return ids

    def _ids_of(self, piece: bytes) -> list[int]:
        whole = self.encoding.ranks.get(piece)
        return join_by_rank(piece, self.encoding.ranks) if whole is None else [whole]


def rank_file(ranks: Mapping[bytes, int]) -> bytes:
    """The rank file of an encoding, in the order of its ranks."""
    lines = (b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in sorted(ranks.items(), key=lambda x: x[1]))
    return b"".join(lines)


def join_by_rank(piece: bytes, ranks: Mapping[bytes, int], below: int = _NO_RANK) -> list[int]:
    """The ranks of a piece's tokens, after joining neighbors by rank; n log n steps for n bytes.

    Args:
        piece: bytes, each of which has a rank.
        ranks: rank of each token.
        below: joins with this rank or a higher one are not made.
    """
    size = len(piece)
    after = list(range(1, size + 1))
    before = list(range(-1, size))
    joined = [ranks.get(piece[at : at + 2], _NO_RANK) for at in range(size - 1)]
    queue = [(rank, at) for at, rank in enumerate(joined) if rank < below]
    heapq.heapify(queue)
    joined += [_NO_RANK, _NO_RANK]
    while queue:
        rank, left = heapq.heappop(queue)
        if joined[left] != rank:
            continue
        right = after[left]
        joined[right] = _NO_RANK
        after[left], before[after[right]] = after[right], left
        for at in (before[left], left):
            if at < 0:
                continue
            middle = after[at]
            joined[at] = ranks.get(piece[at : after[middle]], _NO_RANK) if middle < size else _NO_RANK
            if joined[at] < below:
                heapq.heappush(queue, (joined[at], at))
    ids, at = [], 0
    while at < size:
        ids.append(ranks[piece[at : after[at]]])
        at = after[at]
    return ids
