"""Languages of a source's sample, by the model of the step `language`, where its extra is installed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.steps.filters.language import CHARS, load_model

from .sources import FoundSource

LEAST_SHARE = 0.02
"""Of the texts: rarer labels are mostly mistakes of the model."""


def detect_languages(source: FoundSource) -> FoundSource:
    """Give a source the languages of its sample; those that its records name, and those of code, stay as they are."""
    if source.languages or source.format == "code" or not source.texts:
        return source
    try:
        model = load_model()
    except (RequestError, ImportError):  # an estimate for a comment: without the extra there is none
        return source
    labels = Counter(_label(model.predict(" ".join(text[:CHARS].split()))) for text in source.texts)
    shares = tuple((name, number / labels.total()) for name, number in labels.most_common())
    return replace(source, languages=tuple(pair for pair in shares if pair[1] >= LEAST_SHARE))


def _label(predicted: object) -> str:
    assert isinstance(predicted, tuple)
    return str(predicted[0][0]).removeprefix("__label__")
