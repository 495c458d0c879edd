"""The requested size of a source's held-out set, and how much of it has been taken."""

from __future__ import annotations

from fractions import Fraction

from mixproof.ledger.account import StageRow
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.heldout import HeldoutCreate

DEFAULT_TOKENS = 1_000_000
DEFAULT_BYTES_DIVISOR = 50
"""If no size is requested, a set ends at this share of the source's bytes, 2%, or at DEFAULT_TOKENS if that is less."""
GUESSED_BYTES_PER_TOKEN = 5
"""Sets how much of a source is read first; a wrong guess only costs time."""


class HeldoutTarget:
    """The requested size of a source's held-out set, and how much of it has been taken."""

    def __init__(self, where: str, requested: HeldoutCreate, before: StageRow, last_hash: str | None) -> None:
        self.where, self.requested, self.before, self.last_hash = where, requested, before, last_hash
        self.documents = self.tokens = self.bytes = 0

    @property
    def expected_share(self) -> Fraction:
        """About which share of the source the set will be, above 0 and at most 1."""
        size = max(1, self.before.bytes_out)
        expected_bytes = GUESSED_BYTES_PER_TOKEN * (self.requested.tokens or DEFAULT_TOKENS)
        if self.requested.tokens is None:
            expected_bytes = min(expected_bytes, size // DEFAULT_BYTES_DIVISOR + 1)
        documents = Fraction(max(1, self.requested.min_documents), max(1, self.before.documents_out))
        return min(Fraction(1), max(Fraction(expected_bytes, size), documents))

    @property
    def is_reached(self) -> bool:
        """Whether as much as requested has been taken."""
        if self.documents < max(1, self.requested.min_documents):
            return False
        if self.requested.tokens is not None:
            return self.tokens >= self.requested.tokens
        return self.tokens >= DEFAULT_TOKENS or self.bytes * DEFAULT_BYTES_DIVISOR >= self.before.bytes_out

    @property
    def may_end_at_reserve(self) -> bool:
        """Whether the set may consist of all reserved documents: then no number of tokens was requested."""
        return (
            self.last_hash is not None
            and self.requested.tokens is None
            and self.documents >= max(1, self.requested.min_documents)
        )

    def add(self, tokens: int, size: int) -> None:
        """Count a document of `size` bytes as taken."""
        self.documents, self.tokens, self.bytes = self.documents + 1, self.tokens + tokens, self.bytes + size

    def shortage(self) -> RequestError:
        """Make the error for a source that has less than requested."""
        tokens = "" if self.requested.tokens is None else f"{self.requested.tokens:,} tokens and "
        available = f"its {self.before.documents_out:,} documents"
        if self.last_hash is not None:
            available = "the documents reserved for it before the tokenizer is trained"
        return RequestError(
            f"{self.where}: heldout.create requests {tokens}at least {self.requested.min_documents:,} documents for "
            f"the held-out set, but {available} provide only {self.tokens:,} tokens in {self.documents:,} documents; "
            "lower heldout.create.tokens or heldout.create.min_documents, or add files to the source"
        )

    def nothing_left(self) -> RequestError:
        """Make the error for a set that takes the whole source."""
        return RequestError(
            f"{self.where}: its held-out set would take all of its {self.documents:,} documents ({self.tokens:,} "
            "tokens) and leave none for training; lower heldout.create.tokens or heldout.create.min_documents, add "
            "files to the source, or import held-out sets with `heldout: {from: ...}`"
        )
