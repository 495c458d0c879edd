"""Audit of fill-in-the-middle: which documents were transformed and where they were cut, derived again.

Integer arithmetic on the text hashes of the draw's provenance, document by document; no code of the writer is used.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.tokenize.audit.report import Checks
from mixproof.train.data.saved_index import PackedStreamRecord, StreamRecord
from mixproof.train.delivered_record import DeliveredRecord, FimDelivered, FimRecord
from mixproof.train.record import RunRecord

ADDED = 3
"""Sentinels of a transformed document."""
WORD = 1 << 64


def check_fim_numbers(run: RunRecord, stream: StreamRecord | PackedStreamRecord, checks: Checks) -> None:
    """Check that index and record declare the same, and that the counts of the record are possible."""
    declared = (run.fim or {}).get(stream.source)
    checks.equal("schema", "as fill-in-the-middle of the index", declared, stream.fim)
    complete = all((epoch.fim is None) == (epoch.windows is None) == (declared is None) for epoch in stream.epochs)
    checks.true("schema", complete, "transformations in every epoch, or in none", "in some")
    delivered = run.delivered.get(stream.source)
    if delivered is not None:
        _check_counts(delivered, declared is not None, checks)


def _check_counts(delivered: DeliveredRecord, is_declared: bool, checks: Checks) -> None:
    counts = delivered.fim
    if not checks.equal("E9", "fill-in-the-middle delivered", is_declared, counts is not None) or counts is None:
        return
    documents, tokens = counts.psm_documents + counts.spm_documents, counts.psm_tokens + counts.spm_tokens
    checks.true("E9", documents <= counts.documents, f"at most {counts.documents} transformed", str(documents))
    checks.true("E9", tokens <= delivered.tokens, f"at most {delivered.tokens} transformed tokens", str(tokens))


class Derivation:
    """The transformations of one source's draw, derived from its text hashes."""

    def __init__(
        self, declared: FimRecord, hashes: list[str], lengths: list[int], seed: int, stream: str, *, has_bos: bool
    ) -> None:
        self._declared, self._lengths, self._front = declared, lengths, int(has_bos)
        self._hashes = [int(text[:16], 16) for text in hashes]
        self._run_seed, self._stream = seed, stream

    @property
    def documents(self) -> int:
        """Documents of the draw."""
        return len(self._lengths)

    def of_documents(self, epoch: int) -> list[tuple[int, int, int]]:
        """Kind and cuts of every document of one pass."""
        seed = self._seed(epoch)
        return [
            self._draw(key, tokens - self._front - 1, seed)
            for key, tokens in zip(self._hashes, self._lengths, strict=True)
        ]

    def of_piece(self, epoch: int, document: int, first: int, window: int) -> tuple[int, int, int]:
        """Kind and cuts of the piece of a document that starts at token `first`."""
        tokens = self.piece_tokens(document, first, window)
        content = tokens - (self._front if first == 0 else 0) - int(first + tokens == self._lengths[document])
        if tokens + ADDED > window:
            content = 0
        return self._draw(_scramble((self._hashes[document] + first) % WORD), content, self._seed(epoch))

    def piece_tokens(self, document: int, first: int, window: int) -> int:
        """Tokens of a piece without sentinels: documents longer than a window leave room for them."""
        length = self._lengths[document]
        return min(length - first, window - ADDED if length > window else window)

    def _draw(self, key: int, content: int, seed: int) -> tuple[int, int, int]:
        base = _scramble(key ^ _scramble(seed))
        words = [_scramble((base + number * 0x9E3779B97F4A7C15) % WORD) for number in range(1, 5)]
        if content <= 0 or words[0] >> 1 >= int(Fraction(self._declared.rate) * (WORD >> 1)):
            return 0, 0, 0
        is_spm = words[1] >> 1 < int(Fraction(self._declared.spm_rate) * (WORD >> 1))
        first, second = sorted(word % (content + 1) for word in words[2:])
        return 2 if is_spm else 1, first, second

    def _seed(self, epoch: int) -> int:
        digest = hashlib.sha256(f"fim/{self._run_seed}/{self._stream}/{epoch}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1


def derivation_of(
    root: Path, run: RunRecord, stream: StreamRecord | PackedStreamRecord, lengths: NDArray[np.int32] | None
) -> Derivation | None:
    """Read the text hashes of a draw; None without fill-in-the-middle, or if the draw is damaged."""
    path = root / "draw" / stream.draw.key / f"{stream.source}.parquet"
    if stream.fim is None or lengths is None or not path.is_file():
        return None
    hashes = pq.read_table(path, columns=["text_xxh128"], partitioning=None)["text_xxh128"].to_pylist()
    if len(hashes) != len(lengths):
        return None
    has_bos = run.tokenizer.bos_id is not None
    return Derivation(stream.fim, hashes, lengths.tolist(), run.seed, stream.name, has_bos=has_bos)


class Counted:
    """Sums of what was read of transformed documents or pieces."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(FimDelivered.model_fields, 0)

    def add(self, kind: int, tokens: int, *, begins: bool) -> None:
        """Add one document or piece, of which `tokens` were read."""
        name = ("", "psm", "spm")[kind]
        self._sums["documents"] += begins
        if name:
            self._sums[f"{name}_documents"] += begins
            self._sums[f"{name}_tokens"] += tokens

    def add_all(self, kinds: NDArray[Any], tokens: NDArray[Any], begins: NDArray[np.bool_]) -> None:
        """Add pieces: [pieces] kind, tokens that were read, and whether each begins its document or is its unit."""
        for kind, size, is_first in zip(kinds.tolist(), tokens.tolist(), begins.tolist(), strict=True):
            self.add(kind, size, begins=is_first)

    def add_counted(self, other: Counted) -> None:
        """Add the sums of another stream."""
        for name, count in other._sums.items():
            self._sums[name] += count

    def check(self, delivered: DeliveredRecord, checks: Checks) -> None:
        """Check E9: the record states these counts."""
        checks.equal("E9", "fill-in-the-middle, replayed", FimDelivered(**self._sums), delivered.fim)


def table_of(arrangements: list[tuple[int, int, int]]) -> NDArray[Any]:
    """Return the array that an index saves."""
    return np.array(arrangements, np.int32).reshape(-1, 3)


def _scramble(word: int) -> int:
    """SplitMix64's output function."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB % WORD
    return word ^ word >> 31
