"""The blocks `heldout` and `decontaminate` of a spec."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from mixproof.mixtures.values.quantities import Share, TokenCount
from mixproof.mixtures.values.spec_part import SpecPart
from mixproof.mixtures.values.whole_numbers import NgramLength, WholeNumber


class HeldoutCreate(SpecPart):
    """Held-out sets taken from this spec's own sources; the numbers are per source."""

    tokens: TokenCount | None = None
    """Tokens to hold out. Default: 1M tokens or 2% of the source's bytes, whichever is less."""
    min_documents: WholeNumber = 50
    """Smallest number of documents to hold out, even if they have more than `tokens`."""


class HeldoutSpec(SpecPart):
    """Where the held-out sets come from: exactly one of `create` and `from`."""

    create: HeldoutCreate | None = None
    """Take them from this spec's sources."""
    from_: str | None = None
    """Path of the manifest of another build, to import its held-out sets."""


class EvaluationFiles(SpecPart):
    """Evaluation files with the same fields."""

    files: tuple[str, ...] = Field(min_length=1)
    """Paths, globs or fsspec URLs."""
    fields: tuple[str, ...] | None = Field(None, min_length=1)
    """Fields that hold texts to protect; a dot selects a nested field. Default: known fields of benchmarks, by name."""
    passages: bool = True
    """Protect the passage that a question is about, such as `context` in SQuAD. Has no effect with `fields`."""


class QuestionOverlap(SpecPart):
    """When a training document counts as a copy of an evaluation text, even if some words were changed."""

    ngram: NgramLength = 5
    """Words per n-gram."""
    overlap: Share = Fraction(2, 5)
    """A training document is dropped when it contains this share of the text's n-grams."""


class Decontaminate(SpecPart):
    """Which training documents are dropped because they overlap with held-out or evaluation texts."""

    against: tuple[EvaluationFiles, ...] = ()
    """Evaluation files to protect, besides the held-out texts, which are always protected. A path alone: its files with
    known fields."""
    ngram: NgramLength = 13
    """Words per n-gram; shorter runs of shared text do not count."""
    overlap: Share = Fraction(1, 2)
    """A training document is dropped when this share of either text's n-grams occurs in the other."""
    questions: Annotated[
        Annotated[QuestionOverlap, Tag("map")] | Annotated[Literal[False], Tag("false")],
        Discriminator(lambda value: "false" if value is False else "map"),
    ] = QuestionOverlap()
    """A second search for the texts of `against`, by shorter n-grams, because a question has few words and one edit
    changes many long n-grams. Questions of 7 to 24 words are also aligned word by word. `false` turns it off."""
    ignore_frequent: WholeNumber | None = None
    """N-grams, and texts of fewer words, that occur in more than this number of training documents do not count.
    Default: all count."""
