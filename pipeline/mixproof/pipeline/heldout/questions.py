"""The second search for evaluation texts: questions of which some words were changed.

A question has few words, so one changed word breaks most of its long n-grams: 13 of the 33 of a question of 45 words.
Short n-grams find it, but they also find phrases that are common in questions ('which of the following is an'). So a
document counts only if it contains the declared share of a question's n-grams, and at least LEAST of them; what a
short document shares with a question does not count the other way round; and n-grams of more than MOST_TEXTS
evaluation texts say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .frequent import Frequencies, no_frequencies, without_frequent
from .overlap import Match, OverlapIndex, build_index, find_all_overlaps

LEAST = 2
"""Fewest n-grams that must be shared, unless the text has fewer."""
MOST_TEXTS = 10


def build_questions(texts: Sequence[str], ngram: int) -> OverlapIndex:
    """Index evaluation texts by short n-grams, without those that many of them have."""
    index = build_index(texts, ngram, 0)
    texts_with = np.diff(index.grams.offsets)[index.grams.lists]
    found = Frequencies(np.asarray(texts_with, np.int64), no_frequencies(index).texts)
    return without_frequent(index, found, MOST_TEXTS)


def find_questions(index: OverlapIndex, documents: Sequence[str], overlap: Fraction) -> dict[int, list[Match]]:
    """Find the documents that contain evaluation texts, each with all its matches, the best first."""
    found = {
        document: [match for match in matches if _counts(match, overlap)]
        for document, matches in find_all_overlaps(index, documents, overlap).items()
    }
    return {document: matches for document, matches in found.items() if matches}


def _counts(match: Match, overlap: Fraction) -> bool:
    return match.shared >= min(LEAST, match.text_grams) and match.shared >= overlap * match.text_grams
