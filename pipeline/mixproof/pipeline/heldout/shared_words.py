"""Where a document and a protected text share words: for lists and reports that people read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixproof.pipeline.words.letters import letters_of
from mixproof.pipeline.words.ngrams import one_row, ranges, window_hashes
from mixproof.pipeline.words.words import word_hashes

BEFORE_CHARS = 120
EXCERPT_CHARS = 1200


@dataclass(frozen=True)
class Excerpt:
    """The part of a document around the longest run of words that a text has as well."""

    text: str
    longest_run: str
    """The run."""
    run_words: int


def word_spans(text: str) -> NDArray[np.int64]:
    """First and end position of every word of a text: int64 [words, 2]."""
    if not text:
        return np.zeros((0, 2), np.int64)
    letters, starts_word = letters_of(text)
    is_letter = letters != 0
    starts = np.flatnonzero(starts_word)
    following = np.append(is_letter[1:] & ~starts_word[1:], False)
    ends = np.flatnonzero(is_letter & ~following) + 1
    return np.stack([starts, ends], axis=1)


class DocumentWords:
    """The words of a document, for looking up those of many texts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = word_hashes([text]).values
        self.spans = word_spans(text)
        self._sorted: dict[int, tuple[NDArray[np.uint64], NDArray[np.int64]]] = {}

    def shared(self, others: NDArray[np.uint64], width: int) -> NDArray[np.bool_]:
        """Which words are in a window of `width` words that others have as well: bool [words].

        A row of fewer words, on either side, counts as one window.
        """
        width = max(1, min(width, len(self.words), len(others)))
        if width not in self._sorted:
            windows = window_hashes(one_row(self.words), width).values
            order = np.argsort(windows, kind="stable")
            self._sorted[width] = windows[order], order
        windows, order = self._sorted[width]
        wanted = np.unique(window_hashes(one_row(others), width).values)
        first = np.searchsorted(windows, wanted, side="left")
        starts = order[ranges(first, np.searchsorted(windows, wanted, side="right") - first)]
        covered = np.zeros(len(self.words) + 1, np.int64)
        np.add.at(covered, starts, 1)
        np.add.at(covered, starts + width, -1)
        inside: NDArray[np.bool_] = np.cumsum(covered)[:-1] > 0
        return inside

    def runs(self, others: NDArray[np.uint64], width: int) -> list[tuple[int, int]]:
        """First and end word of each run of shared words."""
        inside = np.concatenate([[False], self.shared(others, width), [False]])
        edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
        return [(int(first), int(end)) for first, end in edges]

    def excerpt(self, others: NDArray[np.uint64], width: int) -> Excerpt:
        """The excerpt around the longest run that a text, given by the hashes of its words, has as well."""
        runs = self.runs(others, width)
        if not runs:
            return Excerpt(self.text[:EXCERPT_CHARS], "", 0)
        first, end = max(runs, key=lambda run: (run[1] - run[0], -run[0]))
        start, stop = int(self.spans[first, 0]), int(self.spans[end - 1, 1])
        begin = max(0, start - BEFORE_CHARS)
        return Excerpt(self.text[begin : begin + EXCERPT_CHARS], self.text[start:stop][:EXCERPT_CHARS], end - first)


def marked(text: str, others: str, width: int) -> list[tuple[str, bool]]:
    """Cut a text into pieces, each with whether another text shares its words.

    Words that follow each other and are shared are one piece, with what is between them.
    """
    document = DocumentWords(text)
    pieces: list[tuple[str, bool]] = []
    at = 0
    for first, end in document.runs(word_hashes([others]).values, width):
        start, stop = int(document.spans[first, 0]), int(document.spans[end - 1, 1])
        pieces += [(text[at:start], False), (text[start:stop], True)]
        at = stop
    return [(piece, is_shared) for piece, is_shared in (*pieces, (text[at:], False)) if piece]
