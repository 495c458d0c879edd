"""Long lists for people: of thousands of sources the largest are shown, with one line for all others.

A terminal shows some 50 lines, and `--json` has everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .output import count

MOST_ROWS = 40
"""Sources in a table."""
MOST_SENTENCES = 10
"""Sentences of one kind."""


def largest(sizes: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """The names to show, in the order of `sizes`, and the others, if there are more than MOST_ROWS and one."""
    names = list(sizes)
    if len(names) <= MOST_ROWS + 1:
        return names, []
    shown = set(sorted(names, key=lambda name: -sizes[name])[:MOST_ROWS])
    return [name for name in names if name in shown], [name for name in names if name not in shown]


def others_name(others: list[str]) -> str:
    """The name of the line for the sources that are not shown."""
    return f"{count(len(others))} smaller ones"


def first_sentences(sentences: Iterable[str]) -> Iterator[str]:
    """The first sentences, and how many more there are."""
    more = 0
    for index, sentence in enumerate(sentences):
        if index < MOST_SENTENCES:
            yield sentence
        else:
            more += 1
    if more:
        yield f"the same holds for {count(more)} more"
