"""A set that min_documents made larger than requested is reported with its share of the source."""

from __future__ import annotations

from fractions import Fraction

from mixproof.mixtures.blocks.heldout import HeldoutCreate
from mixproof.pipeline.heldout.heldout_size import heldout_size


def test_a_set_of_few_long_documents_has_grown_beyond_the_requested_tokens() -> None:
    requested = HeldoutCreate(tokens=100_000, min_documents=50)
    size = heldout_size("law", requested, documents=50, tokens=320_341, size=1100, source_bytes=10_000)
    assert (size.share, size.has_grown) == (Fraction(11, 100), True)
    assert str(size) == (
        "law: 320,341 tokens in 50 documents, 11.0% of the source; 100,000 tokens were requested, but "
        "heldout.create.min_documents is 50"
    )


def test_a_set_that_ends_at_the_requested_tokens_has_not_grown() -> None:
    requested = HeldoutCreate(tokens=1000, min_documents=2)
    size = heldout_size("web", requested, documents=7, tokens=1600, size=20, source_bytes=1000)
    assert not size.has_grown
    assert str(size) == "web: 1,600 tokens in 7 documents, 2.0% of the source"


def test_without_a_requested_size_it_is_a_fiftieth_of_the_source_or_a_million_tokens() -> None:
    small = heldout_size("a", HeldoutCreate(), documents=50, tokens=500, size=2000, source_bytes=10_000)
    assert (small.requested_tokens, small.has_grown) == (50, True)
    large = heldout_size("a", HeldoutCreate(), documents=60, tokens=10**6, size=10**7, source_bytes=10**9)
    assert (large.requested_tokens, large.has_grown) == (10**6, False)
