"""spaCy's regular expressions, tried only where they can match.

Its tokenizer searches for suffixes and infixes at every character of a chunk, with expressions of a hundred branches
and thousands of ranges: 10 to 20 us per chunk. The characters with which a match can begin or end, and those it must
contain, are derived from the parsed expression, so nothing is assumed about a language. An expression whose form is not
understood here is used unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]  # parse and compile regular expressions
from typing import Any

MAX_SUFFIX = 20
Search = Callable[[str], re.Match[str] | None]
Find = Callable[[str], Iterable[re.Match[str]]]
_ASIDE = (_constants.AT, _constants.ASSERT, _constants.ASSERT_NOT)
"""Parts of an expression that consume no character."""
_ONE = (_constants.LITERAL, _constants.NOT_LITERAL, _constants.IN, _constants.ANY)
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)


def at_the_start(search: Search) -> Search:
    """Search only the prefixes that can begin with the first character, if all prefixes are anchored at the start."""
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
    """Search suffixes only near the end, and only those that can end with the last character.

    All branches of spaCy's expression are anchored at the end and of bounded length, except for a run of dots.
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
    """Search infixes only at characters with which one can begin, which are tried first as one set."""
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
    """The branches of an expression that can begin (or end) with a character, in order; None if none can.

    False if the expression does not consist of branches, or their first (or last) characters are unknown.
    """

    def __init__(self, pattern: re.Pattern[str], *, last: bool) -> None:
        super().__init__()
        self._parsed = _parser.parse(pattern.pattern, pattern.flags)
        self._flags = pattern.flags
        indices = [index for index, (kind, _) in enumerate(self._parsed) if kind is _constants.BRANCH]
        self._index = indices[0] if len(indices) == 1 and _only_asides(self._parsed, indices[0]) else None
        self._branches: list[tuple[Any, Any]] = []
        self._made: dict[tuple[int, ...], re.Pattern[str] | None] = {(): None}
        if self._index is not None:
            branches = self._parsed[self._index][1][1]
            self._branches = [(branch, self._compiled(_outermost(branch, last=last))) for branch in branches]

    def __bool__(self) -> bool:
        return bool(self._branches) and all(outer is not None for _, outer in self._branches)

    def __missing__(self, char: str) -> re.Pattern[str] | None:
        among = tuple(index for index, (_, outer) in enumerate(self._branches) if outer.match(char) is not None)
        if among not in self._made:
            parts = list(self._parsed)
            parts[self._index or 0] = (_constants.BRANCH, (None, [self._branches[index][0] for index in among]))
            self._made[among] = _compiler.compile(_parser.SubPattern(self._parsed.state, parts), self._flags)
        self[char] = self._made[among]
        return self._made[among]

    def _compiled(self, outer: Any) -> re.Pattern[str] | None:  # noqa: ANN401 - a part of an expression
        if outer is None:
            return None
        pattern: re.Pattern[str] = _compiler.compile(_parser.SubPattern(self._parsed.state, [outer]), self._flags)
        return pattern


def _only_asides(parsed: Any, branches: int) -> bool:  # noqa: ANN401 - a parsed expression
    """Whether all parts except that of the branches consume no character."""
    return all(kind in _ASIDE for index, (kind, _) in enumerate(parsed) if index != branches)


def with_a_dot(match: Search) -> Search:
    """Match addresses only in strings with a dot, if every address has one."""
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
    """All first (or last) characters of a match as a part of one character; None if they are unknown."""
    branches = _ends_of(parsed, last)
    if not branches:
        return None
    if all(kind in (_constants.LITERAL, _constants.IN) for kind, _ in branches):
        sets = [value if kind is _constants.IN else [(kind, value)] for kind, value in branches]
        if all((_constants.NEGATE, None) not in one for one in sets):
            return (_constants.IN, list(chain.from_iterable(sets)))  # one set is faster than many
    return (_constants.BRANCH, (None, [_parser.SubPattern(parsed.state, [branch]) for branch in branches]))


def _ends_of(parsed: Any, last: bool) -> list[Any] | None:  # noqa: ANN401 - a parsed expression
    """The possible first (or last) characters, each as a part of one character."""
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
    """Whether every match of a parsed expression contains a character."""
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
