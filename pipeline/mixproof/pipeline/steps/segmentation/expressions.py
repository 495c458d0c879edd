"""spaCy's regular expressions, tried only where they can match.

Its tokenizer looks for suffixes and infixes at every character of a chunk, with expressions of a hundred branches and
thousands of ranges: 10 to 20 us a chunk. What a match can begin or end with, and what it must hold, stands in the
expression itself. It is read from there, so nothing is taken for granted about a language; where an expression is
not of a form that is understood here, it stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
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
    """Look for prefixes only among those that can begin with the first character, if all begin at the start."""
    pattern = _pattern_of(search)
    if pattern is None or not _anchored(_parser.parse(pattern.pattern, pattern.flags)):
        return search
    prefixes = _Branches(pattern, last=False)
    if not prefixes:
        return search

    def first(string: str) -> re.Match[str] | None:
        among = prefixes[string[:1]]
        return None if among is None else among.match(string)

    return first


def near_the_end(search: Search) -> Search:
    """Look for suffixes only where one can begin, and only among those that can end with the last character.

    All branches of spaCy's expression end at the end, and are of bounded length but for a run of dots.
    """
    pattern = _pattern_of(search)
    if pattern is None:
        return search
    longest = int(_parser.parse(pattern.pattern.replace(r"\.\.+", r"\.\.")).getwidth()[1])
    suffixes = _Branches(pattern, last=True)
    if longest > MAX_SUFFIX or not suffixes:
        return search

    def near(string: str) -> re.Match[str] | None:
        among = suffixes[string[-1:]]
        if among is None:
            return None
        start = len(string) - longest
        return among.search(string) if start <= 0 or string.endswith("...") else among.search(string, start)

    return near


def where_one_begins(find: Find) -> Find:
    """Look for infixes only at characters with which one begins: those are asked for first, as one set."""
    pattern = _pattern_of(find)
    if pattern is None:
        return find
    parsed = _parser.parse(pattern.pattern, pattern.flags)
    begins = _outermost(parsed, last=False)
    if begins is None:
        return find
    ahead = (_constants.ASSERT, (1, _parser.SubPattern(parsed.state, [begins])))
    compiled: re.Pattern[str] = _compiler.compile(_parser.SubPattern(parsed.state, [ahead, *parsed]), pattern.flags)
    return compiled.finditer


class _Branches(dict[str, "re.Pattern[str] | None"]):
    """The branches of an expression that can begin (or end) with a character, in order; None where none can.

    It is false where the expression is not of branches, or not known what they begin with.
    """

    def __init__(self, pattern: re.Pattern[str], *, last: bool) -> None:
        super().__init__()
        self._parsed = _parser.parse(pattern.pattern, pattern.flags)
        self._flags = pattern.flags
        places = [place for place, (kind, _) in enumerate(self._parsed) if kind is _constants.BRANCH]
        self._place = places[0] if len(places) == 1 and _only_asides(self._parsed, places[0]) else None
        self._branches: list[tuple[Any, Any]] = []
        self._made: dict[tuple[int, ...], re.Pattern[str] | None] = {(): None}
        if self._place is not None:
            branches = self._parsed[self._place][1][1]
            self._branches = [(branch, self._compiled(_outermost(branch, last=last))) for branch in branches]

    def __bool__(self) -> bool:
        return bool(self._branches) and all(outer is not None for _, outer in self._branches)

    def __missing__(self, char: str) -> re.Pattern[str] | None:
        among = tuple(place for place, (_, outer) in enumerate(self._branches) if outer.match(char) is not None)
        if among not in self._made:
            parts = list(self._parsed)
            parts[self._place or 0] = (_constants.BRANCH, (None, [self._branches[place][0] for place in among]))
            self._made[among] = _compiler.compile(_parser.SubPattern(self._parsed.state, parts), self._flags)
        self[char] = self._made[among]
        return self._made[among]

    def _compiled(self, outer: Any) -> re.Pattern[str] | None:  # noqa: ANN401 - a part of an expression
        if outer is None:
            return None
        pattern: re.Pattern[str] = _compiler.compile(_parser.SubPattern(self._parsed.state, [outer]), self._flags)
        return pattern


def _only_asides(parsed: Any, branches: int) -> bool:  # noqa: ANN401 - a parsed expression
    """Whether all parts but that of the branches take no character."""
    return all(kind in _ASIDE for place, (kind, _) in enumerate(parsed) if place != branches)


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


def _outermost(parsed: Any, *, last: bool) -> Any:  # noqa: ANN401 - a parsed expression, and a part of one
    """Give all first (or last) characters of a match as a part of one character; None where they are not known."""
    branches = _ends_of(parsed, last)
    if not branches:
        return None
    if all(kind in (_constants.LITERAL, _constants.IN) for kind, _ in branches):
        sets = [value if kind is _constants.IN else [(kind, value)] for kind, value in branches]
        if all((_constants.NEGATE, None) not in one for one in sets):
            return (_constants.IN, list(chain.from_iterable(sets)))  # one set is tried faster than many
    return (_constants.BRANCH, (None, [_parser.SubPattern(parsed.state, [branch]) for branch in branches]))


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
