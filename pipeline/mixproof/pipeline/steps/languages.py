"""Language data for the steps that depend on it: stop words, marks that end a line, languages with very short words.

English values are datatrove's. For other languages the spec's values apply, and if it has none, the lists below.
Gopher's rule requires two of eight very common words, so each list has a language's most common words, spelled as
datatrove's tokenizer for that language returns them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from mixproof.pipeline.steps.document import DEFAULT_LANGUAGE, Document
from mixproof.pipeline.steps.step import Options

STOP_WORDS: Mapping[str, tuple[str, ...]] = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),  # datatrove's
    "ar": ("في", "من", "على", "إلى", "أن", "عن", "التي", "هذا"),
    "bg": ("на", "и", "в", "да", "се", "за", "от", "с"),
    "ca": ("de", "la", "i", "el", "que", "en", "a", "les"),
    "cs": ("a", "se", "v", "na", "je", "že", "to", "s"),
    "da": ("og", "i", "at", "det", "er", "en", "til", "på"),
    "de": ("der", "die", "und", "in", "den", "von", "zu", "das"),
    "el": ("και", "το", "του", "της", "να", "η", "με", "για"),
    "es": ("de", "la", "que", "el", "en", "y", "los", "se"),
    "fa": ("و", "در", "به", "از", "که", "این", "را", "با"),
    "fi": ("ja", "on", "ei", "että", "se", "oli", "mutta", "joka"),
    "fr": ("de", "la", "et", "le", "les", "des", "en", "que"),
    "hi": ("के", "में", "है", "की", "और", "से", "का", "को"),
    "hu": ("a", "az", "és", "hogy", "nem", "is", "egy", "van"),
    "id": ("yang", "dan", "di", "dengan", "untuk", "dari", "pada", "ini"),
    "it": ("di", "e", "la", "che", "il", "in", "per", "un"),
    "ja": ("の", "に", "は", "を", "が", "と", "で", "た"),
    "nl": ("de", "het", "een", "van", "en", "in", "dat", "te"),
    "no": ("og", "i", "det", "er", "en", "til", "på", "som"),
    "pl": ("w", "i", "na", "się", "z", "do", "nie", "jest"),
    "pt": ("de", "a", "que", "e", "o", "do", "da", "em"),
    "ro": ("de", "și", "în", "a", "la", "cu", "care", "pe"),
    "ru": ("и", "в", "не", "на", "что", "с", "по", "как"),
    "sv": ("och", "i", "att", "det", "som", "en", "på", "är"),
    "th": ("ที่", "และ", "ใน", "ของ", "เป็น", "การ", "มี", "ได้"),
    "tr": ("ve", "bir", "bu", "da", "de", "için", "ile", "olarak"),
    "uk": ("і", "в", "не", "на", "що", "з", "до", "як"),
    "vi": ("và", "của", "là", "có", "trong", "cho", "các", "được"),
    "zh": ("的", "在", "是", "和", "了", "有", "为", "不"),
}
FEWEST_STOP_WORDS = min(map(len, STOP_WORDS.values()))
SHORT_WORDS = frozenset({"zh", "ja", "ko", "th"})
"""Languages whose words average one or two letters, for which Gopher's minimum average of 3 makes no sense."""
LINE_ENDS: Mapping[str, tuple[str, ...]] = {
    "zh": ("。", "！", "？", "”", "」"),
    "ja": ("。", "！", "？", "」", "』"),
    "hi": ("।", "?", "!", '"', "'"),
    "ar": (".", "؟", "!", '"', "»"),
    "fa": (".", "؟", "!", '"', "»"),
    "el": (".", ";", "!", '"', "»"),
}
"""Marks that end a sentence in addition to the English ones."""
_LABELS = {"nb": "no", "nn": "no", "eng": "en", "deu": "de", "fra": "fr", "spa": "es", "ita": "it", "por": "pt",
           "nld": "nl", "rus": "ru", "ukr": "uk", "pol": "pl", "ces": "cs", "tur": "tr", "vie": "vi", "arb": "ar",
           "hin": "hi", "ell": "el", "ron": "ro", "swe": "sv", "dan": "da", "fin": "fi", "hun": "hu", "ind": "id",
           "bul": "bg", "cat": "ca", "fas": "fa", "nob": "no", "nno": "no", "cmn": "zh", "jpn": "ja", "kor": "ko",
           "tha": "th"}  # fmt: skip


def short_label(language: str) -> str:
    """The label used in the tables here: `zh` for `zh-CN`, `de` for `deu`."""
    label = language.replace("_", "-").partition("-")[0].lower()
    return _LABELS.get(label, label)


class LanguageDependentOptions(Options):
    """Base class for the options of steps that depend on the language."""

    language: str | None = None
    """The language of the texts; None: the one found by an earlier `language` step, else English."""
    by_language: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options for one language only, such as `{de: {max_avg_word_length: 12}}`."""

    _of: dict[str, Self] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _options_by_language(self) -> Self:
        given = self.model_dump(exclude_unset=True, exclude={"by_language"})
        for language, options in self.by_language.items():
            try:
                self._of[language] = type(self).model_validate({**given, **options, "language": language})
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(map(str, first["loc"]))
                raise ValueError(f"by_language.{language}.{key}: {first['msg']}, not {first['input']!r}") from None
        return self

    def language_of(self, document: Document) -> str:
        """The language in which to judge a document."""
        return self.language or document.language or DEFAULT_LANGUAGE

    def of(self, language: str) -> Self:
        """The options for a language, with `language` set to it."""
        found = self._of.get(language)
        if found is None:
            found = self._of.get(short_label(language))
            if found is None:
                found = self.model_copy(update={"language": language})
            self._of[language] = found
        return found

    def languages(self) -> frozenset[str]:
        """The languages that the spec names for this step."""
        return frozenset(self.by_language) | (frozenset() if self.language is None else {self.language})
