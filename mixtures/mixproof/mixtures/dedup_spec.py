"""The `dedup` block of a spec: which texts count as the same, where, and which of them stays."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Discriminator, Field, StrictBool, Tag

from .quantities import Share, WholeNumber
from .spec_part import SpecPart


class FuzzyDedup(SpecPart):
    """MinHash-LSH over word n-grams."""

    ngram: WholeNumber = 5
    """Words that make one shingle."""
    bands: WholeNumber = 24
    """Groups of minima; two documents that agree in all minima of one become candidates."""
    rows: WholeNumber = 8
    """Minima of a band."""
    threshold: Share = Fraction(73, 100)
    """Smallest share of equal signature minima at which two documents count as the same."""


class ParagraphDedup(SpecPart):
    """Lines that stand in several places stay in the first of them."""

    min_words: WholeNumber = 10
    """A line with fewer words always stays: headings, list items, a line of dialogue."""
    min_doc_words: WholeNumber = 50
    """A document that loses a paragraph and is left with fewer words goes as `too_short`."""
    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Sources whose paragraphs are compared; absent: all. Code is better left out: its lines repeat for good reason."""


class Dedup(SpecPart):
    """Which documents count as the same, where, and which of them stays."""

    exact: StrictBool = True
    """Drop texts that are equal byte for byte."""
    fuzzy: FuzzyDedup | None = None
    """Drop near-copies, too; `true` for the defaults below. Absent: off."""
    paragraphs: ParagraphDedup | None = None
    """Then cut lines out that another place keeps; `true` for the defaults below. Absent: off."""
    scope: Annotated[
        Annotated[Literal["all", "source"], Tag("word")] | Annotated[dict[str, tuple[str, ...]], Tag("groups")],
        Discriminator(lambda value: "groups" if isinstance(value, dict) else "word"),
    ] = "all"
    """`all`: all sources against each other; `source`: each alone; else named groups of sources."""
    keep: tuple[str, ...] = ()
    """Priority of the source that keeps a shared document; sources not listed come last, by name."""
