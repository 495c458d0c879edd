"""The second search for evaluation texts: questions of which some words were changed.

A question has few words, so one changed word breaks most of its long n-grams: 13 of the 33 of a question of 45 words.
Short n-grams find it, but they also find phrases that are common in questions ('which of the following is an'). So a
document counts only if it contains the declared share of a question's n-grams, and at least LEAST of them; what a
short document shares with a question does not count the other way round; and n-grams of more than MOST_TEXTS
evaluation texts say nothing. The shortest questions are also aligned word by word (`edited_questions.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mixproof.pipeline.words.ngrams import Ragged
from mixproof.pipeline.words.postings import Postings
from mixproof.pipeline.words.words import word_hashes

from .edited_questions import find_edited, index_edited
from .frequent import Frequencies, no_frequencies, without_frequent
from .overlap import Match, OverlapIndex, build_index, find_overlaps_of

LEAST = 2
"""Fewest n-grams that must be shared, unless the text has fewer."""
MOST_TEXTS = 10


@dataclass(frozen=True)
class QuestionIndex:
    """Evaluation texts, indexed for the second search."""

    overlap: OverlapIndex
    """By short n-grams."""
    triples: Postings
    """The 3-grams of the shortest ones, by where they begin in the words of `overlap`."""


def build_questions(texts: Sequence[str], ngram: int) -> QuestionIndex:
    """Index evaluation texts by short n-grams, without those that many of them have."""
    index = build_index(texts, ngram, 0)
    texts_with = np.diff(index.grams.offsets)[index.grams.lists]
    found = Frequencies(np.asarray(texts_with, np.int64), no_frequencies(index).texts)
    return QuestionIndex(without_frequent(index, found, MOST_TEXTS), index_edited(index, MOST_TEXTS))


def find_questions(index: QuestionIndex, documents: Sequence[str], overlap: Fraction) -> dict[int, list[Match]]:
    """Find the documents that contain evaluation texts, each with all its matches, the best first."""
    return find_questions_of(index, word_hashes(documents), overlap)


def find_questions_of(index: QuestionIndex, words: Ragged, overlap: Fraction) -> dict[int, list[Match]]:
    """As `find_questions`, for the words of the documents. Matches by n-grams come before those by words."""
    found = {
        document: [match for match in matches if _counts(match, overlap)]
        for document, matches in find_overlaps_of(index.overlap, words, overlap).items()
    }
    for document, match in find_edited(index.overlap, index.triples, words):
        known = found.setdefault(document, [])
        if match.text not in {each.text for each in known}:
            known.append(match)
    return {document: matches for document, matches in found.items() if matches}


def _counts(match: Match, overlap: Fraction) -> bool:
    return match.shared >= min(LEAST, match.text_grams) and match.shared >= overlap * match.text_grams
