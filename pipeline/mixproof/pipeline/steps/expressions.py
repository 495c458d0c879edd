"""spaCy's regular expressions, tried only where they can match.

Its tokenizer looks for suffixes and infixes at every character of a chunk, with expressions of a hundred branches and
thousands of ranges: 10 to 20 us a chunk. What a match can begin or end with, and what it must hold, stands in the
expression itself. It is read from there, so nothing is taken for granted about a language; where an expression is
not of a form that is understood here, it stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]  # know what an expression is made of
from typing import Any

MAX_SUFFIX = 20
Search = Callable[[str], re.Match[str] | None]
Find = Callable[[str], Iterable[re.Match[str]]]
_ASIDE = (_constants.AT, _constants.ASSERT, _constants.ASSERT_NOT)
"""Parts of an expression that take no character."""
_ONE = (_constants.LITERAL, _constants.NOT_LITERAL, _constants.IN, _constants.ANY)
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)


def at_the_start(search: Search) -> Search:
    """Look for prefixes only where the first character can begin one, if all begin at the start."""
    pattern = _pattern_of(search)
    first = None if pattern is None else _outermost(pattern, last=False)
    if pattern is None or first is None or not _anchored(_parser.parse(pattern.pattern, pattern.flags)):
        return search
    match = pattern.match
    return lambda string: None if first(string) is None else match(string)


def near_the_end(search: Search) -> Search:
    """Look for suffixes only where one can begin, and only where the last character can end one.

    All branches of spaCy's expression end at the end, and are of bounded length but for a run of dots.
    """
    pattern = _pattern_of(search)
    if pattern is None:
        return search
    longest = int(_parser.parse(pattern.pattern.replace(r"\.\.+", r"\.\.")).getwidth()[1])
    last = _outermost(pattern, last=True)
    if longest > MAX_SUFFIX or last is None:
        return search

    def near(string: str) -> re.Match[str] | None:
        if last(string, len(string) - 1) is None:
            return None
        start = len(string) - longest
        if start <= 0 or string.endswith("..."):
            return search(string)
        return pattern.search(string, start)

    return near


def where_one_begins(find: Find) -> Find:
    """Look for infixes only at characters with which one begins."""
    pattern = _pattern_of(find)
    begins = None if pattern is None else _outermost(pattern, last=False)
    if pattern is None or begins is None:
        return find
    match, candidates = pattern.match, begins.__self__.finditer

    def found(string: str) -> Iterator[re.Match[str]]:
        end = 0
        for candidate in candidates(string):
            place = candidate.start()
            if place >= end and (infix := match(string, place)) is not None:
                end = infix.end()
                yield infix

    return found


def with_a_dot(match: Search) -> Search:
    """Try an address only where there is a dot, if none goes without."""
    pattern = _pattern_of(match)
    if pattern is None or not _holds(_parser.parse(pattern.pattern), ord(".")):
        return match
    return lambda string: match(string) if "." in string else None


def _pattern_of(method: Any) -> re.Pattern[str] | None:  # noqa: ANN401 - a bound method or any function
    pattern = getattr(method, "__self__", None)
    return pattern if isinstance(pattern, re.Pattern) and pattern.pattern else None


def _anchored(parsed: Any) -> bool:  # noqa: ANN401 - a parsed expression
    """Whether every match begins at the start."""
    if not parsed:
        return False
    kind, value = parsed[0]
    if kind is _constants.BRANCH:
        return all(map(_anchored, value[1]))
    return kind is _constants.AT and value is _constants.AT_BEGINNING


def _outermost(pattern: re.Pattern[str], *, last: bool) -> Any:  # noqa: ANN401 - a bound method of a pattern
    """Give the `match` of a pattern of all first (or last) characters of a match; None where that is not known."""
    parsed = _parser.parse(pattern.pattern, pattern.flags)
    branches = _ends_of(parsed, last)
    if not branches:
        return None
    chars: tuple[Any, Any] = (
        _constants.BRANCH,
        (None, [_parser.SubPattern(parsed.state, [branch]) for branch in branches]),
    )
    if all(kind in (_constants.LITERAL, _constants.IN) for kind, _ in branches):
        sets = [value if kind is _constants.IN else [(kind, value)] for kind, value in branches]
        if all((_constants.NEGATE, None) not in one for one in sets):
            chars = (_constants.IN, list(chain.from_iterable(sets)))  # one set is tried faster than many
    return _compiler.compile(_parser.SubPattern(parsed.state, [chars]), pattern.flags).match


def _ends_of(parsed: Any, last: bool) -> list[Any] | None:  # noqa: ANN401 - a parsed expression
    """Give what a first (or last) character may be, each a part of one character."""
    parts = [part for part in parsed if part[0] not in _ASIDE]
    if not parts:
        return None
    kind, value = parts[-1 if last else 0]
    if kind in _ONE:
        return [(kind, value)]
    if kind in _REPEATS and value[0] > 0:
        return _ends_of(value[2], last)
    if kind is _constants.SUBPATTERN:
        return _ends_of(value[3], last)
    if kind is _constants.BRANCH:
        found = [_ends_of(branch, last) for branch in value[1]]
        return None if None in found else [one for branch in found for one in branch or ()]
    return None


def _holds(parsed: Any, char: int) -> bool:  # noqa: ANN401 - as above
    """Whether every match of a parsed expression holds a character."""
    for kind, value in parsed:
        if kind is _constants.LITERAL and value == char:
            return True
        if kind is _constants.BRANCH and all(_holds(branch, char) for branch in value[1]):
            return True
        if kind is _constants.SUBPATTERN and _holds(value[3], char):
            return True
        if kind in _REPEATS and value[0] > 0 and _holds(value[2], char):
            return True
    return False
