"""Texts that a sample should contain because engines differ on them most: those with added tokens or rare scripts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow.compute as pc

from .admission import MAX_PATTERN_TOKENS
from .reference import Reference

RARE_PER_SHARD = 32
SEARCHED_BYTES = 64_000_000
"""UTF-8 bytes of a shard that are searched for rare texts; bounds the cost."""
COMMON_BLOCKS = (
    *("\\x{0}-\\x{24f}", "\\x{370}-\\x{3ff}", "\\x{400}-\\x{4ff}"),  # Latin, Greek, Cyrillic
    *("\\x{2000}-\\x{206f}", "\\x{20a0}-\\x{214f}", "\\x{3000}-\\x{30ff}"),  # punctuation, signs, Kana
    *("\\x{4e00}-\\x{9fff}", "\\x{ac00}-\\x{d7a3}", "\\x{ff00}-\\x{ffef}"),  # Han, Hangul, full width
)


class RareTexts:
    """Chooses the first rare texts of a shard, batch by batch."""

    def __init__(self, reference: Reference) -> None:
        pieces = [piece for piece in (*reference.added_pieces, *reference.special_pieces) if piece]
        literal = "|".join(map(re.escape, pieces[:MAX_PATTERN_TOKENS]))
        self._pattern = f"[^{''.join(COMMON_BLOCKS)}]" + (f"|{literal}" if literal else "")
        self._missing, self._unsearched = RARE_PER_SHARD, SEARCHED_BYTES

    def choose(self, texts: Any) -> list[int]:  # noqa: ANN401  pyarrow ships no types
        """Indices of rare texts in a column of a batch, as many as the shard may still have."""
        if self._missing <= 0 or self._unsearched <= 0:
            return []
        self._unsearched -= texts.nbytes
        matches = np.array(pc.match_substring_regex(texts, self._pattern).to_pylist(), np.bool_)
        chosen: list[int] = np.flatnonzero(matches)[: self._missing].tolist()
        self._missing -= len(chosen)
        return chosen
