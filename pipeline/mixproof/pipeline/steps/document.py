"""A document while it passes the steps of its source: text, fields, language and words.

A text is split into words once per language, and all steps share the result until one of them changes the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixproof.pipeline.record import Raw

from .segmentation.splitter import Words
from .segmentation.words import splitter_of

DEFAULT_LANGUAGE = "en"
"""The language that datatrove's filters assume; so do the steps here, unless something else is known."""


class Document:
    """One text with its record's fields and the findings of earlier steps."""

    __slots__ = ("_words", "fields", "id", "language", "language_score", "replaced", "text")

    def __init__(self, raw: Raw) -> None:
        self.id = raw.id
        self.text = raw.text
        self.fields: Mapping[str, Any] = raw.fields or {}
        """The record's other fields, if a step uses them."""
        self.language: str | None = None
        """Label from a `language` step, such as `de`."""
        self.language_score: float | None = None
        self.replaced: Mapping[str, int] = {}
        """How much the step that runs has replaced in the text, by kind."""
        self._words: dict[str, Words] = {}

    def replace_text(self, text: str) -> None:
        """Replace the text and discard the words of the old one."""
        self.text = text
        self._words = {}

    def known_words(self, language: str) -> Words | None:
        """The text's words in that language if an earlier step has found them."""
        return self._words.get(language)

    def words(self, language: str) -> Words:
        """The text's words by the tokenizer of that language.

        Raises:
            NoWordsError: when no tokenizer for that language is installed.
        """
        found = self._words.get(language)
        if found is None:
            found = self._words[language] = splitter_of(language).words(self.text)
        return found
