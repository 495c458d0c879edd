"""Turn mixtures as people write them into exact shares.

Shares are a map (`{english: 70%, code: 30%}`), parts (`{parts: {english: 2, code: 1}}`), a rule
(`{rule: proportional, times: {code: 2}}`) or, in a phase, the name of a mixture. A map of shares may contain
groups: `web: {share: 60%, of: {high: 2, low: 1}}` divides the group's share among its sources by parts, and
`of` may contain groups again, `{parts: 2, of: {...}}`. `search.fixed` has the same forms. Everything reduces to one
fraction per source. Shares must sum to exactly 1; the error says what they sum to. Rules stay rules: their shares need
the sources' tokens, which a build counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any

from .key_positions import KeyPath, Problem, nearest
from .values.quantities import exact_string, parse_number, parse_share, percent_string

RESERVED = frozenset({"default", "parts", "phases", "rule", "shares"})
"""Keys of a mixture or of `max_epochs`, which cannot be names of sources."""
GROUP_EXAMPLE = "{share: 60%, of: {high: 2, low: 1}}"
GROUP_TO_SEARCH = "{of: {high: 2, low: 1}}"


class _MixtureError(Exception):
    """Shares that cannot be read, with the path of the wrong key."""

    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(path, message)


def normalize_mixtures(
    mixtures: Mapping[str, Any], sources: Mapping[str, Any], problems: list[Problem]
) -> dict[str, Any]:
    """Return every mixture with exact shares; errors are added to `problems`.

    Args:
        mixtures: as written in YAML.
        sources: the spec's sources by name; empty when they could not be read.
        problems: receives the errors, with their paths.

    """
    names = _SourceNames(sources)
    blends: dict[str, Any] = {}
    for name, mixture in mixtures.items():
        path: KeyPath = ("mixtures", name)
        try:
            if not (isinstance(mixture, dict) and "phases" in mixture):
                blends[name] = _blend(mixture, path, names)
        except _MixtureError as wrong:
            problems.append(wrong.problem)
    result = dict(blends)
    for name, mixture in mixtures.items():
        if isinstance(mixture, dict) and "phases" in mixture:
            result[name] = _phases(name, mixture, blends, set(mixtures), names, problems)
    return {name: result[name] for name in mixtures if name in result}


def normalize_fixed(fixed: Mapping[str, Any], sources: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Return `search.fixed` with exact parts; arguments as for `normalize_mixtures`.

    `code: 20%` is a group of one source with a share. Parts of a group sum to 1.
    """
    names = _SourceNames(sources)
    result: dict[str, Any] = {}
    entry_of: dict[str, str] = {}
    for name, item in fixed.items():
        try:
            result[name] = _fixed(name, item, names)
        except _MixtureError as wrong:
            problems.append(wrong.problem)
            continue
        for source in result[name]["of"]:
            if source in entry_of:
                message = f"source {source!r} is also in {entry_of[source]!r}; remove one"
                problems.append(Problem(("search", "fixed", name), message))
            entry_of[source] = name
    for name in set(result) & set(names.known):
        if name not in result[name]["of"] and not names.is_split(name):
            message = f"is the name of a source that is not in the group; rename the group {name!r}"
            problems.append(Problem(("search", "fixed", name), message))
    return result


def _fixed(name: str, item: Any, names: _SourceNames) -> dict[str, Any]:  # noqa: ANN401  any YAML value
    path: KeyPath = ("search", "fixed", name)
    if not isinstance(item, dict):
        names.check(name, path)
        try:
            return {"share": parse_share(item), "of": {name: Fraction(1)}}
        except ValueError as error:
            raise _MixtureError(path, f"{error}; or name a group: {GROUP_TO_SEARCH}") from None
    if not (set(item) <= {"share", "of"} and isinstance(item.get("of"), dict)):
        raise _MixtureError(path, f"a group needs members by parts, and may have a share: {GROUP_TO_SEARCH}")
    share = {"share": _share(item["share"], (*path, "share"))} if "share" in item else {}
    return {**share, "of": _parts(names.members(name, item["of"]), Fraction(1), (*path, "of"), names)}


class _SourceNames:
    """Names that shares may use: sources, and `source/value` for sources that are split by a column."""

    def __init__(self, sources: Mapping[str, Any]) -> None:
        self.known: Collection[str] = set(sources)
        self._split = {
            name for name, source in sources.items() if isinstance(source, dict) and source.get("split_by") is not None
        }

    def check(self, name: str, path: KeyPath) -> None:
        if self.known and name not in self.known and name.partition("/")[0] not in self._split:
            raise _MixtureError(path, f"there is no source {name!r}; {nearest(name, self.known)}")

    def is_split(self, name: str) -> bool:
        return name in self._split

    def members(self, group: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Full names of a group's members: in the group of a split source `english`, `high` means `english/high`."""
        if group not in self._split:
            return dict(given)
        return {name if name in self.known or "/" in name else f"{group}/{name}": of for name, of in given.items()}


def _blend(value: Any, path: KeyPath, names: _SourceNames) -> dict[str, Any]:  # noqa: ANN401  any YAML value
    if not isinstance(value, dict):
        raise _MixtureError(
            path, "must be a map: {english: 70%, code: 30%}, {parts: ...}, {rule: ...} or {phases: ...}"
        )
    if "rule" in value:
        for name in value["times"] if isinstance(value.get("times"), dict) else ():
            names.check(name, (*path, "times", name))
        return dict(value)
    if isinstance(value.get("parts"), dict):
        _only(value, "parts", path)
        return {"shares": _parts(value["parts"], Fraction(1), (*path, "parts"), names)}
    if isinstance(value.get("shares"), dict):
        _only(value, "shares", path)
        value, path = value["shares"], (*path, "shares")
    return {"shares": _shares(value, path, names)}


def _only(value: dict[str, Any], key: str, path: KeyPath) -> None:
    for other in value:
        if other != key:
            raise _MixtureError((*path, other), f"is not allowed beside `{key}`; move it into the map of `{key}`")


def _shares(value: dict[str, Any], path: KeyPath, names: _SourceNames) -> dict[str, Fraction]:
    shares: dict[str, Fraction] = {}
    given: dict[str, Fraction] = {}
    for name, item in value.items():
        below = (*path, name)
        if not isinstance(item, dict):
            names.check(name, below)
            given[name] = _share(item, below)
            _add(shares, {name: given[name]}, path)
            continue
        if set(item) != {"share", "of"} or not isinstance(item["of"], dict):
            raise _MixtureError(below, f"a group needs a share, and members by parts: {GROUP_EXAMPLE}")
        given[name] = _share(item["share"], (*below, "share"))
        members = names.members(name, item["of"])
        _add(shares, _parts(members, given[name], (*below, "of"), names), path)
    _check_sum(given, path)
    return shares


def _share(value: Any, path: KeyPath) -> Fraction:  # noqa: ANN401  any YAML value
    try:
        return parse_share(value)
    except ValueError as error:
        raise _MixtureError(path, f"{error}; or write all of them as {{parts: ...}}") from None


def _parts(value: dict[str, Any], whole: Fraction, path: KeyPath, names: _SourceNames) -> dict[str, Fraction]:
    weights: dict[str, Fraction] = {}
    for name, item in value.items():
        below = (*path, name)
        if isinstance(item, dict):
            if set(item) != {"parts", "of"} or not isinstance(item["of"], dict):
                raise _MixtureError(below, "a group needs parts and members: {parts: 2, of: {high: 2, low: 1}}")
            weights[name] = _part(item["parts"], (*below, "parts"))
        else:
            names.check(name, below)
            weights[name] = _part(item, below)
    total = sum(weights.values(), Fraction(0))
    if total == 0:
        raise _MixtureError(path, "the parts sum to 0; at least one must be above 0")
    shares: dict[str, Fraction] = {}
    for name, item in value.items():
        share = whole * weights[name] / total
        members = {name: share}
        if isinstance(item, dict):
            members = _parts(names.members(name, item["of"]), share, (*path, name, "of"), names)
        _add(shares, members, path)
    return shares


def _part(value: Any, path: KeyPath) -> Fraction:  # noqa: ANN401  any YAML value
    if isinstance(value, str) and "%" in value:
        raise _MixtureError(path, f"parts must be plain numbers, such as 2 or 0.5, not {value}")
    try:
        return parse_number(value)
    except ValueError as error:
        raise _MixtureError(path, str(error)) from None


def _add(shares: dict[str, Fraction], more: Mapping[str, Fraction], path: KeyPath) -> None:
    for name in more:
        if name in shares:
            raise _MixtureError(path, f"source {name!r} has two shares; remove one")
    shares.update(more)


def _check_sum(given: Mapping[str, Fraction], path: KeyPath) -> None:
    total = sum(given.values(), Fraction(0))
    if total == 1:
        return
    if not given:
        raise _MixtureError(path, "has no shares; name at least one source, such as {english: 100%}")
    difference = percent_string(abs(1 - total))
    listed = " + ".join(percent_string(share) for share in given.values())
    amount = f"{difference} is missing" if total < 1 else f"{difference} too much"
    message = (
        f"the shares sum to {percent_string(total)} ({exact_string(total)}), not to 100% (1): "
        f"{listed}; {amount}; change a share, or write them as {{parts: ...}}"
    )
    raise _MixtureError(path, message)


def _phases(
    name: str,
    mixture: dict[str, Any],
    blends: Mapping[str, Any],
    mixtures: Collection[str],
    names: _SourceNames,
    problems: list[Problem],
) -> dict[str, Any]:
    """Normalize the phases of one mixture; a phase may name a mixture without phases."""
    phases = mixture["phases"]
    if not isinstance(phases, list):
        problems.append(Problem(("mixtures", name, "phases"), "must be a list: [{until: 80%, shares: ...}, ...]"))
        return {"phases": []}
    result = []
    for index, phase in enumerate(phases):
        path: KeyPath = ("mixtures", name, "phases", index)
        try:
            result.append(_phase(phase, path, blends, mixtures, names))
        except _MixtureError as wrong:
            problems.append(wrong.problem)
    return {**mixture, "phases": result}


def _phase(
    phase: Any,  # noqa: ANN401  any YAML value
    path: KeyPath,
    blends: Mapping[str, Any],
    mixtures: Collection[str],
    names: _SourceNames,
) -> dict[str, Any]:
    if not isinstance(phase, dict):
        raise _MixtureError(path, "must be a map: {until: 80%, shares: ...}")
    phase = _with_min_tokens(phase, path, names)
    if "shares" not in phase:
        return dict(phase)
    others = {key: value for key, value in phase.items() if key != "shares"}
    shares, below = phase["shares"], (*path, "shares")
    if not isinstance(shares, str):
        return {**others, **_blend(shares, below, names)}
    if shares in blends:
        return {**others, **blends[shares]}
    if shares in mixtures:
        raise _MixtureError(below, f"mixture {shares!r} has phases or is itself wrong; name one with shares or a rule")
    raise _MixtureError(below, f"there is no mixture {shares!r}; {nearest(shares, blends)}")


def _with_min_tokens(phase: dict[str, Any], path: KeyPath, names: _SourceNames) -> dict[str, Any]:
    """Write `min_tokens: 8192` as `{default: 8192}`, and check the names of sources."""
    given = phase.get("min_tokens")
    if isinstance(given, dict):
        for name in given:
            if name != "default":
                names.check(name, (*path, "min_tokens", name))
        return phase
    return phase if given is None else {**phase, "min_tokens": {"default": given}}
