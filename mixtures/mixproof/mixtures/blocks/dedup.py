"""The `dedup` block of a spec: which documents count as duplicates, within which scope, and which copy stays."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, StrictBool, Tag

from mixproof.mixtures.values.quantities import PositiveNumber, Share
from mixproof.mixtures.values.spec_part import SpecPart
from mixproof.mixtures.values.whole_numbers import NgramLength, SignatureSize, SubstringBytes, WholeNumber


def _above_zero(share: Fraction) -> Fraction:
    if share == 0:
        raise ValueError("must be above 0: at 0, unrelated documents count as duplicates; try 95%")
    return share


class FuzzyDedup(SpecPart):
    """MinHash-LSH over word n-grams."""

    ngram: NgramLength = 5
    """Words per shingle."""
    bands: SignatureSize = 24
    """Bands of the signature. Two documents that agree on all rows of a band become candidates."""
    rows: SignatureSize = 8
    """Minima per band."""
    threshold: Share = Fraction(73, 100)
    """Smallest share of equal minima at which two documents count as near-duplicates."""


class SemanticDedup(SpecPart):
    """Semantic deduplication (SemDeDup): of documents whose embeddings have nearly the same direction, one stays."""

    threshold: Annotated[Share, AfterValidator(_above_zero)] = Fraction(95, 100)
    """Smallest cosine at which two documents count as semantic duplicates."""
    embedding: str | None = None
    """Folder with a static token table (`model.safetensors`, `tokenizer.json`), as model2vec writes, or with a
    transformer encoder, as transformers or sentence-transformers saves one. Default: the table of the package
    wordllama, which `mixproof[sources]` installs and which is of English."""
    chars: WholeNumber = 2000
    """Characters at the start of a document that are embedded."""
    min_chars: WholeNumber = 200
    """Documents with fewer characters are not compared and stay."""
    chars_per_token: PositiveNumber = Fraction(3)
    """Documents whose tokens have fewer characters on average are not compared and stay: in a language or script that
    the table does not know, texts fall into single letters and embeddings of all texts are alike."""
    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Sources whose documents are compared. Default: all."""


class ParagraphDedup(SpecPart):
    """Paragraph deduplication: of equal lines, only the first copy stays."""

    min_words: WholeNumber = 10
    """Lines with fewer words always stay: headings, list items, lines of dialogue."""
    min_doc_words: WholeNumber = 50
    """A document that loses a paragraph and is left with fewer words is dropped as `too_short`."""
    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Sources whose paragraphs are compared. Default: all. Leave code out: its lines repeat legitimately."""


class SubstringDedup(SpecPart):
    """Substring deduplication: of stretches of text that occur more than once, only the first stays."""

    bytes: SubstringBytes = 400
    """Repeated stretches of at least this many UTF-8 bytes are cut. Below about 200, idioms and quotations go too."""
    min_doc_words: WholeNumber = 50
    """A document that loses text and is left with fewer words is dropped as `too_short`."""
    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Sources whose texts are compared. Default: all."""


class Dedup(SpecPart):
    """Which documents count as duplicates, within which scope, and which copy stays."""

    exact: StrictBool = True
    """Drop documents whose texts are byte-for-byte equal."""
    on: Literal["conversations", "prompts"] = "conversations"
    """What is compared of two conversations: the whole text, or only the prompt. With `prompts`, one record stays of
    all that share a prompt, pairs and rated answers included. Plain documents: always the text."""
    fuzzy: FuzzyDedup | None = None
    """Also drop near-duplicates; `true` uses the defaults below. Default: off."""
    semantic: SemanticDedup | None = None
    """Then drop documents that say nearly the same in other words; `true` uses the defaults below. Default: off."""
    paragraphs: ParagraphDedup | None = None
    """Then cut out lines that another document keeps; `true` uses the defaults below. Default: off."""
    substrings: SubstringDedup | None = None
    """Then cut out stretches of bytes that occur earlier; `true` uses the defaults below. Default: off."""
    scope: Annotated[
        Annotated[Literal["all", "source"], Tag("word")] | Annotated[dict[str, tuple[str, ...]], Tag("groups")],
        Discriminator(lambda value: "groups" if isinstance(value, dict) else "word"),
    ] = "all"
    """`all`: across all sources; `source`: within each source; or a map of named groups of sources."""
    keep: tuple[str, ...] = ()
    """Sources in order of priority for keeping a shared document; the others follow, by name."""

    @property
    def cuts(self) -> dict[str, ParagraphDedup | SubstringDedup]:
        """The searches that cut texts, by key, in the order in which they run."""
        found = {"paragraphs": self.paragraphs, "substrings": self.substrings}
        return {key: rule for key, rule in found.items() if rule is not None}
