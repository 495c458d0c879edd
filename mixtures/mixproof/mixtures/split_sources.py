"""Sources that are split: each value of a column, and each cell of a division, becomes a source, as `english/high`.

Only the files show which values there are, so a spec has two forms: as written, with `english`, and with its parts
in place of `english`. A source split by a column has parts from the start: its records are read for one part each. A
source that is divided into cells is read and deduplicated as one, because edges are made of the documents that are
left; then its cells take its place. From there on a part is a source like any other. Part names are used in file names,
so characters of a value other than letters, digits, dots, dashes and underscores are percent-encoded: `CC BY` becomes
`english/CC%20BY`. Names of crossed cells have a dot between their values, as `english/law.q01`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from fractions import Fraction
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from .blocks.mixture import Mixture, ShareSpec
from .blocks.source import Source
from .checks import named_sources
from .key_positions import KeyPath, KeyPositions, Problem, nearest
from .spec import Spec
from .values.spec_part import MAX_NAME_CHARS

MAX_PARTS = 1000
"""Parts per source; a column with more values holds ids rather than categories."""
UNREAD = "unread"
"""The value used for a column that has not been read yet."""


Number = TypeVar("Number", Fraction, int)
Value = str | tuple[str, ...]
"""What the documents of a part have in common: a value, or one of each axis where axes are crossed."""


class SplitSource(Source):
    """A part of a split source: the documents with one value, or in one cell."""

    of: str
    """Name of the split source in the spec."""
    value: Value
    """Value of the column, as text, or name of the cell; `unread` when it is not known yet."""


def part_name(source: str, value: Value) -> str:
    """The name of the part of `source` with this value."""
    if not isinstance(value, str):
        return f"{source}/{'.'.join(quote(each, safe='').replace('.', '%2E') for each in value)}"
    encoded = quote(value, safe="")
    return f"{source}/%2E{encoded[1:]}" if encoded.startswith(".") else f"{source}/{encoded}"


def split_sources(spec: Spec) -> dict[str, str]:
    """Return the column of every split source of a spec as written."""
    return {
        name: source.split_column
        for name, source in spec.sources.items()
        if source.split_column is not None and not isinstance(source, SplitSource)
    }


def divided_sources(spec: Spec) -> list[str]:
    """Names of the sources that are divided into cells after deduplication and have not been divided yet."""
    return [name for name, source in spec.sources.items() if source.axes and not isinstance(source, SplitSource)]


def with_parts(spec: Spec, values_of: Mapping[str, Sequence[Value]]) -> Spec:
    """Replace split sources by their parts, wherever the spec names them.

    In `dedup` a source split by a column means all its parts, by name; a source that is divided into cells stays,
    because it is deduplicated as one. The epoch cap of a split source and its multiplier on a rule apply to each
    part, and its weight in the objective is divided equally among the parts. In all cases this concerns the parts
    that the spec does not name separately. Its share in a mixture is kept, because it is divided by the parts' tokens
    (`shares.py`).

    Args:
        spec: the spec as written.
        values_of: the values or cells, by name of the split source.

    Raises:
        SpecError: when a column has no value, too many values, or a value too long for a name; or when the spec names
            a part that does not exist.
    """
    if not values_of:
        return spec
    names = _Names(spec, values_of)
    sources: dict[str, Source] = {}
    for name, source in spec.sources.items():
        if name not in values_of:
            sources[name] = source
        for part, value in names.parts_of.get(name, {}).items():
            sources[part] = SplitSource(**dict(source), of=name, value=value)
    update: dict[str, Any] = {
        "sources": sources,
        "mixtures": {name: _mixture(mixture, names) for name, mixture in spec.mixtures.items()},
    }
    if spec.dedup is not None:
        columns = names.without(divided_sources(spec))
        scope = spec.dedup.scope
        if isinstance(scope, dict):
            scope = {group: columns.listed(members) for group, members in scope.items()}
        listed = {
            key: rule.model_copy(update={"sources": columns.listed(rule.sources)})
            for key, rule in {"semantic": spec.dedup.semantic, **spec.dedup.cuts}.items()
            if rule is not None and rule.sources is not None
        }
        update["dedup"] = spec.dedup.model_copy(
            update={"keep": columns.listed(spec.dedup.keep), "scope": scope, **listed}
        )
    if spec.target is not None:
        update["target"] = spec.target.model_copy(update={"max_epochs": names.mapped(spec.target.max_epochs)})
    if spec.objective is not None:
        given, key = spec.objective.weights, spec.objective.weights_key
        weights = names.divided(given)
        for name in given.keys() & names.parts_of.keys():
            if not weights.keys() & names.parts_of[name].keys() - given.keys():
                path = ("objective", key, name)
                raise spec.positions.error([Problem(path, f"every part of {name} has its own weight; remove this one")])
        update["objective"] = spec.objective.model_copy(update={key: weights})
    return spec.model_copy(update=update).with_positions(_positions(spec.positions, names.parts_of))


def whole_of(spec: Spec, name: str) -> str:
    """The source of which `name` is a part, or `name` itself."""
    source = spec.sources[name]
    return source.of if isinstance(source, SplitSource) else name


def parts_of(spec: Spec, source: str) -> list[str]:
    """Names of the parts of a split source."""
    return [name for name, part in spec.sources.items() if isinstance(part, SplitSource) and part.of == source]


def with_named_parts(spec: Spec) -> Spec:
    """Replace split sources by the parts that the spec names, or by one part: for estimates before a build."""
    values_of: dict[str, list[Value]] = {}
    for source in (*split_sources(spec), *divided_sources(spec)):
        named = {name.partition("/")[2] for _, name in _every_name(spec) if name.startswith(f"{source}/")}
        values_of[source] = [_value_of(name, len(spec.sources[source].axes)) for name in sorted(named)] or [UNREAD]
    return with_parts(spec, values_of)


def _value_of(name: str, axes: int) -> Value:
    """The value that gives a part this name, without that of its source."""
    return tuple(map(unquote, name.split("."))) if axes > 1 else unquote(name)


def stated_values(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Value]]:
    """Return the values of each split source's parts, from the identity of a build."""
    values_of: dict[str, list[Value]] = {}
    for name, source in sources.items():
        if "split_value" in source:
            value = source["split_value"]
            values_of.setdefault(name.partition("/")[0], []).append(value if isinstance(value, str) else tuple(value))
    return values_of


class _Names:
    """Split sources and their parts."""

    def __init__(self, spec: Spec, values_of: Mapping[str, Sequence[Value]]) -> None:
        self.parts_of: dict[str, dict[str, Value]] = {}
        """By split source: the value of each part, sorted by part name."""
        problems: list[Problem] = []
        for source, values in values_of.items():
            problems += _faults(("sources", source, "split_by"), _described(spec.sources[source]), values)
            self.parts_of[source] = dict(sorted((part_name(source, value), value) for value in values))
        for path, name in _every_name(spec):
            source = name.partition("/")[0]
            parts = self.parts_of.get(source)
            if parts is not None and name != source and name not in parts:
                problems.append(Problem(path, f"source {source!r} has no part {name!r}; {nearest(name, parts)}"))
        if problems:
            raise spec.positions.error(problems)

    def without(self, sources: Sequence[str]) -> _Names:
        """The names without these split sources."""
        others = copy(self)
        others.parts_of = {name: parts for name, parts in self.parts_of.items() if name not in sources}
        return others

    def listed(self, names: Sequence[str]) -> tuple[str, ...]:
        """Replace split sources in a list by those of their parts that the list does not name."""
        found: list[str] = []
        for name in names:
            found += [part for part in self.parts_of[name] if part not in names] if name in self.parts_of else [name]
        return tuple(found)

    def mapped(self, by_name: Mapping[str, Number]) -> dict[str, Number]:
        """Give a split source's value to each part without its own value."""
        result = {name: value for name, value in by_name.items() if name not in self.parts_of}
        for source, parts in self.parts_of.items():
            if source in by_name:
                result.update({part: by_name[source] for part in parts if part not in by_name})
        return result

    def divided(self, by_name: Mapping[str, Fraction]) -> dict[str, Fraction]:
        """Divide a split source's value equally among the parts without a value of their own."""
        result = {name: value for name, value in by_name.items() if name not in self.parts_of}
        for source, parts in self.parts_of.items():
            others = [part for part in parts if part not in by_name] if source in by_name else []
            result.update({part: by_name[source] / len(others) for part in others})
        return result


def _described(source: Source) -> str:
    """What a source is split by, for messages."""
    axes = " x ".join(axis.column for axis in source.axes)
    return f"{axes!r}" if axes else f"the column {source.split_column!r}"


def _faults(path: KeyPath, split_by: str, values: Sequence[Value]) -> Iterator[Problem]:
    if not values:
        yield Problem(path, f"no record with a text has a value in {split_by}; check the column name")
    if len(values) > MAX_PARTS:
        shown = ", ".join(repr(value) for value in values[:3])
        message = f"{split_by} has more than {MAX_PARTS:,} values ({shown}, ...), too many to split a source by"
        yield Problem(path, f"{message}; use a column of categories")
    for value in values:
        if len(part_name("", value)) - 1 > MAX_NAME_CHARS:
            shown = repr((value if isinstance(value, str) else ".".join(value))[:60])
            message = f"{split_by} has a value that is too long for a name: {shown}..."
            yield Problem(path, f"{message}; at most {MAX_NAME_CHARS} characters, percent-encoded")
            return


def _every_name(spec: Spec) -> Iterator[tuple[KeyPath, str]]:
    """Every key that names a source, with the name."""
    yield from named_sources(spec)
    for mixture, declared in spec.mixtures.items():
        path: KeyPath = ("mixtures", mixture)
        yield from _of_blend(declared, path)
        for index, phase in enumerate(declared.phases):
            yield from _of_blend(phase, (*path, "phases", index))
            for name in phase.min_tokens.keys() - {"default"}:
                yield (*path, "phases", index, "min_tokens", name), name


def _of_blend(blend: ShareSpec, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for key, names in (("shares", blend.shares or {}), ("times", blend.times)):
        for name in names:
            yield (*path, key, name), name


def _mixture(mixture: Mixture, names: _Names) -> Mixture:
    phases = tuple(
        phase.model_copy(update={"times": names.mapped(phase.times), "min_tokens": names.mapped(phase.min_tokens)})
        for phase in mixture.phases
    )
    return mixture.model_copy(update={"times": names.mapped(mixture.times), "phases": phases})


def _positions(positions: KeyPositions, parts_of: Mapping[str, Mapping[str, Value]]) -> KeyPositions:
    """Give the keys of a part the positions of its source's keys."""
    found = dict(positions.by_path)
    for path, position in positions.by_path.items():
        if path[:1] == ("sources",) and len(path) > 1:
            found.update({("sources", part, *path[2:]): position for part in parts_of.get(str(path[1]), ())})
    return KeyPositions(found)
