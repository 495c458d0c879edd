"""How large a held-out set became, compared with what the spec requests."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.blocks.heldout import HeldoutCreate
from mixproof.mixtures.spec import Spec

from .heldout_target import DEFAULT_BYTES_DIVISOR, DEFAULT_TOKENS

GROWN = Fraction(3, 2)
"""A set is reported as grown from this multiple of the requested size on."""


@dataclass(frozen=True)
class HeldoutSize:
    """The size of one source's held-out set."""

    source: str
    requested_tokens: int
    """As `heldout.create.tokens` says; otherwise 1M tokens or those of 2% of the source's bytes, if that is less."""
    min_documents: int
    documents: int
    tokens: int
    share: Fraction
    """Bytes of the set as a share of the source's, training and held-out documents together."""

    @property
    def has_grown(self) -> bool:
        """Whether the set is much larger than requested, because `min_documents` long documents were needed."""
        return self.documents <= self.min_documents and self.tokens >= GROWN * self.requested_tokens

    def __str__(self) -> str:
        share = f"{float(self.share):.1%} of the source"
        text = f"{self.source}: {self.tokens:,} tokens in {self.documents:,} documents, {share}"
        if self.has_grown:
            text += (
                f"; {self.requested_tokens:,} tokens were requested, but heldout.create.min_documents is "
                f"{self.min_documents:,}"
            )
        return text


def heldout_size(
    source: str, requested: HeldoutCreate, *, documents: int, tokens: int, size: int, source_bytes: int
) -> HeldoutSize:
    """Compare a set with what is requested.

    Args:
        source: its source.
        requested: `heldout.create` of the spec.
        documents: of the set.
        tokens: of the set, EODs included.
        size: UTF-8 bytes of the set.
        source_bytes: UTF-8 bytes of the source, training and held-out documents together.
    """
    tokens_requested = requested.tokens
    if tokens_requested is None:
        tokens_requested = min(DEFAULT_TOKENS, tokens * source_bytes // (DEFAULT_BYTES_DIVISOR * max(1, size)))
    share = Fraction(size, max(1, source_bytes))
    return HeldoutSize(source, tokens_requested, max(1, requested.min_documents), documents, tokens, share)


def heldout_sizes(spec: Spec, manifest: Manifest) -> list[HeldoutSize]:
    """The sizes of the held-out sets that a build created, by source; imported sets are left out."""
    requested = spec.heldout.create
    return [
        heldout_size(
            name,
            requested,
            documents=source.heldout.documents // source.documents_per_record,
            tokens=source.heldout.tokens,
            size=source.heldout.bytes,
            source_bytes=source.train.bytes + source.heldout.bytes,
        )
        for name, source in sorted(manifest.sources.items())
        if requested is not None and source.heldout.documents
    ]
