"""The block `labels` of a spec: values that are added to documents, by which a source can then be split."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mixproof.mixtures.values.quantities import Share, SignedNumber
from mixproof.mixtures.values.spec_part import SpecPart
from mixproof.mixtures.values.whole_numbers import ClusterNumber, WholeNumber

from .step import Step

LABEL_NAME_RULE = "use letters, digits, dots, dashes and underscores, and start with a letter, digit or underscore"
LABEL_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"
LabelName = Annotated[str, Field(pattern=LABEL_NAME, max_length=100)]
"""Names of labels, which are also names of columns."""
CONFIDENCE = ".confidence"
"""A label that is the most probable of several also has this column: its probability."""


def _pattern(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"not a regular expression of Python ({error})") from None
    if groups > 1:
        raise ValueError(f"has {groups} groups; use one, whose text is the label, or none, for true and false")
    return text


class LanguageLabel(SpecPart):
    """The language of a text by fastText's lid.176, and its probability."""


class FasttextLabel(SpecPart):
    """The most probable label of a fastText model and its probability, or the probability of one label."""

    model: str
    """Path of the model's `.bin` or `.ftz` file."""
    label: str | None = None
    """A label of the model, without `__label__`: its probability is the value. Default: the most probable label."""


class FieldLabel(SpecPart):
    """A field of the records."""

    name: str
    """The field; a dot selects a nested field, as in `meta.score`."""
    type: Literal["text", "number"] = "text"
    """`text`: text, whole numbers and truth values are the label, as text. `number`: any number is."""


class Prune(SpecPart):
    """A rule by which fine clusters are pruned: their documents leave the corpus."""

    label: str
    """A label of the source."""
    is_: str | None = None
    """For a label that is a category: the value whose share of the cluster's documents counts. Of a number, the mean
    counts, over the documents that have one."""
    below: SignedNumber | None = None
    """Clusters whose mean or share is below this are pruned."""
    above: SignedNumber | None = None
    """Clusters whose mean or share is above this are pruned."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.below is None) == (self.above is None):
            raise ValueError("needs exactly one of `below` and `above`")
        return self


class Clusters(SpecPart):
    """Clusters of documents with similar contents, found by embeddings."""

    number: ClusterNumber | None = None
    """Number of clusters. Fewer are found if fewer documents differ."""
    from_: str | None = None
    """Instead of `number`: path of the manifest of a build whose clusters are used, as for a new dump."""
    embedding: str | None = None
    """Folder with a static token table (`model.safetensors`, `tokenizer.json`), as model2vec writes, or with a
    transformer encoder, as transformers or sentence-transformers saves one. Default: the table of the package
    wordllama, which `mixproof[sources]` installs."""
    chars: WholeNumber = 2000
    """Characters at the start of a document that are looked at; an encoder also ends at its longest input."""
    within: tuple[str, ...] | None = Field(None, min_length=1)
    """Labels of the source that are categories, such as its language: fine clusters whose most frequent values differ
    are merged only if nothing else is left. Default: contents alone decide."""
    prune: tuple[Prune, ...] | None = Field(None, min_length=1)
    """Fine clusters that are pruned before the others are merged. Default: none."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.number is None) == (self.from_ is None):
            raise ValueError("needs exactly one of `number` and `from`")
        if self.from_ is not None and (self.within or self.prune):
            raise ValueError(
                "`within` and `prune` apply where clusters are found; those `from` another build have them"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels by whose values fine clusters are merged and pruned, each once."""
        return tuple(dict.fromkeys((*(self.within or ()), *(rule.label for rule in self.prune or ()))))


class Classifier(SpecPart):
    """A classifier that the build trains: the value is the probability that a text is like the positive examples."""

    positive: tuple[str, ...] | None = Field(None, min_length=1)
    """Sources of this spec, or paths and globs of files with other texts."""
    negative: tuple[str, ...] | None = Field(None, min_length=1)
    """Sources or files with the texts to tell them from."""
    from_: str | None = None
    """Instead of both: path of the manifest of a build whose classifier is used, with its examples and its account."""
    name: str | None = None
    """With `from`: name of the classifier in that manifest. Default: its only one."""
    kind: Literal["fasttext", "linear"] = "fasttext"
    """`fasttext`: words and hashed pairs of words, as DCLM. `linear`: logistic regression on static embeddings."""
    documents: WholeNumber = 20_000
    """Most documents of each side. The sources of a side give equally many, as far as they have them."""
    chars: WholeNumber = 2000
    """Characters at the start of a document that are looked at."""
    reserve: Share = Fraction(1, 5)
    """Share of each source that the classifier is not trained on, because held-out sets are chosen from it: the
    documents with the smallest text hashes."""
    text: str = "text"
    """Field that holds the text in files of examples and in labelled files."""
    evaluate: tuple[str, ...] = ()
    """Labelled files to measure ROC-AUC on; the field `label` is 1 or true for positive, 0 or false for negative."""
    embedding: str | None = None
    """Folder with a static token table for `kind: linear`; an encoder is refused. Default: the table of the package
    wordllama."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        sides = [key for key in ("positive", "negative") if getattr(self, key) is not None]
        if self.from_ is not None:
            others = sorted(self.model_fields_set - {"from_", "name", "embedding"})
            if others:
                raise ValueError(
                    f"`{others[0]}` applies where a classifier is trained; one `from` another build has it"
                )
        elif len(sides) != 2:
            raise ValueError("needs `positive` and `negative`, or `from` another build")
        elif self.name is not None:
            raise ValueError("`name` applies only with `from`; remove it")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        both = sorted(set(self.positive or ()) & set(self.negative or ()))
        if both:
            raise ValueError(f"{', '.join(both)} is both positive and negative; list it once")
        if self.embedding is not None and self.kind != "linear" and self.from_ is None:
            raise ValueError("`embedding` applies only to `kind: linear`; remove it")
        if self.reserve == 1:
            raise ValueError("`reserve: 100%` leaves no document to train on")
        return self

    @property
    def examples(self) -> tuple[str, ...]:
        """The entries of both sides."""
        return (*(self.positive or ()), *(self.negative or ()))


class Label(SpecPart):
    """One label: exactly one way to find a document's value."""

    language: LanguageLabel | None = None
    """The language and its probability, by a model that is part of `mixproof[documents]`."""
    fasttext: FasttextLabel | None = None
    """What a fastText model says."""
    regex: Annotated[str, AfterValidator(_pattern)] | None = None
    """`true` if the expression matches in the text, else `false`; with a group, the text of its first match."""
    length: Literal["bytes", "characters", "words"] | None = None
    """The length of the text: UTF-8 bytes, characters, or words between white space."""
    field: FieldLabel | None = None
    """A field of the records."""
    step: Step | None = None
    """A filter, as in `steps`, such as one of datatrove's: `kept` if it would keep the text, else its reason. A text on
    which it raises an error has no value."""
    clusters: Clusters | None = None
    """The cluster that the text belongs to, by name, such as `c01-law-section-act`."""
    classifier: Classifier | None = None
    """What a classifier that the build trains says."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.kinds) != 1:
            raise ValueError(f"needs exactly one of {', '.join(f'`{kind}`' for kind in type(self).model_fields)}")
        return self

    @property
    def kinds(self) -> list[str]:
        """The keys that are given."""
        return [kind for kind in type(self).model_fields if getattr(self, kind) is not None]

    @property
    def is_number(self) -> bool:
        """Whether the label's values are numbers, to be split by quantiles or edges."""
        by_field = self.field is not None and self.field.type == "number"
        by_model = self.classifier is not None or (self.fasttext is not None and self.fasttext.label is not None)
        return by_field or by_model or self.length is not None

    @property
    def has_confidence(self) -> bool:
        """Whether the label has a column with its probability."""
        return self.language is not None or (self.fasttext is not None and self.fasttext.label is None)
