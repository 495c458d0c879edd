"""`c4_quality`: C4's rules for lines and pages (arXiv 1910.10683), as datatrove's C4QualityFilter.

It edits: lines that fail are taken out, and citations. Sentences are counted as spaCy's sentencizer counts them, from
the words that are known already, and only until there are enough.

Differs from datatrove: in Chinese, Japanese, Hindi, Arabic, Persian and Greek the marks that end a sentence there end
a line as well, unless the spec gives `end_punctuation`; a document in a language that nothing splits into words goes
as `no_words_<language>`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.languages import LINE_ENDS, SpokenOptions, short_label
from mixproof.pipeline.steps.segmentation.splitter import Splitter, Words
from mixproof.pipeline.steps.segmentation.words import splitter_of
from mixproof.pipeline.steps.step import Apply, Drop, Strings

VERSION = 2
Bound = Annotated[int, Field(ge=-1)]
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_LINE_ENDS = (".", "?", "!", '"', "'")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def _not_zero(length: int) -> int:
    if not length:
        raise ValueError("every line has a longer word, so every document would go; -1 switches the bound off")
    return length


class C4QualityOptions(SpokenOptions):
    """As datatrove's C4QualityFilter; -1 switches a bound off."""

    split_paragraph: bool = True
    """False: the rules go by sentences instead of lines."""
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
    """What a line must end with; None: datatrove's, with those of the language."""


def make_c4_quality(options: C4QualityOptions) -> Apply:
    """Edit, or drop by datatrove's reasons: `lorem_ipsum`, `curly_bracket`, `too_few_sentences`."""
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
    """Give what holds for a language: its options, how its lines end, how its sentences are found."""
    chosen = options.of(language)
    ends = chosen.end_punctuation
    if ends is None:
        ends = _LINE_ENDS + LINE_ENDS.get(short_label(language), ())
    return chosen, ends, splitter_of(language)


def _keep(
    lines: Sequence[str], options: C4QualityOptions, ends: tuple[str, ...], *, phrases: bool
) -> list[tuple[str, int]] | Drop:
    """Give the lines that stay, edited, and the place in `lines` of each; `phrases`: whether any may hold one."""
    kept: list[tuple[str, int]] = []
    least, longest = max(0, options.min_words_per_line), options.max_word_length
    for place, whole in enumerate(lines):
        line = stripped = whole.strip()
        any_phrase = phrases
        if options.remove_citations and "[" in line:
            line = _CITATION.sub("", line)
            any_phrase = True  # what stood before and after a citation may make one
        if options.filter_no_terminal_punct and (not line.endswith(ends) or line.endswith("...")):
            continue
        if len(stripped.split(None, least)) < least or _has_long_word(stripped, longest):
            continue
        judged = _judge(line, line.lower() if any_phrase else "", options)
        if isinstance(judged, Drop):
            return judged
        if judged:
            kept.append((line, place))
    return kept


def _count(
    kept: Sequence[tuple[str, int]],
    lines: Sequence[str],
    words: Words | None,
    splitter: Splitter,
    options: C4QualityOptions,
) -> int:
    """Count the sentences of the lines that stay, as far as there must be any: a line has one at least."""
    count, enough = len(kept), options.min_num_sentences
    if not options.split_paragraph:
        return count
    if count < enough and words is not None and _is_whole(kept, lines):
        fewest = splitter.fewest_sentences(words)
        if fewest >= enough:
            return fewest
    for line, place in kept:
        if count >= enough:
            break
        if words is None or line != lines[place].strip():
            sentences = splitter.sentences(line)
        else:
            sentences = splitter.sentences(line, words, first=sum(len(other.split()) for other in lines[:place]))
        count += sentences - 1
    return count


def _is_whole(kept: Sequence[tuple[str, int]], lines: Sequence[str]) -> bool:
    """Whether every line stays as it was."""
    unchanged = all(line == lines[place].strip() for line, place in kept)
    return unchanged and len(kept) == sum(bool(line) and not line.isspace() for line in lines)


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
    if "\u212a" in text or "\u0130" in text:
        return True  # the only letters outside ASCII whose small ones are inside
    lowered = text.encode().lower()  # of ASCII only, and many times as fast as that of all letters
    return (
        (options.filter_javascript and b"javascript" in lowered)
        or (options.filter_lorem_ipsum and b"ipsum" in lowered)
        or (options.filter_policy and any(word in lowered for word in (b"cookie", b"terms of use", b"privacy policy")))
    )


def _has_long_word(line: str, most: int) -> bool:
    """Whether there is a word of more characters: none spans two of the spaces that are hopped to."""
    if most == -1:
        return False
    start = 0
    while len(line) - start > most:
        space = line.rfind(" ", start, start + most + 1)
        if space < 0:
            return max(map(len, line[start:].split())) > most
        start = space + 1
    return False
