"""`c4_quality`: C4's rules for lines and pages (arXiv 1910.10683), as datatrove's C4QualityFilter.

It edits documents: lines that fail a rule and citations are removed. Sentences are counted as spaCy's sentencizer
counts them, from words that are already known, and only until there are enough.

Differences from datatrove: in Chinese, Japanese, Hindi, Arabic, Persian and Greek the sentence marks of the language
also end a line, unless the spec sets `end_punctuation`; a document in a language without a word tokenizer is dropped as
`no_words_<language>`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.languages import LINE_ENDS, LanguageDependentOptions, short_label
from mixproof.pipeline.steps.segmentation.splitter import Splitter, Words
from mixproof.pipeline.steps.segmentation.words import splitter_of
from mixproof.pipeline.steps.step import Apply, Drop, Strings

VERSION = 3
Bound = Annotated[int, Field(ge=-1)]
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_LINE_ENDS = (".", "?", "!", '"', "'")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def _not_zero(length: int) -> int:
    if not length:
        raise ValueError("every line has a longer word, so every document would be dropped; -1 disables the bound")
    return length


class C4QualityOptions(LanguageDependentOptions):
    """The options of datatrove's C4QualityFilter; -1 disables a bound."""

    split_paragraph: bool = True
    """False: the rules apply to sentences instead of lines."""
    remove_citations: bool = True
    filter_no_terminal_punct: bool = True
    min_num_sentences: Bound = 5
    min_words_per_line: Bound = 3
    max_word_length: Annotated[Bound, AfterValidator(_not_zero)] = 1000
    """Characters between white space."""
    filter_lorem_ipsum: bool = True
    filter_javascript: bool = True
    filter_curly_bracket: bool = True
    filter_policy: bool = True
    end_punctuation: Strings | None = None
    """What a line must end with; None: datatrove's marks and those of the language."""


def make_c4_quality(options: C4QualityOptions) -> Apply:
    """Edit a document, or drop it with datatrove's reasons: `lorem_ipsum`, `curly_bracket`, `too_few_sentences`."""
    settled = functools.cache(functools.partial(_settle, options))

    def apply(document: Document) -> str | Drop:
        language = options.language_of(document)
        chosen, ends, splitter = settled(language)
        lines = document.text.splitlines() if chosen.split_paragraph else splitter.split_sentences(document.text)
        kept = _keep(lines, chosen, ends, phrases=_phrases(document.text, chosen))
        if isinstance(kept, Drop):
            return kept
        if _count(kept, lines, document.known_words(language), splitter, chosen) < chosen.min_num_sentences:
            return Drop("too_few_sentences")
        return ("\n" if chosen.split_paragraph else " ").join([line for line, _ in kept]).strip()

    return apply


def _settle(options: C4QualityOptions, language: str) -> tuple[C4QualityOptions, tuple[str, ...], Splitter]:
    """The settings for a language: options, marks that end its lines, its splitter."""
    chosen = options.of(language)
    ends = chosen.end_punctuation
    if ends is None:
        ends = _LINE_ENDS + LINE_ENDS.get(short_label(language), ())
    return chosen, ends, splitter_of(language)


def _keep(
    lines: Sequence[str], options: C4QualityOptions, ends: tuple[str, ...], *, phrases: bool
) -> list[tuple[str, int]] | Drop:
    """The lines to keep, edited, each with its index in `lines`; `phrases`: whether any may hold a phrase."""
    kept: list[tuple[str, int]] = []
    least, longest = max(0, options.min_words_per_line), options.max_word_length
    for index, whole in enumerate(lines):
        line = stripped = whole.strip()
        any_phrase = phrases
        if options.remove_citations and "[" in line:
            line = _CITATION.sub("", line)
            any_phrase = True  # the text around a citation may join to a phrase
        if options.filter_no_terminal_punct and (not line.endswith(ends) or line.endswith("...")):
            continue
        if len(stripped.split(None, least)) < least or _has_long_word(stripped, longest):
            continue
        judged = _judge(line, line.lower() if any_phrase else "", options)
        if isinstance(judged, Drop):
            return judged
        if judged:
            kept.append((line, index))
    return kept


def _count(
    kept: Sequence[tuple[str, int]],
    lines: Sequence[str],
    words: Words | None,
    splitter: Splitter,
    options: C4QualityOptions,
) -> int:
    """Count the sentences of the kept lines until there are enough; a line has at least one."""
    count, enough = len(kept), options.min_num_sentences
    if not options.split_paragraph:
        return count
    if count < enough and words is not None and _is_whole(kept, lines):
        fewest = splitter.fewest_sentences(words)
        if fewest >= enough:
            return fewest
    chunks = passed = 0
    for line, index in kept:
        if count >= enough:
            break
        chunks += sum(len(other.split()) for other in lines[passed:index])
        passed = index
        if words is None or line != lines[index].strip():
            sentences = splitter.sentences(line)
        else:
            sentences = splitter.sentences(line, words, first=chunks)
        count += sentences - 1
    return count


def _is_whole(kept: Sequence[tuple[str, int]], lines: Sequence[str]) -> bool:
    """Whether every line is kept unchanged."""
    unchanged = all(line == lines[index].strip() for line, index in kept)
    return unchanged and len(kept) == sum(bool(line) and not line.isspace() for line in lines)


def _judge(line: str, lowered: str, options: C4QualityOptions) -> Drop | bool:
    """Whether a line is kept, or the drop of the page; `lowered` is empty if the line holds no phrase."""
    if options.filter_lorem_ipsum and "lorem ipsum" in lowered:
        return Drop("lorem_ipsum")
    if options.filter_javascript and "javascript" in lowered:
        return False
    if options.filter_curly_bracket and "{" in line:
        return Drop("curly_bracket")
    return not (options.filter_policy and any(phrase in lowered for phrase in _POLICY))


def _phrases(text: str, options: C4QualityOptions) -> bool:
    """Whether any line may hold one of the phrases."""
    if "\u212a" in text or "\u0130" in text:
        return True  # the only letters outside ASCII with lower case in ASCII
    lowered = text.encode().lower()  # lowers ASCII only, and many times as fast as `str.lower`
    return (
        (options.filter_javascript and b"javascript" in lowered)
        or (options.filter_lorem_ipsum and b"ipsum" in lowered)
        or (options.filter_policy and any(word in lowered for word in (b"cookie", b"terms of use", b"privacy policy")))
    )


def _has_long_word(line: str, most: int) -> bool:
    """Whether a word has more than `most` characters; jumps from space to space, `most` characters at a time."""
    if most == -1:
        return False
    start = 0
    while len(line) - start > most:
        space = line.rfind(" ", start, start + most + 1)
        if space < 0:
            return max(map(len, line[start:].split())) > most
        start = space + 1
    return False
