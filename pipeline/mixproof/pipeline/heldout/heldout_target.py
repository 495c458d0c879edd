"""What is asked of a source for its held-out set, and how much of it has been taken."""

from __future__ import annotations

from fractions import Fraction

from mixproof.ledger.account import StageRow
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.spec import HeldoutCreate

from .reserve import DEFAULT_BYTES_DIVISOR, DEFAULT_TOKENS

GUESSED_BYTES_PER_TOKEN = 5
"""For the size of the first look at a source; a wrong guess costs time only."""


class Target:
    """What is asked of a source, and how much of it has been taken."""

    def __init__(self, where: str, asked: HeldoutCreate, before: StageRow, last: str | None) -> None:
        self.where, self.asked, self.before, self.last = where, asked, before, last
        self.documents = self.tokens = self.bytes = 0

    @property
    def expected(self) -> Fraction:
        """About which part of the source the set will be, above 0 and at most 1."""
        size = max(1, self.before.bytes_out)
        wanted = GUESSED_BYTES_PER_TOKEN * (self.asked.tokens or DEFAULT_TOKENS)
        if self.asked.tokens is None:
            wanted = min(wanted, size // DEFAULT_BYTES_DIVISOR + 1)
        documents = Fraction(max(1, self.asked.min_documents), max(1, self.before.documents_out))
        return min(Fraction(1), max(Fraction(wanted, size), documents))

    @property
    def reached(self) -> bool:
        """Whether what is asked has been taken."""
        if self.documents < max(1, self.asked.min_documents):
            return False
        if self.asked.tokens is not None:
            return self.tokens >= self.asked.tokens
        return self.tokens >= DEFAULT_TOKENS or self.bytes * DEFAULT_BYTES_DIVISOR >= self.before.bytes_out

    @property
    def enough(self) -> bool:
        """Whether the set may end where the documents set aside do: nobody asked for a number of tokens."""
        return (
            self.last is not None and self.asked.tokens is None and self.documents >= max(1, self.asked.min_documents)
        )

    def add(self, tokens: int, size: int) -> None:
        """Count a document that is taken, of `size` bytes."""
        self.documents, self.tokens, self.bytes = self.documents + 1, self.tokens + tokens, self.bytes + size

    def shortage(self) -> RequestError:
        """Say that the source could not give what is asked."""
        tokens = "" if self.asked.tokens is None else f"{self.asked.tokens:,} tokens and "
        where = f"its {self.before.documents_out:,} documents"
        if self.last is not None:
            where = "the documents set aside for it, before the tokenizer is trained on the others,"
        return RequestError(
            f"{self.where}: a held-out set of {tokens}{self.asked.min_documents:,} documents at least is "
            f"asked (heldout.create), but {where} give {self.tokens:,} tokens in {self.documents:,} documents; "
            "lower heldout.create.tokens or heldout.create.min_documents, or give the source more files"
        )

    def nothing_left(self) -> RequestError:
        """Say that the set takes the whole source."""
        return RequestError(
            f"{self.where}: its held-out set takes all of its {self.documents:,} documents "
            f"({self.tokens:,} tokens) and leaves none to train on; lower heldout.create.tokens or "
            "heldout.create.min_documents, give the source more files, or import held-out sets: `heldout: {from: ...}`"
        )
