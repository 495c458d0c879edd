"""`c4_quality`: C4's rules for lines and pages (arXiv 1910.10683), as datatrove's C4QualityFilter.

It edits: lines that fail are taken out, and citations. Sentences are counted as spaCy's sentencizer counts them, from
the words that are known already, and only until there are enough.

Differs from datatrove: in Chinese, Japanese, Hindi, Arabic, Persian and Greek the marks that end a sentence there end
a line as well, unless the spec gives `end_punctuation`; a document in a language that nothing splits into words goes
as `no_words_<language>`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .document import Document
from .languages import LINE_ENDS, SpokenOptions, short_label
from .step import Apply, Drop, Strings
from .words import Splitter, splitter_of

VERSION = 1
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_LINE_ENDS = (".", "?", "!", '"', "'")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class C4QualityOptions(SpokenOptions):
    """As datatrove's C4QualityFilter; -1 switches a bound off."""

    split_paragraph: bool = True
    """False: the rules go by sentences instead of lines."""
    remove_citations: bool = True
    filter_no_terminal_punct: bool = True
    min_num_sentences: int = 5
    min_words_per_line: int = 3
    max_word_length: int = 1000
    """Characters between white space."""
    filter_lorem_ipsum: bool = True
    filter_javascript: bool = True
    filter_curly_bracket: bool = True
    filter_policy: bool = True
    end_punctuation: Strings | None = None
    """What a line must end with; None: datatrove's, with those of the language."""


def make_c4_quality(options: C4QualityOptions) -> Apply:
    """Edit, or drop by datatrove's reasons: `lorem_ipsum`, `curly_bracket`, `too_few_sentences`."""

    def apply(document: Document) -> str | Drop:
        language = options.language_of(document)
        splitter = splitter_of(language)
        chosen = options.of(language)
        ends = chosen.end_punctuation
        if ends is None:
            ends = _LINE_ENDS + LINE_ENDS.get(short_label(language), ())
        lines = document.text.splitlines() if chosen.split_paragraph else splitter.split_sentences(document.text)
        return _edit(document.text, lines, chosen, ends, splitter)

    return apply


def _edit(
    text: str, lines: Sequence[str], options: C4QualityOptions, ends: tuple[str, ...], splitter: Splitter
) -> str | Drop:
    kept: list[str] = []
    sentences, enough = 0, options.min_num_sentences
    in_text = _phrases(text, options)
    for whole in lines:
        line = whole.strip()
        words = line.split()
        if options.max_word_length != -1 and _has_long_word(line, words, options.max_word_length):
            continue
        phrases = in_text
        if options.remove_citations and "[" in line:
            line = _CITATION.sub("", line)
            phrases = True  # what stood before and after a citation may make one
        if options.filter_no_terminal_punct and (not line.endswith(ends) or line.endswith("...")):
            continue
        if len(words) < options.min_words_per_line:
            continue
        judged = _judge(line, line.lower() if phrases else "", options)
        if isinstance(judged, Drop):
            return judged
        if not judged:
            continue
        if sentences < enough and enough != -1:
            sentences += splitter.sentences(line) if options.split_paragraph else 1
        kept.append(line)
    if sentences < enough:
        return Drop("too_few_sentences")
    return ("\n" if options.split_paragraph else " ").join(kept).strip()


def _judge(line: str, lowered: str, options: C4QualityOptions) -> Drop | bool:
    """Say whether a line stays, or that the page goes; `lowered` is empty where no phrase is in it."""
    if options.filter_lorem_ipsum and "lorem ipsum" in lowered:
        return Drop("lorem_ipsum")
    if options.filter_javascript and "javascript" in lowered:
        return False
    if options.filter_curly_bracket and "{" in line:
        return Drop("curly_bracket")
    return not (options.filter_policy and any(phrase in lowered for phrase in _POLICY))


def _phrases(text: str, options: C4QualityOptions) -> bool:
    """Whether any line may hold a phrase that counts."""
    lowered = text.lower()
    return (
        (options.filter_javascript and "javascript" in lowered)
        or (options.filter_lorem_ipsum and "lorem ipsum" in lowered)
        or (options.filter_policy and any(phrase in lowered for phrase in ("cookie", "terms of use", "privacy policy")))
    )


def _has_long_word(line: str, words: Sequence[str], most: int) -> bool:
    return len(line) > most and max(map(len, words), default=0) > most
