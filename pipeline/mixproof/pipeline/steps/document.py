"""A document on its way through the steps of its source: the text, what is known of it, and its words.

Words are found once for a text and a language and shared by every step that counts them; a step that
changes the text makes them stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixproof.pipeline.record import Raw

from .segmentation.splitter import Words
from .segmentation.words import splitter_of

DEFAULT_LANGUAGE = "en"
"""What datatrove's filters take a text to be, and so do ours where nothing says otherwise."""


class Document:
    """One text with what its record and earlier steps say of it."""

    __slots__ = ("_words", "fields", "id", "language", "language_score", "text")

    def __init__(self, raw: Raw) -> None:
        self.id = raw.id
        self.text = raw.text
        self.fields: Mapping[str, Any] = raw.fields or {}
        """Everything else in the record, where a step asked for it."""
        self.language: str | None = None
        """Label that a `language` step gave, such as `de`."""
        self.language_score: float | None = None
        self._words: dict[str, Words] = {}

    def replace_text(self, text: str) -> None:
        """Go on with another text; the words of the old one are forgotten."""
        self.text = text
        self._words = {}

    def known_words(self, language: str) -> Words | None:
        """Give the text's words in that language if a step has asked for them."""
        return self._words.get(language)

    def words(self, language: str) -> Words:
        """Give the text's words as that language splits them.

        Raises:
            NoWordsError: when nothing here splits that language into words.
        """
        found = self._words.get(language)
        if found is None:
            found = self._words[language] = splitter_of(language).words(self.text)
        return found
