"""The ids of a text by the definition of tiktoken's encodings, independent of the code that encoded it.

The pattern divides a text into pieces. A piece starts as single bytes; of all neighbors whose joined bytes have a rank,
those with the lowest rank are joined, the leftmost first; a piece that has a rank itself is one token.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from heapq import heappop, heappush
from pathlib import Path

import regex

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.read.watch import PATIENCE_SECONDS


class TiktokenIds:
    """Encodes and decodes documents."""

    restores_every_text = True  # every byte is a token, and a text that the pattern does not cover is not encoded

    def __init__(self, path: Path) -> None:
        form = json.loads(path.read_bytes())
        lines = [line.split() for line in form["ranks"].splitlines() if line]
        self._rank_of = {base64.b64decode(token): int(rank) for token, rank in lines}
        self.token_of = {rank: token for token, rank in self._rank_of.items()}
        self.token_of |= {number: token.encode() for token, number in form["special_tokens"].items()}
        self._pieces = regex.compile(form["pattern"])

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without EODs."""
        known: dict[bytes, list[int]] = {}
        rows = []
        for text in texts:
            row: list[int] = []
            for piece in self._split(text):
                if piece not in known:
                    known[piece] = self._join(piece)
                row += known[piece]
            rows.append(row)
        return rows

    def decode(self, documents: Sequence[list[int]]) -> list[str]:
        """The text of each list of ids."""
        return [b"".join(map(self.token_of.__getitem__, ids)).decode(errors="replace") for ids in documents]

    def _split(self, text: str) -> list[bytes]:
        try:
            return [match[0].encode() for match in self._pieces.finditer(text, timeout=PATIENCE_SECONDS)]
        except TimeoutError:
            raise RequestError(
                f"tokenizer.pattern: did not finish within {PATIENCE_SECONDS:g} s on the text that begins with "
                f"{text[:40]!r}, so the ids of this build cannot be checked"
            ) from None

    def _join(self, piece: bytes) -> list[int]:
        if piece in self._rank_of:
            return [self._rank_of[piece]]
        ends = {start: start + 1 for start in range(len(piece))}
        starts = {end: start for start, end in ends.items()}
        candidates: list[tuple[int, int, int]] = []

        def offer(start: int, end: int) -> None:
            rank = self._rank_of.get(piece[start:end])
            if rank is not None:
                heappush(candidates, (rank, start, end))

        for start in range(len(piece) - 1):
            offer(start, start + 2)
        while candidates:
            _, start, end = heappop(candidates)
            middle = ends.get(start)
            if middle is None or ends.get(middle) != end:
                continue  # one of the two was joined to another neighbor
            del ends[middle]
            ends[start], starts[end] = end, start
            if start in starts:
                offer(starts[start], end)
            if end in ends:
                offer(start, ends[end])
        return [self._rank_of[piece[start : ends[start]]] for start in sorted(ends)]
